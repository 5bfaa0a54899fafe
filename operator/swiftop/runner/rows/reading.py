"""The rows of a file one by one, however long the file: lines of JSON, or one JSON array.

What cannot be read is a ``Bad`` in place of the row, and the reading goes on with the next line. Not so in an array:
behind a syntax error nobody can tell where the next row begins, and ``Unreadable`` ends it.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Union

from ..report import WHY_CHARACTERS

LONGEST = 8 * 1024 * 1024  # bytes of one row
MOST_DIGITS = 1000
MOST_PARTS = 500_000  # of one row: brackets and commas, since each value takes far more memory than bytes in the file
_QUOTED_CHARACTERS = 60
_CHUNK = 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_LONG = 256 * 1024
_PARTS = (b"{", b"[", b",")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_BLANK = re.compile(r"[ \t\r\n]*")

SUFFIXES = (".jsonl", ".json")
_CONVERT = {
    ".csv": "pandas.read_csv(...).to_json('train.jsonl', orient='records', lines=True, force_ascii=False)",
    ".parquet": "datasets.load_dataset('parquet', data_files=...)['train'].to_json('train.jsonl', force_ascii=False)",
    ".gz": "gunzip",
}


class Bad(Exception):
    """What is wrong with one row: one line of at most ``WHY_CHARACTERS``, without control characters.

    ``fatal``: ms-swift does not drop such a row, it fails to load the whole file.
    """

    def __init__(self, why: str, *, fatal: bool = False) -> None:
        super().__init__(why if len(why) <= WHY_CHARACTERS else why[: WHY_CHARACTERS - 1] + "…")
        self.fatal = fatal

    @property
    def why(self) -> str:
        """For people."""
        return str(self.args[0])


class Unreadable(Exception):
    """What is wrong with the file as a whole."""


class Row(NamedTuple):
    """One row. ``row`` is the JSON object, or what is wrong with it."""

    line: int  # of the file, counted from 1; of an array the number of the row
    size: int  # bytes, or characters in an array
    key: int  # hash of the row's bytes
    row: Union[dict[str, Any], Bad]


def quoted(text: object) -> str:
    """A piece of the data for a message: short and printable."""
    shown = str(text)[: _QUOTED_CHARACTERS + 1]
    shown = "".join(character if character.isprintable() else "?" for character in shown)
    return f"'{shown[:_QUOTED_CHARACTERS]}…'" if len(shown) > _QUOTED_CHARACTERS else f"'{shown}'"


def supported(path: Path) -> None:
    """Raises ``Unreadable`` for a file that is not checked here, and says what to do about it."""
    suffix = path.suffix.lower()
    if path.is_dir():
        raise Unreadable(f"{path.name} is a folder: name one file that ends in .jsonl or .json")
    if suffix in SUFFIXES:
        return
    how = f", for example with {_CONVERT[suffix]}" if suffix in _CONVERT else ""
    raise Unreadable(f"a file that ends in {quoted(suffix)} is not supported: convert it to .jsonl{how}")


def rows(file: BinaryIO, *, suffix: str) -> Iterator[Row]:
    """All rows of an open file: a .json file may be an array, or lines as in a .jsonl file."""
    if suffix.lower() == ".json" and _begins_array(file):
        return _array(file)
    return _lines(file)


def _begins_array(file: BinaryIO) -> bool:
    start = file.read(_CHUNK)
    file.seek(0)
    return start.lstrip(b" \t\r\n" + _BOM)[:1] == b"["


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a value of JSON")


def _bounded_int(text: str) -> int:
    if len(text) > MOST_DIGITS:  # Python would take minutes for a million of them
        raise ValueError("a number of too many digits")
    return int(text)


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_bounded_int)


def decode(text: str) -> Any:
    """JSON that stands in a text of a row. Raises ``ValueError`` and ``RecursionError``."""
    return _DECODER.decode(text)


def _lines(file: BinaryIO) -> Iterator[Row]:
    number = 0
    while line := file.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST and not line.endswith(b"\n"):
            size = len(line) + _skip_line(file)
            yield Row(number, size, 0, Bad(f"is longer than {LONGEST >> 20} MiB"))
        elif not line.isspace():
            yield Row(number, len(line), hash(line.rstrip()), _parsed(line.removeprefix(_BOM) if number == 1 else line))


def _skip_line(file: BinaryIO) -> int:
    skipped = 0
    while piece := file.readline(_CHUNK):
        skipped += len(piece)
        if piece.endswith(b"\n"):
            break
    return skipped


def _parsed(line: bytes) -> Union[dict[str, Any], Bad]:
    if len(line) > _LONG and sum(map(line.count, _PARTS)) > MOST_PARTS:
        return Bad(f"has more than {MOST_PARTS} brackets and commas")
    try:
        return _sound(line, _DECODER.decode(line.decode("utf-8")))
    except UnicodeDecodeError as error:
        return Bad(f"is not valid UTF-8 at byte {error.start + 1}", fatal=True)
    except json.JSONDecodeError as error:
        return Bad(f"is not valid JSON: {error.msg} at character {error.pos + 1}", fatal=True)
    except ValueError as error:
        return Bad(f"is not valid JSON: {error}")
    except RecursionError:
        return Bad("is nested too deeply", fatal=True)


def _sound(data: bytes, row: object) -> Union[dict[str, Any], Bad]:
    """The row if it is an object, and if each of its texts can be written as UTF-8 again."""
    if type(row) is not dict:
        names = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
        return Bad(f"is {names.get(type(row), 'a number')}, not an object", fatal=row is not None)
    if b"\\u" in data and _ESCAPED_SURROGATE.search(data):
        try:
            json.dumps(row, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            why = "has half of a character (a lone surrogate such as \\ud83d), which no UTF-8 can hold"
            return Bad(why, fatal=True)
    return row


class _Text:
    """A window on the text of the file, from the place on that is not read yet."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.text, self.at, self.ended = "", 0, False
        self.size = 0  # bytes read from the file

    def more(self) -> None:
        """Widen the window: by as much as it has, or a long row would be parsed over and over."""
        chunk = self._file.read(max(_CHUNK, len(self.text) - self.at))
        self.size += len(chunk)
        self.ended = not chunk
        self.text = self.text[self.at :] + self._decoder.decode(chunk, final=self.ended)
        self.at = 0

    def next(self) -> str:
        """The next character that is not blank; empty at the end of the file."""
        while True:
            found = _BLANK.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self.more()


def _array(file: BinaryIO) -> Iterator[Row]:
    window, number, separator = _Text(file), 0, ","
    if window.next() == "\ufeff":
        raise Unreadable("it begins with a byte order mark: save the file as UTF-8 without one")
    window.at += 1  # the bracket
    if window.next() == "]":
        separator = "]"
        window.at += 1
    while separator == ",":
        number += 1
        yield _element(window, number)
        separator = window.next()
        window.at += 1
    if separator not in (",", "]"):
        at = f"after row {number}" if separator else f"after row {number}, where the file ends"
        raise Unreadable(f"its array is broken {at}: ',' or ']' is missing")
    if window.next():
        raise Unreadable("there is more text after its array")


def _element(window: _Text, number: int) -> Row:
    while True:
        window.next()
        try:
            row, end = _DECODER.raw_decode(window.text, window.at)
            if end < len(window.text) or window.ended:
                break
        except RecursionError:
            raise Unreadable(f"row {number} is nested too deeply, and rows after it cannot be found") from None
        except ValueError as error:
            if window.ended:
                raise Unreadable(f"row {number} is not valid JSON ({_short(error)}): {_RESCUE}") from None
            if len(window.text) - window.at > LONGEST:
                text = f"row {number} is not valid JSON or longer than {LONGEST >> 20} MiB"
                raise Unreadable(f"{text}: {_RESCUE}") from None
        window.more()
    piece, window.at = window.text[window.at : end], end
    try:
        data = piece.encode("utf-8")
    except UnicodeEncodeError:
        return Row(number, len(piece), 0, Bad("is not valid UTF-8", fatal=True))
    return Row(number, len(data), hash(data), _sound(data, row))


_RESCUE = "rows after it cannot be found; in a .jsonl file, with one row in each line, they could"


def _short(error: ValueError) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)
