"""Triton kernels for what LoRA adds to a linear layer; the large products stay with cuBLAS.

Shapes: T tokens, K columns (features of the input), N adapters (1 to 3) that read the same input, R their rank, padded
with zeros to 16, 32 or 64. Adapter i has A of (R, K), and all of them together are ``a`` of (N, R, K). Scaling, dropout
and SwiGLU happen while a tile is in registers anyway, so that each pass over the activations does all there is to do.

The tiles were measured on an H100. Arithmetic: products accumulate in float32, what is stored is rounded once.

Annotations of a kernel's parameters mean something to Triton, which is why only ``tl.constexpr`` has one.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .masks import Dropout

PROGRAMS = 1536  # that a backward pass is cut into, about
PROJECT = {"ROWS": 32, "STAGES": 3, "num_warps": 4}
PROJECT_COLUMNS = 128 * 16  # divided by R
BACKWARD = {"ROWS": 32, "COLUMNS": 64, "STAGES": 3, "num_warps": 4}
SWIGLU_BACKWARD = {"ROWS": 16, "COLUMNS": 64, "STAGES": 4, "num_warps": 4}


@triton.jit
def _masked(values, seed, position, threshold, ADAPTER: tl.constexpr, DROPOUT: tl.constexpr):
    """The values under the mask of an adapter; ``masks.keep`` is the same in torch."""
    if DROPOUT:
        hashed = (position * 0x9E3779B1) ^ seed.to(tl.uint32)
        hashed = (hashed ^ (hashed >> 16)) * 0x85EBCA6B + seed.to(tl.uint32)
        hashed = (hashed ^ (hashed >> 13)) * 0xC2B2AE35
        bits = ((hashed ^ (hashed >> 16)) >> (10 * ADAPTER)) & 1023
        values = tl.where(bits >= threshold, values, 0.0)
    return values


@triton.jit(do_not_specialize=["seed", "T", "threshold"])
def _project(
    x, a, u, seed, T, K, scale, threshold, N: tl.constexpr, DROPOUT: tl.constexpr, R: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """u[:, i] = scale * mask_i(x) a_i^T. A program has some rows, and goes over all columns."""
    rows, r, top = tl.arange(0, ROWS), tl.arange(0, R), tl.program_id(0).to(tl.int64) * ROWS
    in_rows = (top + rows < T)[:, None]
    u0 = tl.zeros((ROWS, R), tl.float32)
    u1, u2 = u0, u0
    for k in tl.range(0, K, COLUMNS, num_stages=STAGES):
        columns = k + tl.arange(0, COLUMNS)
        place, inside = rows[:, None] * K + columns[None, :], in_rows & (columns < K)[None, :]
        a_tile, in_columns = a + columns[:, None] + r[None, :] * K, (columns < K)[:, None]
        position = place.to(tl.uint32) + (top * K).to(tl.uint32)
        v = tl.load(x + top * K + place, mask=inside, other=0.0)
        u0 = tl.dot(_masked(v, seed, position, threshold, 0, DROPOUT), tl.load(a_tile, mask=in_columns, other=0.0), u0)
        if N > 1:
            a1 = tl.load(a_tile + R * K, mask=in_columns, other=0.0)
            u1 = tl.dot(_masked(v, seed, position, threshold, 1, DROPOUT), a1, u1)
        if N > 2:
            a2 = tl.load(a_tile + 2 * R * K, mask=in_columns, other=0.0)
            u2 = tl.dot(_masked(v, seed, position, threshold, 2, DROPOUT), a2, u2)
    out = u + (top + rows[:, None]) * (N * R) + r[None, :]
    tl.store(out, (u0 * scale).to(u.dtype.element_ty), mask=in_rows)
    if N > 1:
        tl.store(out + R, (u1 * scale).to(u.dtype.element_ty), mask=in_rows)
    if N > 2:
        tl.store(out + 2 * R, (u2 * scale).to(u.dtype.element_ty), mask=in_rows)


@triton.jit(do_not_specialize=["seed", "T", "threshold"])
def _swiglu_project(
    gate, up, hidden, a, u, seed, T, K, scale, threshold, DROPOUT: tl.constexpr, R: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """hidden = silu(gate) * up, and u = scale * mask(hidden) a^T."""
    rows, r, top = tl.arange(0, ROWS), tl.arange(0, R), tl.program_id(0).to(tl.int64) * ROWS
    in_rows = (top + rows < T)[:, None]
    u0 = tl.zeros((ROWS, R), tl.float32)
    for k in tl.range(0, K, COLUMNS, num_stages=STAGES):
        columns = k + tl.arange(0, COLUMNS)
        place, inside = rows[:, None] * K + columns[None, :], in_rows & (columns < K)[None, :]
        a_tile, in_columns = a + columns[:, None] + r[None, :] * K, (columns < K)[:, None]
        position = place.to(tl.uint32) + (top * K).to(tl.uint32)
        v = tl.load(gate + top * K + place, mask=inside, other=0.0)
        g = v.to(tl.float32)
        v = (g * tl.sigmoid(g)).to(v.dtype) * tl.load(up + top * K + place, mask=inside, other=0.0)
        tl.store(hidden + top * K + place, v, mask=inside)
        u0 = tl.dot(_masked(v, seed, position, threshold, 0, DROPOUT), tl.load(a_tile, mask=in_columns, other=0.0), u0)
    out = u + (top + rows[:, None]) * R + r[None, :]
    tl.store(out, (u0 * scale).to(u.dtype.element_ty), mask=in_rows)


@triton.jit(do_not_specialize=["seed", "T", "threshold"])
def _project_backward(
    x, dx, a, du, da, seed, T, K, threshold, PART, N: tl.constexpr, DROPOUT: tl.constexpr, ADD: tl.constexpr,
    R: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """da[part, i] = mask_i(x)^T du_i, and with ADD dx += sum of mask_i(du_i a_i).

    A program has some columns and PART rows: what it sums up over its rows is one part of da.
    """
    columns, r = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS), tl.arange(0, R)
    first = tl.program_id(1) * PART
    a_tile, in_columns = a + r[:, None] * K + columns[None, :], (columns < K)[None, :]
    a0 = tl.load(a_tile, mask=in_columns, other=0.0)
    a1, a2 = a0, a0
    if N > 1:
        a1 = tl.load(a_tile + R * K, mask=in_columns, other=0.0)
    if N > 2:
        a2 = tl.load(a_tile + 2 * R * K, mask=in_columns, other=0.0)
    da0 = tl.zeros((COLUMNS, R), tl.float32)
    da1, da2 = da0, da0
    for m in tl.range(first, tl.minimum(first + PART, T), ROWS, num_stages=STAGES):
        rows, top = m + tl.arange(0, ROWS), tl.cast(m, tl.int64) * K
        in_rows, narrow = (rows < T)[:, None], rows[:, None] * (N * R) + r[None, :]
        place, inside = tl.arange(0, ROWS)[:, None] * K + columns[None, :], in_rows & in_columns
        position = place.to(tl.uint32) + top.to(tl.uint32)
        v = tl.load(x + top + place, mask=inside, other=0.0)
        du0 = tl.load(du + narrow, mask=in_rows, other=0.0)
        da0 = tl.dot(tl.trans(_masked(v, seed, position, threshold, 0, DROPOUT)), du0, da0)
        d = _masked(tl.dot(du0, a0), seed, position, threshold, 0, DROPOUT)
        if N > 1:
            du1 = tl.load(du + narrow + R, mask=in_rows, other=0.0)
            da1 = tl.dot(tl.trans(_masked(v, seed, position, threshold, 1, DROPOUT)), du1, da1)
            d += _masked(tl.dot(du1, a1), seed, position, threshold, 1, DROPOUT)
        if N > 2:
            du2 = tl.load(du + narrow + 2 * R, mask=in_rows, other=0.0)
            da2 = tl.dot(tl.trans(_masked(v, seed, position, threshold, 2, DROPOUT)), du2, da2)
            d += _masked(tl.dot(du2, a2), seed, position, threshold, 2, DROPOUT)
        if ADD:
            d += tl.load(dx + top + place, mask=inside, other=0.0).to(tl.float32)
            tl.store(dx + top + place, d.to(v.dtype), mask=inside)
    out = da + (tl.program_id(1) * N * K + columns[:, None]) * R + r[None, :]
    in_columns = (columns < K)[:, None]
    tl.store(out, da0, mask=in_columns)
    if N > 1:
        tl.store(out + K * R, da1, mask=in_columns)
    if N > 2:
        tl.store(out + 2 * K * R, da2, mask=in_columns)


@triton.jit(do_not_specialize=["seed", "T", "threshold"])
def _swiglu_backward(
    gate, up, dhidden, a, du, narrows, sums, seed, T, K, threshold, PART, DROPOUT: tl.constexpr, R: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """gate and up become their gradients; sums[part] = mask(hidden)^T du, dgate^T narrow_gate, dup^T narrow_up.

    The whole gradient of the hidden state is dhidden + mask(du a).
    """
    columns, r = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS), tl.arange(0, R)
    first = tl.program_id(1) * PART
    in_columns = (columns < K)[None, :]
    a0 = tl.load(a + r[:, None] * K + columns[None, :], mask=in_columns, other=0.0)
    sum0 = tl.zeros((COLUMNS, R), tl.float32)
    sum1, sum2 = sum0, sum0
    for m in tl.range(first, tl.minimum(first + PART, T), ROWS, num_stages=STAGES):
        rows, top = m + tl.arange(0, ROWS), tl.cast(m, tl.int64) * K
        in_rows, narrow = (rows < T)[:, None], rows[:, None] * R + r[None, :]
        place, inside = tl.arange(0, ROWS)[:, None] * K + columns[None, :], in_rows & in_columns
        position = place.to(tl.uint32) + top.to(tl.uint32)
        v = tl.load(gate + top + place, mask=inside, other=0.0)
        g, other = v.to(tl.float32), tl.load(up + top + place, mask=inside, other=0.0)
        sigmoid = tl.sigmoid(g)
        v = (g * sigmoid).to(v.dtype) * other
        du0 = tl.load(du + narrow, mask=in_rows, other=0.0)
        sum0 = tl.dot(tl.trans(_masked(v, seed, position, threshold, 0, DROPOUT)), du0, sum0)
        d = _masked(tl.dot(du0, a0), seed, position, threshold, 0, DROPOUT)
        d += tl.load(dhidden + top + place, mask=inside, other=0.0).to(tl.float32)
        dgate = (d * other.to(tl.float32) * sigmoid * (1 + g * (1 - sigmoid))).to(v.dtype)
        dup, both = (d * g * sigmoid).to(v.dtype), narrows + rows[:, None] * (2 * R) + r[None, :]
        tl.store(gate + top + place, dgate, mask=inside)
        tl.store(up + top + place, dup, mask=inside)
        sum1 = tl.dot(tl.trans(dgate), tl.load(both, mask=in_rows, other=0.0), sum1)
        sum2 = tl.dot(tl.trans(dup), tl.load(both + R, mask=in_rows, other=0.0), sum2)
    out = sums + (tl.program_id(1) * 3 * K + columns[:, None]) * R + r[None, :]
    in_columns = (columns < K)[:, None]
    tl.store(out, sum0, mask=in_columns)
    tl.store(out + K * R, sum1, mask=in_columns)
    tl.store(out + 2 * K * R, sum2, mask=in_columns)


@triton.jit
def _to_eight_bits(x, y, scales, K, x_row, BLOCK: tl.constexpr):
    """A row for each program: y = x / scale, the scale such that the row's largest number becomes that of e4m3."""
    row, columns = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    v = tl.load(x + row * x_row + columns, mask=columns < K, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(v), 0), 1e-12) / 448.0
    tl.store(y + row * K + columns, (v / scale).to(y.dtype.element_ty), mask=columns < K)
    tl.store(scales + row, scale)


def project(x: Tensor, a: Tensor, *, scale: float, dropout: Dropout) -> Tensor:
    """The narrow u (T, N * R) of x (T, K) and a (N, R, K): scale * mask_i(x) a_i^T side by side."""
    adapters, r, _ = a.shape
    u = x.new_empty(len(x), adapters * r)
    _project[(triton.cdiv(len(x), PROJECT["ROWS"]),)](
        x, a, u, dropout.seed, *x.shape, scale, dropout.threshold, adapters, dropout.masked, r,
        COLUMNS=PROJECT_COLUMNS // r, **PROJECT,
    )  # fmt: skip
    return u


def swiglu_project(gate: Tensor, up: Tensor, a: Tensor, *, scale: float, dropout: Dropout) -> tuple[Tensor, Tensor]:
    """The narrow u (T, R) of the hidden state silu(gate) * up, all (T, K), and the hidden state; a is (1, R, K)."""
    _, r, _ = a.shape
    u, hidden = gate.new_empty(len(gate), r), torch.empty_like(gate)
    _swiglu_project[(triton.cdiv(len(gate), PROJECT["ROWS"]),)](
        gate, up, hidden, a, u, dropout.seed, *gate.shape, scale, dropout.threshold, dropout.masked, r,
        COLUMNS=PROJECT_COLUMNS // r, **PROJECT,
    )  # fmt: skip
    return u, hidden


def project_backward(x: Tensor, dx: Tensor | None, a: Tensor, du: Tensor, *, dropout: Dropout) -> Tensor:
    """Gradients of all a, transposed: (N, K, R) in float32. du is (T, N * R); dx (T, K), if given, is added to."""
    adapters, r, k = a.shape
    part, parts = _parts(x, BACKWARD)
    da = x.new_empty(parts, adapters, k, r, dtype=torch.float32)
    _project_backward[triton.cdiv(k, BACKWARD["COLUMNS"]), parts](
        x, dx, a, du, da, dropout.seed, *x.shape, dropout.threshold, part, adapters, dropout.masked, dx is not None, r,
        **BACKWARD,
    )  # fmt: skip
    return da.sum(0)


def swiglu_backward(
    gate: Tensor, up: Tensor, dhidden: Tensor, *, a: Tensor, du: Tensor, narrow: Tensor, dropout: Dropout
) -> Tensor:
    """Turn gate and up into their own gradients; return those of down's A, gate's B and up's B: (3, K, R), float32.

    All large ones are (T, K). du (T, R) is the gradient of down's u, narrow (T, 2 * R) what gate and up had as u.
    """
    _, r, k = a.shape
    part, parts = _parts(gate, SWIGLU_BACKWARD)
    sums = gate.new_empty(parts, 3, k, r, dtype=torch.float32)
    _swiglu_backward[triton.cdiv(k, SWIGLU_BACKWARD["COLUMNS"]), parts](
        gate, up, dhidden, a, du, narrow, sums, dropout.seed, *gate.shape, dropout.threshold, part, dropout.masked, r,
        **SWIGLU_BACKWARD,
    )  # fmt: skip
    return sums.sum(0)


def to_eight_bits(x: Tensor) -> tuple[Tensor, Tensor]:
    """x (T, K) as e4m3, and what its rows have to be multiplied with, (T, 1) in float32."""
    (t, k), block = x.shape, triton.next_power_of_2(x.shape[1])
    y = torch.empty(t, k, dtype=torch.float8_e4m3fn, device=x.device)
    scales = torch.empty(t, 1, dtype=torch.float32, device=x.device)
    _to_eight_bits[(t,)](x, y, scales, k, x.stride(0), block, num_warps=16 if block > 8192 else 4)
    return y, scales


def _parts(x: Tensor, tile: dict[str, int]) -> tuple[int, int]:
    """Rows of each part, a multiple of the tile's, and how many parts there are."""
    rows = triton.cdiv(len(x), max(1, PROGRAMS // triton.cdiv(x.shape[1], tile["COLUMNS"])))
    rows = triton.cdiv(rows, tile["ROWS"]) * tile["ROWS"]
    return rows, triton.cdiv(len(x), rows)
