"""Texts that come from elsewhere, made fit for a terminal and for JSON."""

from __future__ import annotations

import re

# Control characters rewrite the terminal of whoever reads them, those of direction its lines; half of a surrogate pair
# is stored as another character, so that it would be written again and again. Line ends and tabs are harmless.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufffe\uffff]"
)


def printable(text: str) -> str:
    """A text without control characters."""
    return _UNPRINTABLE.sub("", text)
