"""Keep secret values out of everything that the runner prints or reports.

The values are those of the environment variables that the plan names. Each is looked for in the forms in which
programs print it: as it is, without surrounding blanks, escaped as in JSON or ``repr``, quoted for a URL, and in base64
at each of the three alignments (HTTP basic authentication has a user name in front).

The child's output arrives in pieces of any size, so a piece that ends with the beginning of a secret is held back
until the next one shows whether it is one: the result does not depend on where the pieces were cut.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = b"***"
MIN_LENGTH = 4  # a shorter value is no secret, and masking it would make a log unreadable
MIN_BASE64 = 8  # the stable middle of a shorter value's base64 form is too short to mean anything


def forms(values: Iterable[str]) -> tuple[bytes, ...]:
    """All texts to look for, longest first."""
    found: set[bytes] = set()
    for value in values:
        for text in {value, value.strip()}:
            if len(text) >= MIN_LENGTH:
                found.update(form.encode("utf-8", "surrogateescape") for form in _forms(text))
    return tuple(sorted((form for form in found if len(form) >= MIN_LENGTH), key=lambda form: (-len(form), form)))


def _forms(text: str) -> set[str]:
    found = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]}
    raw = text.encode("utf-8", "surrogateescape")
    found |= {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    found.update(line for line in text.splitlines() if len(line) >= MIN_LENGTH)
    if len(raw) >= MIN_BASE64:
        found |= {_base64(raw, shift) for shift in range(3)}
        found |= {form.replace("+", "-").replace("/", "_") for form in (_base64(raw, shift) for shift in range(3))}
    return found


def _base64(raw: bytes, shift: int) -> str:
    """The characters of base64 that depend on ``raw`` alone when ``shift`` unknown bytes stand before it."""
    text = base64.b64encode(b"\0" * shift + raw).decode("ascii")
    first = (shift * 8 + 5) // 6
    last = (shift + len(raw)) * 8 // 6
    return text[first:last]


class Redactor:
    """Replaces secret values in a stream of bytes."""

    def __init__(self, values: Iterable[str]) -> None:
        self._forms = forms(values)
        self._pattern = re.compile(b"|".join(map(re.escape, self._forms))) if self._forms else None
        self._starts = {form[:1] for form in self._forms}
        self._longest = max(map(len, self._forms), default=0)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Next piece of the stream; returns what is safe to pass on."""
        if self._pattern is None:
            return data
        data, out, at = self._held + data, [], 0
        cut = self._open_end(data, at)
        found = self._pattern.search(data, at)
        while found is not None and found.start() < cut:
            out += [data[at : found.start()], MASK]
            at = found.end()
            cut = self._open_end(data, at)
            found = self._pattern.search(data, at)
        out.append(data[at:cut])
        self._held = data[cut:]
        return b"".join(out)

    def close(self) -> bytes:
        """What is left at the end of the stream. A long beginning of a secret is masked as well: it is nearly one."""
        held, self._held = self._held, b""
        if not held or self._pattern is None:
            return held
        if any(form.startswith(held) and len(held) * 2 >= len(form) for form in self._forms):
            return MASK
        at = self._pattern.search(held)
        return held if at is None else self._pattern.sub(MASK, held)

    def text(self, text: str) -> str:
        """One whole text with its secrets masked."""
        if self._pattern is None:
            return text
        return self._pattern.sub(MASK, text.encode("utf-8", "replace")).decode("utf-8", "replace")

    def _open_end(self, data: bytes, at: int) -> int:
        """First place from ``at`` on whose rest of ``data`` may be the beginning of a secret."""
        for start in range(max(at, len(data) - self._longest + 1), len(data)):
            if data[start : start + 1] in self._starts:
                rest = data[start:]
                if any(len(form) > len(rest) and form.startswith(rest) for form in self._forms):
                    return start
        return len(data)
