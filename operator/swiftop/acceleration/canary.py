"""The whole model on one short input, fused beside plain, before the first step.

``checks`` has compared every kind of layer by itself. Here they stand where they will work: under the model's own
attention, norms and hooks. What is compared is the output of one of the first blocks, and the gradients of all adapters
up to there: further on, roundings of a deep model would hide what is wrong, and its last layer costs memory.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from . import checks, guard
from .layers import Forward, forwards, plain, unfuse

TOKENS = 128
BLOCKS = 2
SLACK = 2.5  # errors of a few layers in a row, in tolerances of one
log = logging.getLogger("swiftop.acceleration")


def compare(model: nn.Module) -> str | None:
    """NotANumber, CompileFailed or CheckFailed, after which the model is plain again; else None. Two short passes."""
    began = time.monotonic()
    found = forwards(model)
    if not found:
        return None
    try:
        why = _why_wrong(model, found)
    except Exception:
        log.warning("fused and plain could not be compared in the model", exc_info=True)
        why = "CheckFailed"
    if guard.failure() is not None:
        guard.forget()
        why = "CompileFailed"
    for forward in found:
        forward.group.ready.clear()
    if why:
        unfuse(model)
    log.info("fused and plain were compared in %.1f s: %s", time.monotonic() - began, why or "equal")
    return why


def _why_wrong(model: nn.Module, found: list[Forward]) -> str | None:
    block = first_blocks(model, found)
    layers = [layer for forward in found for layer in forward.group.layers]
    adapters = list({id(m): m for layer in layers for m in layer.matrices}.values())
    device = layers[0].base.weight.device
    with contextlib.ExitStack() as stack:
        for context in (checks.without_dropout([model]), checks.training([model]), checks.own_random(device)):
            stack.enter_context(context)
        stack.enter_context(without_checkpointing(model))
        with plain(model):
            wanted = _values(model, block, adapters, device)
        return checks.disagreement(
            wanted, _values(model, block, adapters, device), SLACK * found[0].group.products.tolerance
        )


def _values(model: nn.Module, block: nn.Module, adapters: list[Tensor], device: torch.device) -> list[Tensor]:
    """The block's output (1, TOKENS, K), and the gradients of the adapters before it."""
    torch.manual_seed(0)
    generator = torch.Generator(device).manual_seed(0)
    ids = torch.randint(_vocabulary(model), (1, TOKENS), generator=generator, device=device)
    outputs: list[Tensor] = []
    hook = block.register_forward_hook(lambda _module, _args, output: outputs.append(_tensor(output)))
    try:
        with torch.enable_grad(), torch.autocast(device.type, _dtype(model)):
            model(input_ids=ids, use_cache=False)
    finally:
        hook.remove()
    (output,) = outputs
    direction = torch.randn(output.shape, generator=generator, device=device).to(output.dtype)
    gradients = torch.autograd.grad(output, adapters, direction, allow_unused=True)
    return [output.detach(), *(each for each in gradients if each is not None)]


def first_blocks(model: nn.Module, found: list[Forward]) -> nn.Module:
    """Of the list of blocks with the most fused layers the last one to be compared."""
    fused = {forward.module for forward in found}
    lists = [each for each in model.modules() if isinstance(each, nn.ModuleList)]
    counts = [sum(module in fused for module in each.modules()) for each in lists]
    if not counts or not max(counts):
        return model
    blocks = lists[counts.index(max(counts))]
    return blocks[min(BLOCKS, len(blocks)) - 1]


@contextlib.contextmanager
def without_checkpointing(model: nn.Module) -> Iterator[None]:
    """Nothing is computed twice, so that a block's output has its graph."""
    found = [each for each in model.modules() if getattr(each, "gradient_checkpointing", None) is True]
    try:
        for each in found:
            each.gradient_checkpointing = False
        yield
    finally:
        for each in found:
            each.gradient_checkpointing = True


def _tensor(output: Any) -> Tensor:
    """The hidden state of what a block gives."""
    found: Tensor = output[0] if isinstance(output, tuple) else getattr(output, "logits", output)
    return found


def _vocabulary(model: nn.Module) -> int:
    embeddings: Any = model.get_input_embeddings()
    return min(int(embeddings.weight.shape[0]), 32000)


def _dtype(model: nn.Module) -> torch.dtype:
    return forwards(model)[0].group.layers[0].base.weight.dtype
