"""A file of chats checked row by row, in one pass and in flat memory."""

from __future__ import annotations

import hashlib
import io
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

from ..report import BAD_ROWS, BadRow
from . import formats, reading
from .duplicates import Seen
from .reading import Bad, Unreadable

_BUFFER = 1024 * 1024
_BATCH = 256  # rows whose tokens are counted together
_BATCH_CHARACTERS = 1 << 21  # of them in all: a tokenizer takes many times their size
_PROGRESS_SECONDS = 1.0
_PROGRESS_ROWS = 1024  # between two looks at the clock

CountTokens = Callable[[list[str]], list[int]]
"""Tokens of each of some texts."""


@dataclass(frozen=True)
class Options:
    """How to check."""

    format: str = formats.AUTO
    columns: Mapping[str, str] = field(default_factory=dict)  # names in the file -> those of ms-swift
    count_tokens: Optional[CountTokens] = None
    max_length: Optional[int] = None  # tokens; what is longer is counted


@dataclass
class Counts:
    """Of all rows, the bad ones among them; turns, characters and tokens of the good ones."""

    total: int = 0
    bad: int = 0
    duplicates: int = 0  # good rows that are the same, byte for byte, as an earlier one
    turns: int = 0  # without system prompts
    characters: int = 0
    tokens: Optional[int] = None
    over_length: Optional[int] = None

    def to_json(self) -> dict[str, int]:
        """What is known."""
        counts = {
            "total": self.total,
            "bad": self.bad,
            "duplicates": self.duplicates,
            "turns": self.turns,
            "characters": self.characters,
            "tokens": self.tokens,
            "overLength": self.over_length,
        }
        return {name: number for name, number in counts.items() if number is not None}


@dataclass(frozen=True)
class Result:
    """What was found."""

    format: str  # Auto when no row told it
    rows: Counts
    bad_rows: tuple[BadRow, ...]  # the first ones
    size: int  # bytes
    sha256: str = ""  # of the file as it was checked; empty when it was not read to its end
    broken: str = ""  # why the file could not be read to its end
    fatal: Optional[BadRow] = None  # the first row that makes ms-swift fail to load the file

    def problem(self, max_bad_rows: int) -> str:
        """Why it is not good enough; empty when it is."""
        rows = self.rows
        if self.broken:
            return self.broken
        if rows.total == 0:
            return "it has no rows"
        if rows.bad == rows.total:
            return f"none of its {rows.total} rows can be trained on"
        if rows.bad > max_bad_rows:
            return f"{rows.bad} of its {rows.total} rows cannot be trained on, and maxBadRows is {max_bad_rows}"
        if self.fatal is not None:
            return f"ms-swift loads no file with a row such as row {self.fatal.line}, which {self.fatal.why}"
        return ""

    def to_json(self) -> dict[str, Any]:
        """For those who did not check themselves."""
        return {
            "format": self.format,
            "rows": self.rows.to_json(),
            "badRows": [{"line": bad.line, "why": bad.why} for bad in self.bad_rows],
            "bytes": self.size,
            "sha256": self.sha256,
        }


Progress = Callable[[Counts, int, int], None]
"""Called about once a second: what was counted, bytes read, bytes in all."""


def check(path: Path, options: Options, *, progress: Progress = lambda *_: None) -> Result:
    """Check a file. Raises ``Unreadable`` for one that is not checked at all, ``OSError`` when it cannot be read."""
    reading.supported(path)
    if path.exists() and not path.is_file():  # a pipe would be waited for, a device has no end
        raise Unreadable("it is not a file")
    with _Hashed(path) as raw, io.BufferedReader(raw, _BUFFER) as file:
        before = os.fstat(file.fileno())
        checker = _Checker(options)
        broken = ""
        try:
            for row in _with_progress(reading.rows(file, suffix=path.suffix), checker, before.st_size, progress):
                checker.add(row)
            checker.count_tokens()
        except Unreadable as error:
            broken = str(error)
        after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            broken = f"it was changed while it was read ({before.st_size} bytes before, {after.st_size} after)"
    bad, digest = tuple(checker.bad), "" if broken else raw.sha256
    return Result(checker.format, checker.counts, bad, before.st_size, digest, broken, checker.fatal)


class _Hashed(io.FileIO):
    """A file that is read from its beginning to its end, and the digest of what was read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._digest = hashlib.sha256()

    def readinto(self, buffer: Any) -> int:
        """The next bytes."""
        count = super().readinto(buffer) or 0
        self._digest.update(memoryview(buffer)[:count])
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """To the beginning again, from where it is read anew."""
        if (offset, whence) != (0, os.SEEK_SET):
            raise io.UnsupportedOperation("seek")
        self._digest = hashlib.sha256()
        return super().seek(offset, whence)

    @property
    def sha256(self) -> str:
        """In hex."""
        return self._digest.hexdigest()


def _with_progress(rows: Any, checker: _Checker, size: int, progress: Progress) -> Any:
    done = 0
    due = time.monotonic() + _PROGRESS_SECONDS
    for seen, row in enumerate(rows, 1):
        yield row
        done += row.size
        if seen % _PROGRESS_ROWS == 0 and time.monotonic() >= due:
            due = time.monotonic() + _PROGRESS_SECONDS
            progress(checker.counts, done, size)


class _Checker:
    """What is known of the rows so far."""

    def __init__(self, options: Options) -> None:
        self._columns = {theirs.lower(): ours for theirs, ours in options.columns.items()}
        self._auto = options.format == formats.AUTO
        self._count, self._max_length = options.count_tokens, options.max_length
        self._texts: list[str] = []
        self._waiting = 0  # characters of these
        self._seen = Seen()
        self.format = options.format
        self.counts = Counts()
        self.bad: list[BadRow] = []
        self.fatal: Optional[BadRow] = None
        if self._count is not None:
            self.counts.tokens = 0
            self.counts.over_length = 0 if self._max_length is not None else None

    def add(self, row: reading.Row) -> None:
        """One more row."""
        counts = self.counts
        counts.total += 1
        try:
            turns = self._read(row.row)
        except Bad as bad:
            counts.bad += 1
            told = BadRow(row.line, bad.why)
            if len(self.bad) < BAD_ROWS:
                self.bad.append(told)
            if bad.fatal and self.fatal is None:
                self.fatal = told
            return
        counts.turns += turns.turns
        counts.characters += turns.characters
        if self._seen.add(row.key):
            counts.duplicates += 1
        if self._count is not None:
            self._texts.append("\n".join(turns.texts))
            self._waiting += turns.characters
            if len(self._texts) >= _BATCH or self._waiting >= _BATCH_CHARACTERS:
                self.count_tokens()

    def _read(self, row: Any) -> formats.Turns:
        if type(row) is Bad:
            raise row
        if self._columns:
            row = formats.renamed(row, self._columns)
        if not self._auto:
            return formats.read(row, self.format)
        found = formats.format_of(row)
        if self.format == formats.AUTO:
            turns = formats.read(row, found)
            self.format = found  # ms-swift reads a file as a whole: what its first good row is, all are
            return turns
        if found != self.format and not {found, self.format} <= formats.OF_TURNS:  # a reader tells these apart itself
            raise Bad(f"is of format {found}, and the rows before it of {self.format}")
        return formats.read(row, self.format)

    def count_tokens(self) -> None:
        """Of the rows since the last time."""
        if self._count is None or not self._texts:
            return
        lengths, self._texts, self._waiting = self._count(self._texts), [], 0
        self.counts.tokens = (self.counts.tokens or 0) + sum(lengths)
        limit = self._max_length
        if limit is not None:
            self.counts.over_length = (self.counts.over_length or 0) + sum(length > limit for length in lengths)
