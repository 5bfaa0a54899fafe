"""Reading of the API server's JSON, however deep it is.

The server takes ten thousand levels where a value has no schema, and Python's decoder ends at a thousand of them.
Without this, one such object would end every LIST and every watch that it is part of, for everybody.

Of a LIST one object is read at a time: a megabyte of JSON may become thirty of memory, and two dozen of them would end
an operator that has half a gigabyte.
"""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

DEEPEST = 100  # levels of a document; no object that is valid has nearly as many
MARK = '"nested too deeply"'  # instead of what lies deeper; what validates the value finds it too deep even so

# Linear whatever the text is: nothing is given back, and a string without an end reaches to the end.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)

_DECODER = json.JSONDecoder()
_ITEMS, _HEAD = '"items":[', 4096
_LARGE = 32 * 1024


def loads(text: str | bytes) -> Any:
    """``json.loads``, but of a document that is too deep for it all but the depths."""
    with _without_collections(len(text)):
        try:
            return json.loads(text)
        except RecursionError:
            whole = text if isinstance(text, str) else text.decode("utf-8", "surrogatepass")
        return json.loads("".join(_cut(whole)))


def listed(raw: bytes, cut: Callable[[dict[str, Any]], Any]) -> Any:
    """``loads`` of a LIST, with what ``cut`` leaves of each of its objects."""
    text = raw.decode("utf-8", "surrogatepass")
    with _without_collections(len(text)):
        try:
            return _listed(text, cut)
        except RecursionError:
            return _listed("".join(_cut(text)), cut)


@contextmanager
def _without_collections(size: int) -> Iterator[None]:
    """A document has no cycles, and one of a megabyte would have the collector go through all objects many times."""
    paused = size > _LARGE and gc.isenabled()
    if paused:
        gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


def _listed(text: str, cut: Callable[[dict[str, Any]], Any]) -> Any:
    """In both forms that the API server writes, its own kinds' and others', what comes before the objects is short."""
    head, found, _ = text[:_HEAD].partition(_ITEMS)
    if not found or not _is_json(f"{head}{found}]}}"):  # there are none, or it is written by something else
        document = json.loads(text)
        return {**document, "items": [cut(item) for item in document.get("items") or ()]}
    at, items = len(head) + len(found), []
    while text[at : at + 1] != "]":
        item, at = _DECODER.raw_decode(text, at)
        items.append(cut(item))
        at += text[at : at + 1] == ","
    return {**json.loads(f"{head}{found}{text[at:]}"), "items": items}


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _cut(text: str) -> Iterator[str]:
    """The text without the containers below the deepest level."""
    depth, kept = 0, 0
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first in "[{":
            depth += 1
            if depth == DEEPEST + 1:
                yield text[kept : token.start()]
                yield MARK
        elif first in "]}":
            depth -= 1
            if depth == DEEPEST:
                kept = token.end()
    yield text[kept:] if depth <= DEEPEST else ""
