"""Cases of ``interpreted.py``: whole models with adapters."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import nn

from swiftop.acceleration import canary, eightbit, guard, hardware, kernels, layers, repair
from tests.acceleration import tiny


def _fused(model: Any, **options: Any) -> dict[str, Any]:
    return dataclasses.asdict(layers.fuse(model, **options))


def same_as_plain() -> dict[str, Any]:
    """Loss and gradients of the first step, fused and plain; then the canary, and what is left of all this."""
    model = tiny.model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(1)
    generator = torch.get_rng_state()
    plain_loss, plain = tiny.step(model, seed=1)
    torch.set_rng_state(generator)
    report = _fused(model)
    why = canary.compare(model)
    untouched = torch.equal(torch.get_rng_state(), generator)
    loss, gradients = tiny.step(model, seed=1)
    after = model.state_dict()
    result = {
        "report": report, "canary": why, "loss": abs(loss - plain_loss), "gradients": tiny.worst(gradients, plain),
        "types": sorted({str(each.dtype) for each in gradients.values()}), "generator untouched": untouched,
        "weights untouched": after.keys() == before.keys() and all(torch.equal(after[n], before[n]) for n in before),
        "forwards": len(layers.forwards(model)),
    }  # fmt: skip
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    again_loss, again = tiny.step(model, seed=1)
    result["checkpointing"] = (again_loss == loss, tiny.equal(again, gradients), canary.compare(model))
    return result


def dropout() -> dict[str, Any]:
    """Checkpointing repeats the masks, another seed has others, and eval has none."""
    model = tiny.model(layers=1, lora_dropout=0.1)
    report = _fused(model)
    why = canary.compare(model)
    loss, gradients = tiny.step(model, seed=1)
    _, other = tiny.step(model, seed=2)
    model.enable_input_require_grads()
    result = {"report": report, "canary": why, "other seed": tiny.worst(other, gradients)}
    for reentrant in (False, True):
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        again_loss, again = tiny.step(model, seed=1)
        result[f"same, reentrant {reentrant}"] = again_loss == loss and tiny.equal(again, gradients)
    result["canary, reentrant"] = canary.compare(model)
    return result


def without_adapters() -> dict[str, bool]:
    """disable_adapter, eval and merge give what they give without fused layers, bit for bit; so does unfuse."""
    fused, plain = tiny.model(), tiny.model()
    _fused(fused)
    ids = tiny.tokens()

    def same(call: Callable[[Any], Any]) -> bool:
        with torch.no_grad(), torch.autocast("cpu", torch.float16):
            return bool(torch.equal(call(fused), call(plain)))

    def disabled(model: Any) -> Any:
        with model.disable_adapter():
            return model(input_ids=ids).logits

    def merged(model: Any) -> Any:
        model.merge_adapter()
        found = model(input_ids=ids).logits
        model.unmerge_adapter()
        return found

    with layers.plain(fused):
        within = same(lambda model: model(input_ids=ids).logits)
    result = {
        "fused differs in training": not same(lambda model: model(input_ids=ids).logits),
        "plain for a while": within,
        "disable_adapter": same(disabled),
        "merged": same(merged),
        "eval": same(lambda model: model.eval()(input_ids=ids).logits),
        "merge_and_unload": same(lambda model: model.merge_and_unload()(input_ids=ids).logits),
    }
    model = tiny.model()
    wanted = tiny.step(model)
    _fused(model)
    layers.unfuse(model)
    found = tiny.step(model)
    attributes = [name for name, module in model.named_modules() if "forward" in vars(module)]
    result["unfuse"] = found[0] == wanted[0] and tiny.equal(found[1], wanted[1]) and not attributes
    return result


def own_forward_of_an_mlp() -> dict[str, bool]:
    """liger gives MLPs forwards of their own: they are replaced and put back."""
    model = tiny.model(layers=1)
    mlp = next(module for module in model.modules() if hasattr(module, "act_fn"))
    own = mlp.forward = type(mlp).forward.__get__(mlp)
    _fused(model)
    replaced = isinstance(mlp.forward, layers.Forward)
    layers.unfuse(model)
    return {"replaced": replaced, "put back": mlp.forward is own}


class _Linear4bit(nn.Linear):  # type: ignore[misc]
    """As a quantizer's."""


def _first(model: Any) -> Any:
    return next(module for module in model.modules() if hasattr(module, "lora_A"))


def _quantized() -> Any:
    model = tiny.model(layers=1)
    for module in model.modules():
        if hasattr(module, "lora_A"):
            base = module.get_base_layer()
            weight = nn.Parameter(torch.zeros(base.weight.numel() // 2, 1, dtype=torch.uint8), requires_grad=False)
            module.base_layer = _Linear4bit(base.in_features, base.out_features, bias=False)
            module.base_layer.weight = weight
    return model


def _partitioned() -> Any:
    """As ZeRO-3 leaves it."""
    model = tiny.model(layers=1)
    for module in model.modules():
        if hasattr(module, "lora_A"):
            module.get_base_layer().weight.data = torch.empty(0, dtype=torch.float16)
    return model


def _flattened() -> Any:
    """As FSDP leaves it: weights are views of one parameter."""
    model = tiny.model(layers=1)
    for module in model.modules():
        if hasattr(module, "lora_A"):
            base = module.get_base_layer()
            view = base.weight.data.view(base.weight.shape)
            del base.weight
            base.weight = view
    return model


def _several() -> Any:
    from peft import LoraConfig

    model = tiny.model(layers=1)
    model.add_adapter("second", LoraConfig(task_type="CAUSAL_LM", r=8, target_modules=list(tiny.TARGETS)))
    model.base_model.set_adapter(["default", "second"])
    return model


def _each_layer(change: Callable[[Any], None]) -> Any:
    model = tiny.model(layers=1)
    for module in model.modules():
        if hasattr(module, "lora_A"):
            change(module)
    return model


def _other_activation() -> Any:
    return tiny.model(layers=1, config={"hidden_act": "gelu"})


def _wrong_activation() -> Any:
    """A name that promises what the code does not keep: the comparison finds it."""
    model = _other_activation()
    for module in model.modules():
        if hasattr(module, "act_fn"):
            module.act_fn = type("SiLU", (nn.GELU,), {})()
    return model


MODELS: dict[str, Callable[[], Any]] = {
    "Quantized": _quantized,
    "Sharded": _partitioned,
    "Sharded, flattened": _flattened,
    "DoRA": lambda: tiny.model(layers=1, use_dora=True),
    "RankOver64": lambda: tiny.model(layers=1, r=80),
    "SeveralAdapters": _several,
    "LoraBias": lambda: tiny.model(layers=1, lora_bias=True),
    "NotSixteenBit": lambda: tiny.model(layers=1, dtype=torch.float32),
    "BaseTrained": lambda: _each_layer(lambda module: module.get_base_layer().weight.requires_grad_()),
    "OddSize": lambda: tiny.model(layers=1, config={"hidden_size": 24, "intermediate_size": 40}),
    "Patched": lambda: _each_layer(lambda module: setattr(module, "forward", module.forward)),
    "Patched, below": lambda: _each_layer(
        lambda module: setattr(module.base_layer, "forward", module.base_layer.forward)
    ),
    "Hooked": lambda: _each_layer(lambda module: module.base_layer.register_forward_hook(lambda *_: None)),
    "NotLinear": lambda: tiny.model(layers=1, target_modules=["embed_tokens"]),
    "OtherActivation": _other_activation,
    "CheckFailed": _wrong_activation,
    "Variant": lambda: _each_layer(lambda module: module.lora_variant.update(default=object())),
    "DifferentSettings": lambda: tiny.model(layers=1, alpha_pattern={"down_proj": 16}),
    "NoAdapters": lambda: nn.Linear(16, 16),
}


def why() -> dict[str, Any]:
    """What fuse says of models that do not suit."""
    found = {name: _fused(make()) for name, make in MODELS.items()}
    with mock.patch.object(hardware, "on_gpu", return_value=False):
        found["NotOnCuda"] = _fused(tiny.model(layers=1))
    with mock.patch.object(hardware, "why_no_kernels", return_value="NoTriton"):
        found["NoTriton"] = _fused(tiny.model(layers=1))
    return found


def _as_in_swift() -> Any:
    """A and B with the forward that ms-swift gives them."""
    from types import MethodType

    from swift.tuners import peft

    model = tiny.model(layers=1)
    for name, module in model.named_modules():
        if name.endswith(("lora_A.default", "lora_B.default")):
            module.forward_origin, module.forward = module.forward, MethodType(peft.keep_device_forward, module)
    return model


_MACHINE = hardware.why_no_kernels, hardware.why_no_eight_bits, hardware.as_measured  # before they are replaced


def machine() -> dict[str, Any]:
    """What is said of machines that are not suited."""
    why_no_kernels, why_no_eight_bits, as_measured = _MACHINE
    found: dict[str, Any] = {"no GPU": (why_no_kernels(), why_no_eight_bits(torch.bfloat16))}
    with ExitStack() as stack:

        def replaced(owner: Any, name: str, **value: Any) -> None:
            stack.enter_context(mock.patch.object(owner, name, **value))

        replaced(torch.cuda, "is_available", return_value=True)
        for capability in ((7, 5), (8, 0), (8, 9)):
            replaced(torch.cuda, "get_device_capability", return_value=capability)
            replaced(shutil, "which", return_value="/usr/bin/gcc")
            found[str(capability)] = (why_no_kernels(), why_no_eight_bits(torch.bfloat16))
        found["float16"] = why_no_eight_bits(torch.float16)
        found["same autocast"] = as_measured(torch.float16)
        replaced(torch, "is_autocast_enabled", return_value=True)
        replaced(torch, "get_autocast_gpu_dtype", return_value=torch.bfloat16)
        found["other autocast"] = (as_measured(torch.float16), as_measured(torch.bfloat16))
        replaced(shutil, "which", return_value=None)
        found["no compiler"] = why_no_kernels()
        replaced(importlib.util, "find_spec", return_value=None)
        found["no Triton"] = why_no_kernels()
        replaced(torch.version, "hip", new="6.3")
        found["AMD"] = why_no_kernels()
    return found


def mixed() -> dict[str, Any]:
    """Ranks of their own, siblings without adapters, and a layer of which one is too large: the rest is fused."""
    cases = {
        "ranks": tiny.model(
            layers=1, rank_pattern={"q_proj": 24, "gate_proj": 40}, alpha_pattern={"q_proj": 96, "gate_proj": 160}
        ),
        "scales": tiny.model(layers=1, rank_pattern={"q_proj": 24}),
        "q and v": tiny.model(layers=1, target_modules=["q_proj", "v_proj"]),
        "one too large": tiny.model(layers=1, rank_pattern={"k_proj": 80, "up_proj": 80}),
        "attention": tiny.model(layers=1, target_modules=["o_proj", "k_proj", "q_proj", "v_proj"]),
        "as in ms-swift": _as_in_swift(),
    }
    result = {}
    for name, model in cases.items():
        _, plain = tiny.step(model)
        report = _fused(model)
        _, gradients = tiny.step(model)
        result[name] = {"report": report, "gradients": tiny.worst(gradients, plain)}
    return result


def _raising(*_args: Any, **_options: Any) -> Any:
    raise RuntimeError("out of resource: shared memory")


@contextmanager
def _broken(*names: str, by: Callable[..., Any] = _raising) -> Iterator[None]:
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(mock.patch.object(kernels, name, by))
        yield


def _wrong(kernel: Callable[..., Any], value: float) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        return kernel(*args, **options) * value

    return call


def broken_at_the_start() -> dict[str, Any]:
    """A kernel that raises, is wrong, or gives NaN, before a class is replaced."""
    result: dict[str, Any] = {}
    with _broken("project_backward", "swiglu_backward"):
        result["raises"] = _fused(tiny.model(layers=1))
    with _broken("project_backward", by=_wrong(kernels.project_backward, 1.1)):
        result["wrong"] = _fused(tiny.model(layers=1))
    with _broken("project", by=_wrong(kernels.project, float("nan"))):
        result["nan"] = _fused(tiny.model(layers=1))
    result["trusted again"] = guard.failure()
    return result


def broken_in_the_model() -> dict[str, Any]:
    """What only the canary finds; afterwards the model is plain."""
    result = {}
    kinds = {
        "raises": _raising, "wrong": _wrong(kernels.project_backward, 1.3),
        "nan": _wrong(kernels.project_backward, float("nan")),
    }  # fmt: skip
    for name, kind in kinds.items():
        model = tiny.model(layers=1, lora_dropout=0.1)
        wanted = tiny.step(model)
        _fused(model)
        with _broken("project_backward", by=kind):
            word = canary.compare(model)
        found = tiny.step(model)
        result[name] = (word, len(layers.forwards(model)), tiny.equal(found[1], wanted[1]), guard.failure())
    model = tiny.model(layers=1)
    _fused(model)
    model.get_input_embeddings = _raising  # a model that takes no text
    result["not comparable"] = (canary.compare(model), len(layers.forwards(model)), True, guard.failure())
    return result


def broken_in_training() -> dict[str, Any]:
    """A kernel that fails in the middle of a step: the same gradients, and plain layers from the next step on."""
    result = {}
    for name in ("project", "swiglu_project", "project_backward", "swiglu_backward"):
        model = tiny.model(lora_dropout=0.1)
        plain = tiny.step(model)
        _fused(model)
        wanted = tiny.step(model)
        before = layers.failure()
        kernel, calls = getattr(kernels, name), [0]

        def second(*args: Any, kernel: Any = kernel, calls: list[int] = calls, **options: Any) -> Any:
            calls[0] += 1
            return kernel(*args, **options) if calls[0] < 2 else _raising()

        with _broken(name, by=second):
            found = tiny.step(model)
        word = layers.failure()
        layers.unfuse(model)
        after = tiny.step(model)
        guard.forget()
        result[name] = {
            "before": before, "word": word, "gradients": tiny.worst(found[1], wanted[1]),
            "plain": tiny.equal(after[1], plain[1]), "failed": calls[0] == 2,
        }  # fmt: skip
    return result


def two_backward_passes() -> str:
    """The second has nothing to work with, and says so."""
    model = tiny.model(layers=1)
    _fused(model)
    with torch.autocast("cpu", torch.float16):
        loss = model(input_ids=tiny.tokens(), labels=tiny.tokens()).loss
    loss.backward(retain_graph=True)
    try:
        loss.backward()
    except RuntimeError as error:
        return str(error)
    return "no error"


def _multiply(x: eightbit.Rows, weight: eightbit.Rows, bias: torch.Tensor | None) -> torch.Tensor:
    found = (x[0].float() * x[1]) @ (weight[0].float() * weight[1]).t()
    return (found if bias is None else found + bias).half()


def eight_bits() -> dict[str, Any]:
    """The frozen products in 8 bits, made by torch's operations; and what keeps them from it."""
    model = tiny.model()
    wanted = tiny.step(model)
    with (
        mock.patch.object(kernels, "to_eight_bits", repair.to_eight_bits),
        mock.patch.object(eightbit, "multiply", _multiply),
        mock.patch.object(hardware, "why_no_eight_bits", return_value=None),
    ):  # fmt: skip
        report = _fused(model, approximate=True)
        why = canary.compare(model)
        found = tiny.step(model)
        layers.unfuse(model)
        with mock.patch.object(eightbit, "multiply", lambda *args: _multiply(*args) * 1.5):
            wrong = _fused(model, approximate=True)
    layers.unfuse(model)
    result = {"report": report, "canary": why, "gradients": tiny.worst(found[1], wanted[1]), "wrong": wrong}
    for word in ("OlderThanAda", "NotBfloat16"):
        with mock.patch.object(hardware, "why_no_eight_bits", return_value=word):
            result[word] = _fused(tiny.model(layers=1), approximate=True)
    with mock.patch.object(hardware, "why_no_eight_bits", return_value=None):
        result["RankOver64"] = _fused(tiny.model(layers=1, r=80), approximate=True)
    return result


CASES = {
    "same as plain": same_as_plain, "dropout": dropout, "without adapters": without_adapters,
    "own forward": own_forward_of_an_mlp, "why": why, "machine": machine, "mixed": mixed,
    "broken at the start": broken_at_the_start,
    "broken in the model": broken_in_the_model, "broken in training": broken_in_training,
    "two backward passes": two_backward_passes, "eight bits": eight_bits,
}  # fmt: skip
