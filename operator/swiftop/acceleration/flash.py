"""The functions of the package ``flash_attn`` that transformers calls, on the flash kernels that torch itself brings.

They are the same kernels by origin, and differentiable. The signatures count: transformers reads from them which
arguments it may give, and refuses a model that needs another. Shapes: B samples of L tokens, T tokens in all, H heads
of D numbers.
"""

from __future__ import annotations

from typing import Any

import torch

_forward = torch.ops.aten._flash_attention_forward


def flash_attn_varlen_func(  # noqa: PLR0917
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    cu_seqlens_q: torch.Tensor | None,
    cu_seqlens_k: torch.Tensor | None,
    max_seqlen_q: int | torch.Tensor,
    max_seqlen_k: int | torch.Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
) -> Any:
    """Attention of samples of any length behind each other, which do not see one another: (T, H, D)."""
    if softcap:
        raise NotImplementedError("torch's flash kernels have no softcap: the model needs the package flash-attn")
    left, right = (None if size < 0 else size for size in window_size)
    lengths = int(max_seqlen_q), int(max_seqlen_k)
    return _forward(
        *(q, k, v, cu_seqlens_q, cu_seqlens_k, *lengths, dropout_p, causal, False),
        scale=softmax_scale,
        window_size_left=left,
        window_size_right=right,
    )[0]


def flash_attn_func(  # noqa: PLR0917
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
) -> Any:
    """Attention of samples of one length: (B, L, H, D)."""
    lengths = q.shape[1], k.shape[1]
    return flash_attn_varlen_func(q, k, v, None, None, *lengths, dropout_p, softmax_scale, causal, window_size, softcap)
