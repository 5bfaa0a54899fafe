"""A fused forward beside the plain one on one random input: outputs, and gradients of the input and of the adapters.

Dropout is off in both (the masks differ by nature) while the kernels that run are those with dropout. Adapters have
random numbers in B, which is zero when a training begins and would hide them; afterwards all is as it was, bit for bit.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm

from . import guard

if TYPE_CHECKING:
    from .layers import Forward, Group

ROWS = 48  # of the input: more than a tile, and no multiple of one
log = logging.getLogger("swiftop.acceleration")


def why_wrong(group: Group, candidates: Sequence[Forward]) -> str | None:
    """NotANumber, CheckFailed or CompileFailed where the candidates do not give what their modules give."""
    modules = [layer.module for layer in group.layers]
    weight = group.layers[0].base.weight
    generator = torch.Generator(weight.device).manual_seed(0)
    x = torch.randn(ROWS, weight.shape[1], generator=generator, device=weight.device).to(weight.dtype)
    try:
        with (
            without_dropout(modules), training([each.module for each in candidates]), own_random(weight.device),
            random_adapters(group, generator),
        ):  # fmt: skip
            wanted = _values(group, [each.plain for each in candidates], x)
            found = _values(group, candidates, x)
    except Exception:
        log.warning("layers could not be compared", exc_info=True)
        return "CompileFailed"
    finally:
        group.ready.clear()
    if guard.failure() is not None:
        guard.forget()  # it has not been used, and another kind may have other kernels
        return "CompileFailed"
    return disagreement(wanted, found, group.products.tolerance)


def disagreement(wanted: Sequence[Tensor], found: Sequence[Tensor], tolerance: float) -> str | None:
    """The word for the worst of some tensors, relative to what is wanted."""
    errors = []
    for old, new in zip(wanted, found, strict=True):
        if not torch.isfinite(new).all():
            return "NotANumber"
        distance, size = (new.float() - old.float()).norm(), old.float().norm()
        errors.append(float(distance / size) if size else float(distance))
    log.info("fused and plain differ by %.2g at most", max(errors))
    if not max(errors) <= tolerance:
        log.warning("fused and plain differ: relatively by %s", ", ".join(f"{error:.2g}" for error in errors))
        return "CheckFailed"
    return None


def _values(group: Group, calls: Sequence[Callable[[Tensor], Any]], x: Tensor) -> list[Tensor]:
    """Outputs of the calls, and the gradients of their input and of the adapters for a random direction."""
    x = x.detach().requires_grad_()
    matrices = [matrix for layer in group.layers for matrix in layer.matrices]
    with torch.enable_grad(), torch.autocast(x.device.type, x.dtype):
        ys = [call(x) for call in calls]
        generator = torch.Generator(x.device).manual_seed(1)
        directions = [torch.randn(y.shape, generator=generator, device=x.device).to(y.dtype) for y in ys]
        return [*(y.detach() for y in ys), *torch.autograd.grad(ys, [x, *matrices], directions)]


@contextlib.contextmanager
def without_dropout(modules: Sequence[nn.Module]) -> Iterator[None]:
    """All dropout of these modules off."""
    found = {each: each.p for module in modules for each in module.modules() if isinstance(each, nn.Dropout)}
    try:
        for each in found:
            each.p = 0.0
        yield
    finally:
        for each, probability in found.items():
            each.p = probability


@contextlib.contextmanager
def training(modules: Sequence[nn.Module]) -> Iterator[None]:
    """These modules in training mode."""
    modes = {each: each.training for module in modules for each in module.modules()}
    try:
        for module in modules:
            module.train()
        yield
    finally:
        for each, mode in modes.items():
            each.training = mode


@contextlib.contextmanager
def random_adapters(group: Group, generator: torch.Generator) -> Iterator[None]:
    """B such that the adapters add about as much as the layers give."""
    bs = [layer.matrices[1].data for layer in group.layers]
    kept = [b.clone() for b in bs]
    try:
        for layer, b in zip(group.layers, bs, strict=True):
            of_layer, of_a = (
                vector_norm(each.detach(), dtype=torch.float32) for each in (layer.base.weight, layer.matrices[0])
            )
            size = float(of_layer / len(layer.base.weight) ** 0.5 / (of_a * layer.scale))
            b.copy_(torch.randn(b.shape, generator=generator, device=b.device) * min(size, 1.0))
        yield
    finally:
        for b, was in zip(bs, kept, strict=True):
            b.copy_(was)


@contextlib.contextmanager
def own_random(device: torch.device) -> Iterator[None]:
    """torch's generators go on afterwards as if nothing had been."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
