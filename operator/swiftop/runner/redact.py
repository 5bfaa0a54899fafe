"""Keep secret values out of everything that the runner prints or reports.

The values are those of the environment variables that the plan names. Each is looked for in the forms in which
programs print it: as it is, without surrounding blanks, escaped as in JSON or ``repr``, quoted for a URL in either
case, in hex, and in base64 at each of the three alignments (HTTP basic authentication has a user name in front); each
of them also where it is wrapped over lines.

The child's output arrives in pieces of any size, so a piece that ends with the beginning of a secret is held back
until the next one shows whether it is one: the result does not depend on where the pieces were cut.
"""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_right
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = b"***"
MIN_LENGTH = 4  # a shorter value is no secret, and masking it would make a log unreadable
# A line's end where a program wraps a long word, with the blanks or the border around it; not an empty line.
_BREAK = re.compile(rb"[ \t]{0,80}(?:\xe2\x94\x82)?\r?\n(?:\xe2\x94\x82)?[ \t]{0,80}(?![ \t\r\n])")
# What may become one with what comes next.
_BEGUN_BREAK = re.compile(rb"[ \t]{0,80}(?:\xe2\x94?\x82?)?\r?\Z")
_PERCENT = re.compile(r"%[0-9A-F]{2}")
MIN_BASE64 = 8  # the stable middle of a shorter value's base64 form is too short to mean anything


def forms(values: Iterable[str]) -> tuple[bytes, ...]:
    """All texts to look for, longest first."""
    found: set[bytes] = set()
    for value in values:
        for text in {value, value.strip()}:
            if len(text) >= MIN_LENGTH:
                found.update(form.encode("utf-8", "surrogateescape") for form in _forms(text))
    found |= {_BREAK.sub(b"", form) for form in found}  # as they stand in a text without its breaks
    return tuple(sorted((form for form in found if len(form) >= MIN_LENGTH), key=lambda form: (-len(form), form)))


def _forms(text: str) -> set[str]:
    found = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]}
    raw = text.encode("utf-8", "surrogateescape")
    quoted = {quote(raw, safe=""), quote(raw), quote_plus(raw), "".join(f"%{byte:02X}" for byte in raw)}
    found |= quoted | {_PERCENT.sub(lambda code: code.group().lower(), form) for form in quoted}
    found |= {raw.hex(), raw.hex().upper(), repr(raw)[2:-1]}
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


class _Squeezed:
    """A text without the breaks of its lines, and where each of its bytes has been."""

    def __init__(self, data: bytes) -> None:
        self._marks, self._shifts = [0], [0]
        parts, last, removed = [], 0, 0
        for found in _BREAK.finditer(data) if b"\n" in data else ():
            parts.append(data[last : found.start()])
            last, removed = found.end(), removed + found.end() - found.start()
            self._marks.append(last - removed)
            self._shifts.append(removed)
        self.text = b"".join([*parts, data[last:]]) if parts else data
        self._size = len(data)

    def begin(self, at: int) -> int:
        """Where the byte stood; at the end of the text, the end of the whole."""
        return self._size if at >= len(self.text) else at + self._shifts[bisect_right(self._marks, at) - 1]

    def end(self, at: int) -> int:
        """Where what ends here ended."""
        return self.begin(at - 1) + 1


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
        data = self._held + data
        out, cut = self._masked(data, hold=True)
        self._held = data[cut:]
        return out

    @property
    def holds(self) -> bool:
        """Whether the last piece ends with what may be the beginning of a secret."""
        return bool(self._held)

    def close(self) -> bytes:
        """What is left at the end of the stream. A long beginning of a secret is masked as well: it is nearly one."""
        held, self._held = self._held, b""
        if not held or self._pattern is None:
            return held
        text = _Squeezed(held).text
        if any(form.startswith(text) and len(text) * 2 >= len(form) for form in self._forms):
            return MASK + (b"\n" if held.endswith(b"\n") else b"")
        return self._masked(held, hold=False)[0]

    def text(self, text: str) -> str:
        """One whole text with its secrets masked."""
        if self._pattern is None:
            return text
        return self._masked(text.encode("utf-8", "replace"), hold=False)[0].decode("utf-8", "replace")

    def _masked(self, data: bytes, *, hold: bool) -> tuple[bytes, int]:
        """What may be passed on, masked, and how far that reaches."""
        assert self._pattern is not None  # noqa: S101 - for the type checker
        squeezed, out, at, shown = _Squeezed(data), [], 0, 0
        text = squeezed.text
        while True:
            cut = self._open_end(text, at) if hold else len(text)
            found = self._pattern.search(text, at)
            if found is None or found.start() >= cut:
                break
            out += [data[shown : squeezed.begin(found.start())], MASK]
            at, shown = found.end(), squeezed.end(found.end())
        end = squeezed.begin(cut)
        out.append(data[shown:end])
        return b"".join(out), end

    def _open_end(self, data: bytes, at: int) -> int:
        """First place from ``at`` on whose rest of ``data`` may be the beginning of a secret."""
        begun = _BEGUN_BREAK.search(data, max(len(data) - 90, at))
        if begun is not None and begun.start() < len(data):
            before = self._prefix(data[: begun.start()], at)
            if before < begun.start():
                return before
        return self._prefix(data, at)

    def _prefix(self, data: bytes, at: int) -> int:
        for start in range(max(at, len(data) - self._longest + 1), len(data)):
            if data[start : start + 1] in self._starts:
                rest = data[start:]
                if any(len(form) > len(rest) and form.startswith(rest) for form in self._forms):
                    return start
        return len(data)
