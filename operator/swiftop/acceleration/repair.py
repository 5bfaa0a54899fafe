"""What the kernels compute, in torch's own operations and with the same masks: slow, and independent of Triton.

Where a kernel fails in the middle of a step, the layers before it have been computed with masks that peft does not
know: only the same masks give the right gradient. ``guard`` then calls these, until the step is over.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import silu

from .masks import Dropout, keep

ROWS = 1024  # at a time: a mask takes 8 bytes for each element while it is computed


def project(x: Tensor, a: Tensor, *, scale: float, dropout: Dropout) -> Tensor:
    """As ``kernels.project``."""
    u = x.new_empty(len(x), a.shape[0] * a.shape[1])
    for rows in _blocks(x):
        v = x[rows.start : rows.stop]
        products = [_masked(v.float(), dropout, i, rows) @ each.float().t() for i, each in enumerate(a)]
        u[rows.start : rows.stop] = torch.cat(products, 1) * scale
    return u


def swiglu_project(gate: Tensor, up: Tensor, a: Tensor, *, scale: float, dropout: Dropout) -> tuple[Tensor, Tensor]:
    """As ``kernels.swiglu_project``."""
    hidden = torch.empty_like(gate)
    for rows in _blocks(gate):
        part = slice(rows.start, rows.stop)
        hidden[part] = silu(gate[part].float()).to(gate.dtype) * up[part]
    return project(hidden, a, scale=scale, dropout=dropout), hidden


def project_backward(x: Tensor, dx: Tensor | None, a: Tensor, du: Tensor, *, dropout: Dropout) -> Tensor:
    """As ``kernels.project_backward``."""
    adapters, r, k = a.shape
    da = x.new_zeros(adapters, k, r, dtype=torch.float32)
    for rows in _blocks(x):
        part = slice(rows.start, rows.stop)
        v, narrow = x[part].float(), du[part].float().chunk(adapters, 1)
        for i, each in enumerate(narrow):
            da[i] += _masked(v, dropout, i, rows).t() @ each
        if dx is not None:
            added = [_masked(each @ a[i].float(), dropout, i, rows) for i, each in enumerate(narrow)]
            dx[part] = torch.stack([dx[part].float(), *added]).sum(0)
    return da


def swiglu_backward(
    gate: Tensor, up: Tensor, dhidden: Tensor, *, a: Tensor, du: Tensor, narrow: Tensor, dropout: Dropout
) -> Tensor:
    """As ``kernels.swiglu_backward``."""
    _, r, k = a.shape
    sums = gate.new_zeros(3, k, r, dtype=torch.float32)
    for rows in _blocks(gate):
        part = slice(rows.start, rows.stop)
        g, other, of_down = gate[part].float(), up[part].float(), du[part].float()
        sigmoid = torch.sigmoid(g)
        hidden = ((g * sigmoid).to(gate.dtype) * up[part]).float()
        d = dhidden[part].float() + _masked(of_down @ a[0].float(), dropout, 0, rows)
        dgate, dup = d * other * sigmoid * (1 + g * (1 - sigmoid)), d * g * sigmoid
        gate[part], up[part] = dgate, dup
        of_gate, of_up = narrow[part].float().chunk(2, 1)
        sums[0] += _masked(hidden, dropout, 0, rows).t() @ of_down
        sums[1] += gate[part].float().t() @ of_gate
        sums[2] += up[part].float().t() @ of_up
    return sums


def to_eight_bits(x: Tensor) -> tuple[Tensor, Tensor]:
    """As ``kernels.to_eight_bits``."""
    scales = x.abs().amax(1, keepdim=True).float().clamp(min=1e-12) / 448  # the largest number of e4m3
    return (x.float() / scales).to(torch.float8_e4m3fn), scales


def _blocks(x: Tensor) -> Iterator[range]:
    return (range(first, min(first + ROWS, len(x))) for first in range(0, len(x), ROWS))


def _masked(values: Tensor, dropout: Dropout, adapter: int, rows: range) -> Tensor:
    if not dropout.threshold:
        return values
    return values.masked_fill(~keep(dropout, adapter, rows, values.shape[1], values.device), 0)
