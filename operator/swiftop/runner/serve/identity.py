"""Does a name answer with its own weights? Pure.

What an engine that dropped the adapter answers is the base model's answer, and a client cannot tell. So each name is
asked the same, and what the model would say first, with the probability of each word, is compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

PROBES = ("Hello! Who are you?", "The capital of France is", "1, 2, 3,")
TOP = 20
ROUNDED = 1e-4  # of a logarithm: the same weights on another path, as an adapter that changes nothing
CHANGED = 0.25  # of a logarithm: what the base model says must not depend on the adapters beside it

Fingerprint = Mapping[tuple[int, str], float]
"""Logarithm of the probability of each first word, by probe."""


def fingerprint(answers: Sequence[Mapping[str, Any]]) -> Fingerprint:
    """Of the answers to ``PROBES``, each of one token with the likeliest alternatives."""
    found: dict[tuple[int, str], float] = {}
    for number, answer in enumerate(answers):
        for word, chance in _first_words(answer):
            found[number, word] = chance
    return found


def _first_words(answer: Mapping[str, Any]) -> Sequence[tuple[str, float]]:
    try:
        tops = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        return [(f"{top['token']}{top['bytes']}", float(top["logprob"])) for top in tops]
    except (KeyError, IndexError, TypeError):
        return []


def difference(one: Fingerprint, other: Fingerprint) -> Optional[float]:
    """How far two of them are apart at most; None when they have no word in common."""
    shared = one.keys() & other.keys()
    return max((abs(one[word] - other[word]) for word in shared), default=None)


def differ(one: Fingerprint, other: Fingerprint, *, noise: float = 0.0) -> bool:
    """Whether they are of different weights. ``noise``: how far two answers of the same ones are apart."""
    apart = difference(one, other)
    if apart is None:
        return bool(one or other)
    return apart > max(2 * noise, ROUNDED) or (one.keys() != other.keys() and noise == 0)
