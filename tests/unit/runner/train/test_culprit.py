"""The row of a file that the reader of datasets did not name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swiftop.runner.train import culprit

GOOD = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}


def lines(*rows: Any) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def turns(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (lines(GOOD, GOOD), ""),
        (lines(GOOD, b"", b'{"messages": [{"role": "us'), "row 3: it is not valid JSON: Unterminated string"),
        (lines(GOOD, b"[1]"), "row 2: it is not a JSON object"),
        (lines(GOOD, b'{"a": "\xff"}'), "row 2: byte 8 is not UTF-8"),
        (b"\xef\xbb\xbf" + lines(GOOD), ""),
        (json.dumps(GOOD).encode("utf-16"), "row 1: the file is UTF-16, it has to be UTF-8"),
        (lines(GOOD, turns(["a"])), "row 2: column 'messages[].content' is a list, and text in row 1"),
        (lines({"id": 1, "x": None}, {"id": 2.5, "x": "a"}), "row 2: column 'x' is text, and null in all rows before"),
        (lines(*[{"system": None}] * 50, {"system": "s"}), "row 51: column 'system' is text, and null"),
        (lines(b"[" * 100_000), "row 1: it is not valid JSON"),
    ],
)
@pytest.mark.parametrize("after", ["", "#5", ":default"])
def test_the_row_is_named(tmp_path: Path, content: bytes, found: str, after: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(content)
    said = culprit.find(("python", "--model", "/x.jsonl", "--dataset", f"{file}{after}", "--seed", "1"), nulls=True)
    assert said.startswith(f"{file}, {found}") if found else said == ""


def test_a_column_that_is_null_at_first_is_no_fault_by_itself(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines({"system": None}, {"system": "s"}))
    assert culprit.find(("--dataset", str(tmp_path))) == ""


def test_files_of_a_folder_and_of_the_validation(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.jsonl").write_bytes(b"x\n")
    (tmp_path / "c.txt").write_bytes(b"x\n")
    assert culprit.find(("--val_dataset", str(tmp_path))).startswith(f"{tmp_path}/sub/b.jsonl, row 1")
    assert culprit.find(("--dataset", "o/n", "/nowhere/a.jsonl", str(tmp_path / "c.txt"))) == ""


def test_it_takes_no_longer_than_it_may(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(GOOD, b"x"))
    times = iter([0.0, culprit.SECONDS + 1])
    assert culprit.find(("--dataset", str(tmp_path)), clock=lambda: next(times)) == ""


def test_a_folder_without_end_is_not_listed_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []

    def below(_folder: Path, pattern: str) -> Iterator[Path]:
        for number in count():
            listed.append(pattern)
            yield tmp_path / f"{number}.txt"

    monkeypatch.setattr(Path, "rglob", below)
    assert culprit.find(("--dataset", str(tmp_path))) == ""
    assert len(listed) == culprit.MOST_ENTRIES


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary())
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    culprit.find(("--dataset", str(tmp_path)))
