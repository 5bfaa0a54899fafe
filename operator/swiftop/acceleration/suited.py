"""Which layers with adapters can be fused, and the word for why one cannot.

Only what is nothing but a linear layer with one LoRA adapter is: everything that peft, a quantizer or a hook adds to
that would be lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import layer as peft_layer
from torch import Tensor, nn

from . import hardware

MAX_RANK = 64
MULTIPLE = 16  # of which both sizes of a weight are, as the kernels read 16 numbers at a time
TYPES = (torch.bfloat16, torch.float16)
QUANTIZERS = ("aqlm", "awq", "bnb", "eetq", "gptq", "hqq", "inc", "torchao")  # modules of peft.tuners.lora
MOVING = "keep_device_forward"  # of ms-swift, tuners/peft.py
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass(frozen=True)
class Adapted:
    """A layer of peft's with the adapter that is fused with it."""

    module: Any
    adapter: str

    @property
    def base(self) -> nn.Linear:
        """The layer without the adapter."""
        found: nn.Linear = self.module.get_base_layer()
        return found

    @property
    def scale(self) -> float:
        """Factor of the adapter's output."""
        return float(self.module.scaling[self.adapter])

    @property
    def probability(self) -> float:
        """Of dropout, at this moment."""
        return float(getattr(self.module.lora_dropout[self.adapter], "p", 0.0))

    @property
    def matrices(self) -> tuple[Tensor, Tensor]:
        """A (rank, K) and B (M, rank)."""
        return self.module.lora_A[self.adapter].weight, self.module.lora_B[self.adapter].weight

    @property
    def active(self) -> bool:
        """Whether peft would compute what is fused: adapter on, not merged, no other one."""
        module = self.module
        return not module.disable_adapters and not module.merged and module.active_adapters == [self.adapter]


def adapted(module: Any) -> Adapted | str:
    """The layer with its adapter, or why it stays as it is."""
    why = _why_not_plain(module) or _why_not_weight(module.get_base_layer()) or _why_not_adapter(module)
    return why or Adapted(module, module.active_adapters[0])


def why_not_together(layers: Sequence[Adapted]) -> str | None:
    """Why layers that could be fused one by one are not one function."""
    same = {(layer.scale, layer.probability, layer.base.weight.dtype) for layer in layers}
    return None if len(same) == 1 else "DifferentSettings"


def _why_not_plain(module: Any) -> str | None:
    kind = type(module)
    if kind.__module__.rpartition(".")[2] in QUANTIZERS:
        return "Quantized"
    if kind.forward is not peft_layer.Linear.forward:
        return "NotLinear"
    inner = [each for each in module.modules() if each is not module]
    if "forward" in vars(module) or any(_patched(each) for each in inner):
        return "Patched"
    return "Hooked" if any(getattr(each, name, None) for each in inner for name in _HOOKS) else None


def _patched(inner: nn.Module) -> bool:
    """ms-swift's own forward of A and B only moves their input to where they are, and here that is where it is."""
    forward = vars(inner).get("forward")
    return forward is not None and getattr(forward, "__name__", "") != MOVING


def _why_not_weight(base: Any) -> str | None:
    weight: Any = getattr(base, "weight", None)
    if type(base) is not nn.Linear:
        return "Quantized" if _quantized(base) else "NotLinear"
    if type(weight) is not nn.Parameter or weight.dim() != 2 or not weight.numel() or hasattr(weight, "ds_id"):
        return "Sharded"
    if weight.dtype not in TYPES:
        return "NotSixteenBit"
    if weight.requires_grad or (base.bias is not None and base.bias.requires_grad):
        return "BaseTrained"
    if any(size % MULTIPLE for size in weight.shape):
        return "OddSize"
    return None if hardware.on_gpu(weight) else "NotOnCuda"


def _quantized(base: Any) -> bool:
    """Layers of quantizers keep something else than numbers, or say so in their name."""
    weight = getattr(base, "weight", None)
    return not isinstance(weight, Tensor) or not weight.is_floating_point() or type(weight) is not nn.Parameter


def _why_not_adapter(module: Any) -> str | None:
    if len(module.active_adapters) != 1 or module.active_adapters[0] not in module.lora_A:
        return "SeveralAdapters" if len(module.active_adapters) > 1 else "NoAdapters"
    name = module.active_adapters[0]
    if getattr(module, "use_dora", {}).get(name):
        return "DoRA"
    if getattr(module, "lora_variant", {}).get(name) is not None:
        return "Variant"
    if getattr(module, "lora_bias", {}).get(name):
        return "LoraBias"
    if module.fan_in_fan_out:
        return "NotLinear"
    return "RankOver64" if module.r[name] > MAX_RANK else None
