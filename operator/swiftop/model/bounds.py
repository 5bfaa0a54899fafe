"""Bounds of the parts of pods, as a whole: a schema bounds each value, but not all of them together.

What walks through them afterwards may recurse, and takes its time. In `swiftop-defaults` there is no schema at all.

In memory a value may have twenty times its size as JSON, so that one over the bounds is not kept either.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

_SIZE = 64 * 1024  # characters as JSON
_DEPTH = 50
_VALUES = 4000
_END = object()


def excess(value: Any) -> str:
    """Why a value is too large to be looked into; empty when it is not. It looks at no more than it allows."""
    size = values = 0
    open_: list[Iterator[Any]] = [iter((value,))]  # the members still to see, of each value that leads to this one
    while open_:
        item = next(open_[-1], _END)
        if item is _END:
            open_.pop()
            continue
        values += 1
        if values > _VALUES:
            return f"is too large: keep it below {_VALUES:,} keys and values"
        size += _size(item)
        if size > _SIZE:
            return f"is too large: keep it below {_SIZE // 1024} KiB, and move files and scripts into a ConfigMap"
        if len(open_) > _DEPTH:
            return f"is too large: keep it within {_DEPTH} levels"
        if isinstance(item, Mapping):
            open_.append(chain.from_iterable(item.items()))
        elif isinstance(item, list):
            open_.append(iter(item))
    return ""


def _size(item: object) -> int:
    """Characters of a value in JSON without its members, and of what stands between it and the next."""
    if isinstance(item, str):
        return len(item) + 3
    if isinstance(item, int):  # of any length; bit_length is known without writing it down
        return item.bit_length() // 4 + 2
    return 3


_SMALL: Mapping[str, Any] = {
    excess(value): value
    for value in (
        {"": "x" * (_SIZE + 1)},
        {"": [0] * _VALUES},
        {"": json.loads("[" * _DEPTH + "]" * _DEPTH)},
    )
}


def bounded(value: Any) -> Any:
    """The value, or in place of one over the bounds a small one that is over the same bound."""
    why = excess(value)
    return _SMALL[why] if why else value
