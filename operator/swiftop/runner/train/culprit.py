"""Which row of a local dataset it was, when the exception of a reader does not say.

``datasets`` falls back from one reader to another and tells the last one's words: "Trailing data at position 122", of
no file and no row. The files are still there, so they are read once more, for a few seconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Optional

FLAGS = ("--dataset", "--val_dataset")
SECONDS = 20.0
LONGEST_ROW = 16 << 20
MOST_ENTRIES = 10_000  # of a folder: to list one takes its time too
MOST_FILES = 100
DEPTH = 4  # of the lists and objects whose types are compared
MOST_COLUMNS = 500
_WORDS = {str: "text", list: "a list", dict: "an object", bool: "true or false", int: "a number", float: "a number"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def find(command: tuple[str, ...], *, nulls: bool = False, clock: Callable[[], float] = time.monotonic) -> str:
    """The first row that cannot be read, or that has another type than those before it; empty without one.

    ``nulls``: a column that is null for long and then is not, as some readers cannot take it.
    """
    deadline = clock() + SECONDS
    for file in _files(command):
        try:
            found = _in_file(file, deadline, nulls=nulls, clock=clock)
        except OSError:
            continue
        if found:
            return f"{file}, {found}"
    return ""


def _files(command: tuple[str, ...]) -> Iterator[Path]:
    flag = ""
    for word in command:
        if word.startswith("--"):
            flag = word
        elif flag in FLAGS and word.startswith("/"):
            path = Path(word.partition("#")[0])
            path = path if path.exists() else Path(str(path).partition(":")[0])
            below = sorted(islice(path.rglob("*"), MOST_ENTRIES)) if path.is_dir() else [path]
            files = [file for file in below if file.suffix == ".jsonl"]
            yield from (file for file in files[:MOST_FILES] if file.is_file())


def _in_file(file: Path, deadline: float, *, nulls: bool, clock: Callable[[], float]) -> str:
    columns = _Columns()
    with file.open("rb") as lines:
        number = 0
        while raw := lines.readline(LONGEST_ROW):
            number += 1
            if number == 1 and raw.startswith(_UTF16):
                return "row 1: the file is UTF-16, it has to be UTF-8"
            problem = _problem(raw, number, columns) if raw.strip() else ""
            if problem or clock() > deadline:
                return f"row {number}: {problem}" if problem else ""
    return columns.late if nulls else ""


def _problem(raw: bytes, number: int, columns: _Columns) -> str:
    try:
        row = json.loads(raw.rstrip(b"\r\n").decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return f"byte {error.start + 1} is not UTF-8"
    except json.JSONDecodeError as error:
        return f"it is not valid JSON: {error.msg} at column {error.colno}"
    except (ValueError, RecursionError):
        return "it is not valid JSON"
    if not isinstance(row, dict):
        return "it is not a JSON object"
    return columns.conflict(row, number)


class _Columns:
    """Types of the columns so far: all rows of a column need the same."""

    def __init__(self) -> None:
        self._types: dict[str, tuple[str, int]] = {}
        self._null: dict[str, int] = {}  # columns that are null so far, and since which row
        self.late = ""  # a column that had no type for long: fatal to readers that guess it from the first rows

    def conflict(self, row: dict[str, Any], number: int) -> str:
        """What is wrong with the types of a row."""
        return next(filter(None, (self._compare(name, value, number) for name, value in _leaves("", row, DEPTH))), "")

    def _compare(self, name: str, value: Any, number: int) -> str:
        if len(self._types) + len(self._null) > MOST_COLUMNS:
            return ""
        if value is None:
            if name not in self._types:
                self._null.setdefault(name, number)
            return ""
        word = _WORDS.get(type(value), "")
        known: Optional[tuple[str, int]] = self._types.setdefault(name, (word, number))
        since = self._null.pop(name, None)
        if since is not None and not self.late:
            self.late = f"row {number}: column '{name}' is {word}, and null in all rows before"
        if known and known[0] != word:
            return f"column '{name}' is {word}, and {known[0]} in row {known[1]}"
        return ""


def _leaves(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if name:
        yield name, value
    if depth and isinstance(value, dict):
        for key, member in value.items():
            yield from _leaves(f"{name}.{key}" if name else str(key)[:80], member, depth - 1)
    elif depth and isinstance(value, list):
        for member in value:
            yield from _leaves(f"{name}[]", member, depth - 1)
