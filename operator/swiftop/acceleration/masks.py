"""Dropout masks that a hash gives: the same in the forward pass, in the backward pass and in a repetition.

Nothing is stored and no generator is asked for T x K numbers. Every element of the input hashes to 32 bits, and each of
the up to three adapters that read this input takes 10 of them: probabilities are multiples of 1/1024.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

STEPS = 1024  # of a probability
BITS = 10  # of the hash for each adapter
_WORD = 0xFFFFFFFF


@dataclass(frozen=True)
class Dropout:
    """The masks of one call: an element is dropped where its 10 bits are below ``threshold``.

    ``masked`` says which of two compiled kernels runs. It stays as it is while a check sets the probability to 0, so
    that the check runs what the training will run.
    """

    seed: int = 0
    threshold: int = 0
    masked: bool = False

    @property
    def kept(self) -> float:
        """Share of the elements that stay, on average."""
        return 1 - self.threshold / STEPS

    def of_hidden(self) -> Dropout:
        """Masks of the second input of the same function: the hidden state of an MLP."""
        return replace(self, seed=self.seed + 1)


def drawn(probability: float, *, masked: bool) -> Dropout:
    """Masks with a new seed. It comes from torch's CPU generator, whose state gradient checkpointing restores."""
    threshold = round(probability * STEPS)
    seed = int(torch.randint(2**30, (), device="cpu")) if threshold else 0
    return Dropout(seed=seed, threshold=threshold, masked=masked)


def keep(dropout: Dropout, adapter: int, rows: range, columns: int, device: torch.device) -> Tensor:
    """The mask of an adapter for some rows, as bool (len(rows), columns): in torch what the kernels compute."""
    first, last = rows.start * columns, rows.stop * columns
    hashed = torch.arange(first, last, device=device) * 0x9E3779B1 & _WORD ^ dropout.seed
    hashed = ((hashed ^ hashed >> 16) * 0x85EBCA6B & _WORD) + dropout.seed & _WORD
    hashed = (hashed ^ hashed >> 13) * 0xC2B2AE35 & _WORD
    bits = (hashed ^ hashed >> 16) >> BITS * adapter & STEPS - 1
    return (bits >= dropout.threshold).view(len(rows), columns)
