"""Stand-in for flash-attn where no wheel of it fits: its functions on the flash kernels that torch itself brings.

Same kernels by origin, and differentiable. Right for plain causal attention only (Qwen2, Llama): sliding windows,
softcap and ALiBi are not passed on. The signatures count: transformers reads from them which arguments it may give.
The GPU benchmark installs this folder under the name of the real package.
"""

from __future__ import annotations

from typing import Any

import torch

_forward = torch.ops.aten._flash_attention_forward


def flash_attn_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
) -> Any:
    """Attention of samples of one length: (batch, length, heads, size)."""
    lengths = q.shape[1], k.shape[1]
    return _forward(q, k, v, None, None, *lengths, dropout_p, causal, False, scale=softmax_scale)[0]


def flash_attn_varlen_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
) -> Any:
    """Attention of samples of any length behind each other, which do not see one another: (total, heads, size)."""
    lengths = int(max_seqlen_q), int(max_seqlen_k)
    return _forward(q, k, v, cu_seqlens_q, cu_seqlens_k, *lengths, dropout_p, causal, False, scale=softmax_scale)[0]


def flash_attn_with_kvcache(*_: object, **__: object) -> None:
    """For generation only; transformers imports the name."""
    raise NotImplementedError("the stand-in trains, it does not generate")
