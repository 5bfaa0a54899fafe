"""The mathematics of the fused functions in float64, by autograd, and the hash of the masks a second time.

Imported inside an environment, and on a machine with a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from swiftop.acceleration import functions, masks

SCALE = 4.0
SEED_OF_CASE = 7


def keep(rows: int, columns: int, *, seed: int, adapter: int, threshold: int) -> torch.Tensor:
    """The mask of an adapter, by 32-bit arithmetic."""
    with np.errstate(over="ignore"):
        word = np.arange(rows * columns, dtype=np.uint32) * np.uint32(0x9E3779B1) ^ np.uint32(seed)
        word = (word ^ word >> np.uint32(16)) * np.uint32(0x85EBCA6B) + np.uint32(seed)
        word = (word ^ word >> np.uint32(13)) * np.uint32(0xC2B2AE35)
    bits = (word ^ word >> np.uint32(16)) >> np.uint32(10 * adapter) & np.uint32(1023)
    return torch.from_numpy(bits >= threshold).view(rows, columns)


def _masked(x: torch.Tensor, *, seed: int, adapter: int, threshold: int) -> torch.Tensor:
    if not threshold:
        return x
    mask = keep(*x.shape, seed=seed, adapter=adapter, threshold=threshold).to(x.device)
    return torch.where(mask, x, 0.0) / (1 - threshold / 1024)


def _linears(x: torch.Tensor, layers: Any, adapters: Sequence[torch.Tensor], seed: int, threshold: int) -> Any:
    for i, layer in enumerate(layers):
        a, b = (matrix.double() for matrix in adapters[2 * i : 2 * i + 2])
        narrow = _masked(x, seed=seed, adapter=i, threshold=threshold) @ a.t()
        bias = 0 if layer.bias is None else layer.bias.double()
        yield x @ layer.weight.double().t() + bias + SCALE * narrow @ b.t()


def _mlp(x: torch.Tensor, layers: Any, adapters: Sequence[torch.Tensor], seed: int, threshold: int) -> Any:
    gate, up = _linears(x, layers[:2], adapters[:4], seed, threshold)
    hidden = torch.nn.functional.silu(gate) * up
    yield from _linears(hidden, layers[2:], adapters[4:], seed + 1, threshold)


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Relative."""
    found, wanted = found.detach(), wanted.detach()
    return float((found.double() - wanted.double()).norm() / (wanted.double().norm() + 1e-30))


def errors(
    name: str, *, rows: int, sizes: tuple[int, ...], rank: int, probability: float, dtype: torch.dtype,
    device: str = "cpu", needs_dx: bool = True,
) -> dict[str, float]:  # fmt: skip
    """Relative errors of a function's outputs and gradients against float64.

    ``linears``: sizes are that of the input, then of each output, those that are divisible by 3 with a bias. ``mlp``:
    that of the input and that of the hidden state.
    """
    torch.manual_seed(0)
    first, *others = sizes
    shapes = [(m, first) for m in others] if name == "linears" else [(others[0], first)] * 2 + [(first, others[0])]

    def random(*shape: int, std: float = 1.0) -> torch.Tensor:
        return torch.randn(*shape).to(device) * std

    layers = tuple(
        functions.Frozen(random(m, k, std=k**-0.5).to(dtype), None if m % 3 else random(m).to(dtype)) for m, k in shapes
    )
    adapters = [w for m, k in shapes for w in (random(rank, k, std=k**-0.5), random(m, rank, std=0.3))]
    threshold = round(probability * 1024)
    torch.manual_seed(SEED_OF_CASE)
    dropout = masks.drawn(probability, masked=threshold > 0)
    call = functions.Call(layers=layers, scale=SCALE, dropout=dropout, products=functions.Exact())
    function, reference = (functions.Linears, _linears) if name == "linears" else (functions.Mlp, _mlp)
    x = random(rows, first).to(dtype)
    inputs = [x.clone().requires_grad_(needs_dx), *(w.clone().requires_grad_() for w in adapters)]
    found = function.apply(inputs[0].view(1, rows, first), call, *inputs[1:])
    found = found if isinstance(found, tuple) else (found,)
    directions = [random(*y.shape).to(dtype) for y in found]
    torch.autograd.backward(found, directions)
    exact = [x.double().requires_grad_(), *(w.double().requires_grad_() for w in adapters)]
    wanted = list(reference(exact[0], layers, exact[1:], dropout.seed, threshold))
    torch.autograd.backward(wanted, [each[0].double() for each in directions])
    names = ["x", *(f"{letter}{i}" for i in range(len(layers)) for letter in "ab")]
    gradients = {n: error(f.grad, w.grad) for n, f, w in zip(names, inputs, exact, strict=True) if f.grad is not None}
    assert needs_dx == ("x" in gradients)
    return {f"y{i}": error(f[0], w) for i, (f, w) in enumerate(zip(found, wanted, strict=True))} | gradients
