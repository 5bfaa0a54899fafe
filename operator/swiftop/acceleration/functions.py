"""Linear layers with LoRA, and the MLP out of three of them, as autograd functions.

The mathematics is peft's under autocast: adapters stay as they are (float32 by default) and are rounded to the model's
type, in which the products are made; each adapter has a dropout mask of its own.

Shapes: T tokens, K features of the input, M of an output (of an MLP's hidden state in ``Mlp``), R the ranks padded with
zeros. An adapter is a pair A (rank, K) and B (M, rank); here B is kept transposed, (R, M).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd import Function

from . import guard
from .masks import Dropout

MIN_RANK = 16


@dataclass(frozen=True)
class Frozen:
    """A linear layer that is not trained: weight (M, K) and bias (M)."""

    weight: Tensor
    bias: Tensor | None = None


class Products(Protocol):
    """How the products with a frozen weight are made, and how far they may be from plain ones, relatively."""

    tolerance: float

    def forward(self, x: Tensor, layer: Frozen, narrow: Tensor, b: Tensor) -> Tensor:
        """x W^T + bias + narrow b, of (T, M); x (T, K), narrow (T, R), b (R, M)."""

    def backward(self, dy: Tensor, layer: Frozen, into: Tensor | None) -> Tensor:
        """into + dy W, of (T, K), and 0 where there is no ``into``, which may be changed in place; dy (T, M)."""


class Exact:
    """In the model's own type."""

    tolerance = 0.03  # three roundings to bfloat16 in a row; a forgotten factor of dropout is more

    def forward(self, x: Tensor, layer: Frozen, narrow: Tensor, b: Tensor) -> Tensor:
        """The small product first: the large one adds it up as it ends, without a pass of its own."""
        small = narrow @ b if layer.bias is None else torch.addmm(layer.bias, narrow, b)
        return small.addmm_(x, layer.weight.t())

    def backward(self, dy: Tensor, layer: Frozen, into: Tensor | None) -> Tensor:
        """As ``Products.backward``."""
        return dy @ layer.weight if into is None else into.addmm_(dy, layer.weight)


@dataclass(frozen=True)
class Call:
    """What a function needs beside its input and the adapters."""

    layers: tuple[Frozen, ...]
    scale: float
    dropout: Dropout
    products: Products

    @property
    def kept_scale(self) -> float:
        """The adapters' scale, raised by what dropout takes."""
        return self.scale / self.dropout.kept


class Linears(Function):
    """(y_1, y_2, ...) of up to three linear layers that read the same x: ``apply(x, call, A_1, B_1, A_2, B_2, ...)``.

    x is (..., K), and each y (..., M) with the M of its layer.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Call, *adapters: Tensor) -> tuple[Tensor, ...]:
        """Keeps x and the narrow products: nothing as wide as an output."""
        ctx.call, ctx.adapters, ctx.shape = call, adapters, x.shape
        flat, rank, bs = _flat(x), _rank(adapters), _transposed(adapters, x)
        a = _padded(adapters[::2], x, rank)
        narrow, ys = _linears(flat, call, call.layers, a, bs)
        ctx.save_for_backward(flat, narrow, a, *bs)
        return tuple(y.view(*x.shape[:-1], -1) for y in ys)

    @staticmethod
    def backward(ctx: Any, *dys: Tensor) -> tuple[Any, ...]:
        """Gradients in the order of ``apply``'s arguments."""
        x, narrow, a, *bs = ctx.saved_tensors
        flat = [_flat(dy) for dy in dys]
        dx, das = _linears_back(x, flat, ctx.call, ctx.call.layers, a=a, bs=bs, needs_dx=ctx.needs_input_grad[0])
        dbs = [dy.t() @ each for dy, each in zip(flat, narrow.chunk(len(flat), 1), strict=True)]
        return None if dx is None else dx.view(ctx.shape), None, *_gradients(ctx.adapters, das, dbs)


class Mlp(Function):
    """down(silu(gate(x)) * up(x)): ``apply(x, call, A_gate, B_gate, A_up, B_up, A_down, B_down)``; x is (..., K)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Call, *adapters: Tensor) -> Tensor:
        """Keeps x, gate and up; the hidden state is computed again."""
        ctx.call, ctx.adapters, ctx.shape = call, adapters, x.shape
        flat, rank, bs = _flat(x), _rank(adapters), _transposed(adapters, x)
        a, a_down = _padded(adapters[0:4:2], x, rank), _padded(adapters[4::2], x, rank)
        narrow, (gate, up) = _linears(flat, call, call.layers[:2], a, bs[:2])
        narrow_down, hidden = guard.swiglu_project(
            gate, up, a_down, scale=call.kept_scale, dropout=call.dropout.of_hidden()
        )
        ctx.save_for_backward(flat, narrow, gate, up, narrow_down, a, a_down, *bs)
        return call.products.forward(hidden, call.layers[2], narrow_down, bs[2]).view(x.shape)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
        """Writes the gradients of gate and up over gate and up, which are as large as all else together."""
        if ctx.call is None:
            raise RuntimeError("a fused MLP has one backward pass only: it needs the memory of what it kept")
        call, ctx.call = ctx.call, None
        x, narrow, gate, up, narrow_down, a, a_down, *bs = ctx.saved_tensors
        dy = _flat(dy)
        du = _narrow_back([dy], bs[2:], call.kept_scale)
        dhidden = call.products.backward(dy, call.layers[2], None)
        da_down, *dbs = guard.swiglu_backward(
            gate, up, dhidden, a=a_down, du=du, narrow=narrow, dropout=call.dropout.of_hidden()
        )
        dx, das = _linears_back(x, [gate, up], call, call.layers[:2], a=a, bs=bs[:2])
        gradients = _gradients(ctx.adapters, [*das, da_down], [*dbs, dy.t() @ narrow_down])
        return None if dx is None else dx.view(ctx.shape), None, *gradients


def _linears(
    x: Tensor, call: Call, layers: Sequence[Frozen], a: Tensor, bs: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """The narrow products (T, N * R) and all outputs (T, M)."""
    narrow = guard.project(x, a, scale=call.kept_scale, dropout=call.dropout)
    each = zip(layers, narrow.chunk(len(bs), 1), bs, strict=True)
    return narrow, [call.products.forward(x, layer, part, b) for layer, part, b in each]


def _linears_back(
    x: Tensor, dys: Sequence[Tensor], call: Call, layers: Sequence[Frozen], *, a: Tensor, bs: Sequence[Tensor],
    needs_dx: bool = True,
) -> tuple[Tensor | None, Tensor]:  # fmt: skip
    """dx (T, K), if it is needed, and the gradients of all A, (N, K, R)."""
    du, dx = _narrow_back(dys, bs, call.kept_scale), None
    for dy, layer in zip(dys, layers, strict=True) if needs_dx else ():
        dx = call.products.backward(dy, layer, dx)
    return dx, guard.project_backward(x, dx, a, du, dropout=call.dropout)


def _narrow_back(dys: Sequence[Tensor], bs: Sequence[Tensor], scale: float) -> Tensor:
    """scale * dy b^T of each output, side by side: (T, N * R)."""
    du = dys[0].new_empty(len(dys[0]), sum(len(b) for b in bs))
    for dy, b, part in zip(dys, bs, du.chunk(len(bs), 1), strict=True):
        torch.addmm(part, dy, b.t(), beta=0, alpha=scale, out=part)
    return du


def _flat(x: Tensor) -> Tensor:
    """(T, K) of (..., K)."""
    return x.reshape(-1, x.shape[-1]).contiguous()


def _rank(adapters: Sequence[Tensor]) -> int:
    """The R of all of them: a power of two, as tensor cores take it."""
    return max(MIN_RANK, 1 << (max(len(a) for a in adapters[::2]) - 1).bit_length())


def _padded(matrices: Sequence[Tensor], x: Tensor, rank: int) -> Tensor:
    """Matrices (rank, K) of adapters as one (N, R, K), in the type of x."""
    found = x.new_zeros(len(matrices), rank, matrices[0].shape[1])
    for slot, matrix in zip(found, matrices, strict=True):
        slot[: len(matrix)] = matrix
    return found


def _transposed(adapters: Sequence[Tensor], x: Tensor) -> list[Tensor]:
    """B of each adapter as (R, M)."""
    return [_padded([b.t()], x, _rank(adapters))[0] for b in adapters[1::2]]


def _gradients(adapters: Sequence[Tensor], das: Sequence[Tensor], dbs: Sequence[Tensor]) -> Iterator[Tensor]:
    """Of A_1, B_1, A_2, B_2, ... in their own shapes and types; each da comes as (K, R), and each db as (M, R)."""
    for a, b, da, db in zip(adapters[::2], adapters[1::2], das, dbs, strict=True):
        yield da.t()[: len(a)].to(a.dtype)
        yield db[:, : b.shape[1]].to(b.dtype)
