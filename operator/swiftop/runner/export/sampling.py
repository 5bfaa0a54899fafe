"""Which weights of a large model are compared one by one: a choice that covers every kind of module."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

COUNT = 64


def choose(changed: Iterable[str], others: Iterable[str], *, count: int = COUNT, seed: str = "") -> frozenset[str]:
    """Of the weights that the adapter changes at least the first and the last of each kind, and as many as fit in
    ``count``; of all others the first and the last of each kind. The same for the same names and seed.
    """
    changed, others = sorted(changed, key=_natural), sorted(others, key=_natural)
    chosen = set(_ends(changed)) | set(_ends(others))
    for name in sorted(changed, key=lambda name: hashlib.sha256(f"{seed}{name}".encode()).digest()):
        if len(chosen) >= count:
            break
        chosen.add(name)
    return frozenset(chosen)


def _ends(names: Sequence[str]) -> list[str]:
    first: dict[str, str] = {}
    last: dict[str, str] = {}
    for name in names:
        kind = re.sub(r"\b\d+\b", "*", name)
        first.setdefault(kind, name)
        last[kind] = name
    return [*first.values(), *last.values()]


def _natural(name: str) -> list[tuple[int, str]]:
    """Layer 10 after layer 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]
