"""The check of a whole file: what it counts, what it survives, what it says of files that are not checked."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from swiftop.runner.report import BAD_ROWS, WHY_CHARACTERS, BadRow
from swiftop.runner.rows import check as checking
from swiftop.runner.rows import duplicates, reading
from swiftop.runner.rows.check import Counts, Options, check
from swiftop.runner.rows.duplicates import Seen
from swiftop.runner.rows.reading import Unreadable
from tests.unit.runner.rows.files import MESSAGES, SHAREGPT, checked, line, turns, why, whys, written

GOOD = line(SHAREGPT)


def test_it_counts(tmp_path: Path) -> None:
    found = checked(tmp_path, GOOD, line({}), GOOD, line(turns("system", "user")), GOOD + b"\r", b"", b" \t")
    assert found.rows == Counts(total=5, bad=2, duplicates=2, turns=6, characters=21)
    assert [bad.line for bad in found.bad_rows] == [2, 4]
    assert found.size == (tmp_path / "chats.jsonl").stat().st_size
    assert found.problem(2) == ""
    assert found.problem(1) == "2 of its 5 rows cannot be trained on, and maxBadRows is 1"


def test_the_first_bad_rows_are_told_and_all_are_counted(tmp_path: Path) -> None:
    found = checked(tmp_path, GOOD, *[b"{"] * 50)
    assert found.rows.bad == 50
    assert [bad.line for bad in found.bad_rows] == list(range(2, 2 + BAD_ROWS))


def test_a_file_of_bad_rows_is_not_tolerated_however_many_are(tmp_path: Path) -> None:
    assert checked(tmp_path, b"{", b"{").problem(10) == "none of its 2 rows can be trained on"


@pytest.mark.parametrize("name", ["chats.jsonl", "chats.json"])
def test_an_empty_file_has_no_rows(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    assert check(tmp_path / name, Options()).problem(0) == "it has no rows"


BROKEN: list[tuple[bytes, str]] = [
    (b"{", "is not valid JSON: Expecting property name enclosed in double quotes at character 3"),
    (GOOD[:-3], "is not valid JSON: Expecting ',' delimiter at character 87"),
    (b"[1]", "is a list, not an object"),
    (b"7", "is a number, not an object"),
    (b"null", "is null, not an object"),
    (b'"x"', "is a text, not an object"),
    (b'{"query": NaN}', "is not valid JSON: NaN is not a value of JSON"),
    (b'{"query": -Infinity}', "is not valid JSON: -Infinity is not a value of JSON"),
    (b'{"query": "\xff"}', "is not valid UTF-8 at byte 12"),
    (b'{"query": "\xed\xa0\x80"}', "is not valid UTF-8 at byte 12"),
    (
        b'{"query": "\\ud83d", "response": "a"}',
        "has half of a character (a lone surrogate such as \\ud83d), which no UTF-8 can hold",
    ),
    (b"\0" * 50, "is not valid JSON: Expecting value at character 1"),
    (b'{"query": "a\0b", "response": "c"}', "is not valid JSON: Invalid control character at at character 13"),
    (b'{"query": ' + b"7" * 5000 + b"}", "is not valid JSON: a number of too many digits"),
    (b"[" * 100_000, "is nested too deeply"),
    (b'{"a":' * 100_000, "is nested too deeply"),
]


@pytest.mark.parametrize(("content", "said"), BROKEN, ids=range(len(BROKEN)))
def test_what_is_broken_is_told_and_the_next_line_is_read(content: bytes, said: str, tmp_path: Path) -> None:
    assert whys(tmp_path, content, GOOD) == [(1, said)]


def test_a_byte_order_mark_before_the_first_line_is_nothing(tmp_path: Path) -> None:
    assert whys(tmp_path, b"\xef\xbb\xbf" + GOOD, b"\xef\xbb\xbf" + GOOD) == [
        (2, "is not valid JSON: Expecting value at character 1")
    ]


HARMLESS = (b'{"query": NaN}', b'{"query": ' + b"7" * 5000 + b"}", b"null", b"{}")


@pytest.mark.parametrize(
    "content", [content for content, _ in BROKEN if content not in HARMLESS and b"Inf" not in content]
)
def test_a_row_that_no_reader_gets_past_is_never_tolerated(content: bytes, tmp_path: Path) -> None:
    found = checked(tmp_path, GOOD, content, GOOD)
    said = f"ms-swift loads no file with a row such as row 2, which {found.bad_rows[0].why}"
    assert (found.problem(5), found.fatal) == (said, found.bad_rows[0])


@pytest.mark.parametrize("content", HARMLESS)
def test_a_row_that_ms_swift_drops_is_tolerated_when_that_is_asked_for(content: bytes, tmp_path: Path) -> None:
    assert checked(tmp_path, GOOD, content, GOOD).problem(1) == ""


def test_whole_characters_in_escapes_are_good(tmp_path: Path) -> None:
    assert why(tmp_path, b'{"query": "\\ud83d\\ude00 \\u4f60 \\u0000", "response": "a"}') == ""


def test_a_line_without_end_is_skipped_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LONGEST", 1 << 20)
    found = whys(tmp_path, GOOD, b"x" * (5 << 20), b"y" * (1 << 20), b"z" * ((1 << 20) + 1), GOOD)
    assert found == [
        (2, "is longer than 1 MiB"),
        (3, "is not valid JSON: Expecting value at character 1"),
        (4, "is longer than 1 MiB"),
    ]


def test_a_row_of_very_many_parts_is_not_built(tmp_path: Path) -> None:
    assert why(tmp_path, b'{"query": [' + b"[]," * 300_000 + b"1]}") == "has more than 500000 brackets and commas"


def test_what_is_said_of_a_row_is_short_and_printable(tmp_path: Path) -> None:
    row = {"\x1b[31m" * 500 + "\u202e\n\ud83d": 1, "b" * 5000: 2, "c" * 5000: 3, "d" * 5000: 4}
    said = why(tmp_path, json.dumps(row).replace("\\ud83d", "").encode())
    assert len(said) <= WHY_CHARACTERS
    assert said.isprintable()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("chats.csv", "a file that ends in '.csv' is not supported: convert it to .jsonl, for example with pandas"),
        (
            "chats.parquet",
            "a file that ends in '.parquet' is not supported: convert it to .jsonl, for example with data",
        ),
        ("chats.jsonl.gz", "a file that ends in '.gz' is not supported: convert it to .jsonl, for example with gunzip"),
        ("chats", "a file that ends in '' is not supported: convert it to .jsonl"),
    ],
)
def test_other_files_are_refused_with_what_to_do(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(Unreadable) as caught:
        check(written(tmp_path, GOOD, name=name), Options())
    assert str(caught.value).startswith(said)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chats.jsonl").mkdir()
    with pytest.raises(Unreadable, match="is a folder: name one file"):
        check(tmp_path / "chats.jsonl", Options())


# Arrays


def array(directory: Path, content: bytes, **options: Any) -> checking.Result:
    path = directory / "chats.json"
    path.write_bytes(content)
    return check(path, Options(**options))


def test_an_array_is_read_row_by_row(tmp_path: Path) -> None:
    rows = [SHAREGPT, {}, SHAREGPT, 7, {"query": "äöü 你好 😀", "response": "x"}]
    for indent in (None, 2):
        found = array(tmp_path, json.dumps(rows, ensure_ascii=False, indent=indent).encode())
        assert found.rows == Counts(total=5, bad=3, duplicates=1, turns=4, characters=14)
        assert [bad.line for bad in found.bad_rows] == [2, 4, 5]


def test_a_json_file_may_have_lines(tmp_path: Path) -> None:
    assert checked(tmp_path, GOOD, b"{", name="chats.json").bad_rows[0].line == 2


def test_an_array_of_a_million_small_windows_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and characters are cut by the reads at any place."""
    rows = [{"query": f"äöü 你好 😀 {n}", "response": "x" * n} for n in range(1, 60)]
    content = json.dumps(rows, ensure_ascii=False).encode()
    whole = array(tmp_path, content)
    assert whole.rows.bad == 0
    for chunk in (1, 2, 3, 7, 64):
        monkeypatch.setattr(reading, "_CHUNK", chunk)
        assert array(tmp_path, content) == whole


ARRAYS: list[tuple[bytes, int, str]] = [
    (b"[]", 0, ""),
    (b" [ ] \n", 0, ""),
    (b"[" + GOOD + b"]", 1, ""),
    (b"[" + GOOD, 1, "its array is broken after row 1, where the file ends: ',' or ']' is missing"),
    (b"[" + GOOD + b" " + GOOD + b"]", 1, "its array is broken after row 1: ',' or ']' is missing"),
    (b"[" + GOOD + b"]" + GOOD, 1, "there is more text after its array"),
    (
        b"[" + GOOD + b",{]",
        1,
        "row 2 is not valid JSON (Expecting property name enclosed in double quotes): rows after it cannot be found; "
        "in a .jsonl file, with one row in each line, they could",
    ),
    (b"[" + b"[" * 100_000, 0, "row 1 is nested too deeply, and rows after it cannot be found"),
    (b"\xef\xbb\xbf[]", 0, "it begins with a byte order mark: save the file as UTF-8 without one"),
]


@pytest.mark.parametrize(("content", "rows", "said"), ARRAYS, ids=range(len(ARRAYS)))
def test_a_broken_array_is_told(content: bytes, rows: int, said: str, tmp_path: Path) -> None:
    found = array(tmp_path, content)
    assert (found.rows.total, found.broken) == (rows, said)
    assert found.problem(1000) == (said or ("" if rows else "it has no rows"))


def test_bytes_that_are_no_text_are_told_of_their_row(tmp_path: Path) -> None:
    found = array(tmp_path, b'[{"query": "\xff", "response": "a"}, {"query": "b", "response": "c"}]')
    assert found.bad_rows == (BadRow(1, "is not valid UTF-8"),)
    assert found.broken == ""


def test_a_row_of_an_array_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LONGEST", 1 << 20)
    found = array(tmp_path, b'[{"query": "' + b"x" * (20 << 20))
    assert found.broken.startswith("row 1 is not valid JSON or longer than 1 MiB")


# What changes meanwhile


def test_a_file_that_shrinks_while_it_is_read_is_not_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, *[GOOD] * 50_000)
    size = path.stat().st_size
    plain = reading.rows

    def rows(file: BinaryIO, *, suffix: str) -> Iterator[reading.Row]:
        for row in plain(file, suffix=suffix):
            if row.line == 10:
                os.truncate(path, size // 2)
            yield row

    monkeypatch.setattr(reading, "rows", rows)
    found = check(path, Options())
    assert found.problem(1_000_000) == f"it was changed while it was read ({size} bytes before, {size // 2} after)"


# Duplicates


def test_repetitions_are_counted_however_far_apart(tmp_path: Path) -> None:
    rows = [line({"query": str(n), "response": "x"}) for n in range(40_000)]
    assert checked(tmp_path, *rows, *rows).rows.duplicates == 40_000


def test_the_table_is_bounded_and_then_counts_too_few() -> None:
    seen = Seen(slots=1 << 15)
    numbers = random.Random(1)  # noqa: S311
    keys = [numbers.getrandbits(64) - (1 << 63) for _ in range(100_000)]
    assert not any(seen.add(key) for key in keys)
    known = sum(seen.add(key) for key in keys)
    assert known == (1 << 15) * 3 // 4
    assert len(seen._table) == 1 << 15
    assert duplicates.CAPACITY == 6_291_456


# Tokens


def test_tokens_are_counted_in_batches_when_somebody_can(tmp_path: Path) -> None:
    batches: list[int] = []

    def count(texts: list[str]) -> list[int]:
        batches.append(len(texts))
        return [len(text.split()) for text in texts]

    rows = [line(turns("system", "user", "assistant"))] * 300 + [line(MESSAGES), b"{"]
    found = checked(tmp_path, *rows, count_tokens=count, max_length=8)
    assert (found.rows.tokens, found.rows.over_length) == (300 * 9 + 2, 300)
    assert batches == [256, 45]
    assert checked(tmp_path, *rows, count_tokens=count).rows.over_length is None


def test_progress_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "_PROGRESS_SECONDS", 0.0)
    told: list[tuple[int, int, int]] = []
    path = written(tmp_path, *[GOOD] * 5000)
    check(path, Options(), progress=lambda counts, done, total: told.append((counts.total, done, total)))
    assert [rows for rows, _, _ in told] == [1024, 2048, 3072, 4096]
    assert all(total == path.stat().st_size and done == rows * (len(GOOD) + 1) for rows, done, total in told)


def test_tokens_of_long_rows_are_not_counted_all_at_once(tmp_path: Path) -> None:
    sizes: list[int] = []

    def count(texts: list[str]) -> list[int]:
        sizes.append(sum(map(len, texts)))
        return [len(text) for text in texts]

    rows = [json.dumps({"query": "q" * 1_000_000, "response": str(number)}).encode() for number in range(7)]
    found = checked(tmp_path, *rows, count_tokens=count)
    assert found.rows.tokens == sum(sizes) == 7 * 1_000_002
    assert max(sizes) < 4_000_000


def test_a_number_of_many_digits_in_turns_that_are_a_text_is_bad(tmp_path: Path) -> None:
    assert why(tmp_path, json.dumps({"messages": "[" + "1" * 2000 + "]"}).encode()).startswith("its turns are the text")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "endless.jsonl").symlink_to("/dev/zero")
    for name in ("pipe", "endless"):
        with pytest.raises(reading.Unreadable, match="it is not a file"):
            checking.check(tmp_path / f"{name}.jsonl", checking.Options())
