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
FIRST_TOKEN, LAST_TOKEN = 1000, 32000  # between them models have text; outside, their words for images
BLOCKS = 2
SLACK = 3.0  # errors of two blocks in a row, in tolerances of one layer: 8 bits in a 7B model gave 2.2
log = logging.getLogger("swiftop.acceleration")


def compare(model: nn.Module) -> str | None:
    """NotANumber, CompileFailed, CheckFailed or OutOfMemory, after which the model is plain again; else None.

    Two short passes.
    """
    began = time.monotonic()
    found = forwards(model)
    if not found:
        return None
    try:
        why = _why_wrong(model, found)
    except Exception as error:
        log.warning("fused and plain could not be compared in the model", exc_info=True)
        why = "OutOfMemory" if isinstance(error, torch.cuda.OutOfMemoryError) else "CheckFailed"
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
    products, device = found[0].group.products, found[0].group.layers[0].base.weight.device
    with contextlib.ExitStack() as stack:
        for context in (checks.without_dropout([model]), checks.training([model]), checks.own_random(device)):
            stack.enter_context(context)
        stack.enter_context(without_checkpointing(model))
        with plain(model):
            wanted = _values(model, found, device)
        return checks.disagreement(wanted, _values(model, found, device), SLACK * products.tolerance)


def _values(model: nn.Module, found: list[Forward], device: torch.device) -> list[Tensor]:
    """The output of one of the first blocks (1, TOKENS, K), and the gradients of the adapters before it, by name.

    Those of one name are one vector: where experts are chosen, a rounding sends a token to another one.
    """
    torch.manual_seed(0)
    generator = torch.Generator(device).manual_seed(0)
    embeddings: Any = model.get_input_embeddings()
    known = min(len(embeddings.weight), LAST_TOKEN)
    ids = torch.randint(min(FIRST_TOKEN, known // 2), known, (1, TOKENS), generator=generator, device=device)
    outputs: list[Tensor] = []
    hook = first_blocks(model, found).register_forward_hook(lambda *call: outputs.append(_tensor(call[-1])))
    try:
        with torch.enable_grad(), torch.autocast(device.type, found[0].group.layers[0].base.weight.dtype):
            model(input_ids=ids)
    finally:
        hook.remove()
    (output,) = outputs
    names, adapters = zip(*_adapters(model, found), strict=True)
    direction = torch.randn(output.shape, generator=generator, device=device).to(output.dtype)
    gradients = torch.autograd.grad(output, adapters, direction, allow_unused=True)
    parts: dict[str, list[Tensor]] = {}
    for name, adapter, gradient in zip(names, adapters, gradients, strict=True):
        parts.setdefault(name, []).append(torch.zeros_like(adapter) if gradient is None else gradient)
    return [output.detach(), *(torch.cat([each.flatten() for each in part]) for part in parts.values())]


def _adapters(model: nn.Module, found: list[Forward]) -> Iterator[tuple[str, Tensor]]:
    """A and B of all layers that are fused, with the last part of the layer's name."""
    fused = {layer.module: layer for forward in found for layer in forward.group.layers}
    for name, module in model.named_modules():
        if module in fused:
            for letter, matrix in zip("AB", fused[module].matrices, strict=True):
                yield f"{name.rpartition('.')[2]} {letter}", matrix


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
