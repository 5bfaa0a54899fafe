"""Reading of the API server's JSON, however deep it is.

The server takes ten thousand levels where a spec has no schema, and Python's decoder ends at a thousand of them.
Without this, one such object would end every LIST and every watch that it is part of, for everybody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

DEEPEST = 100  # levels of a document; no object that is valid has nearly as many
MARK = '"nested too deeply"'  # instead of what lies deeper; what validates the value finds it too deep even so

# Linear whatever the text is: nothing is given back, and a string without an end reaches to the end.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)


def loads(text: str | bytes) -> Any:
    """``json.loads``, but of a document that is too deep for it all but the depths."""
    try:
        return json.loads(text)
    except RecursionError:
        whole = text if isinstance(text, str) else text.decode("utf-8", "surrogatepass")
    return json.loads("".join(_cut(whole)))


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
