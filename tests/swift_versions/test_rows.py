"""What the check of datasets says of a row is what the real ms-swift makes of it: a good one is trained on whole."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from swiftop.runner.rows import formats
from tests.swift_versions.environments import environment
from tests.unit.runner.rows.files import SHAREGPT, checked, line, turns
from tests.unit.runner.rows.test_check import BROKEN
from tests.unit.runner.rows.test_formats import GOOD

Rows = list[list[list[Any]]]
ROW = line(SHAREGPT)


def load(files: Sequence[tuple[str, bytes, dict[str, str]]]) -> list[Any]:
    """What ms-swift 4.6 reads in each file."""
    asked = [{"name": n, "content": base64.b64encode(c).decode(), "columns": columns} for n, c, columns in files]
    output = environment("4.6").run("tests/swift_versions/load_rows.py", stdin=json.dumps(asked))
    found: list[Any] = json.loads(output.rpartition("RESULTS\n")[2])
    return found


def lines(*content: bytes, columns: dict[str, str] | None = None) -> tuple[str, bytes, dict[str, str]]:
    return "chats.jsonl", b"\n".join(content) + b"\n", columns or {}


@pytest.fixture(scope="module")
def read() -> dict[str, Any]:
    """All files at once: importing ms-swift takes ten seconds."""
    files = {
        **{f"good {name}": lines(line(row)) for name, (row, *_) in GOOD.items()},
        **{f"role {role}": lines(line(turns("user", role, "assistant"))) for role in formats.ROLES},
        "blanks and CRLF": lines(ROW + b"\r", b"", b"  ", ROW),
        "byte order mark": lines(b"\xef\xbb\xbf" + ROW, ROW),
        "array": ("chats.json", b"[" + ROW + b",\n" + ROW + b"]", {}),
        "lines in json": ("chats.json", ROW + b"\n" + ROW + b"\n", {}),
        "columns": lines(line({"Dialogue": SHAREGPT["conversations"]}), columns={"dialogue": "conversations"}),
        **{f"broken {number}": lines(ROW, content, ROW) for number, (content, _) in enumerate(BROKEN)},
    }
    return dict(zip(files, load(list(files.values())), strict=True))


@pytest.mark.parametrize("name", GOOD)
def test_a_good_row_is_read_with_all_its_turns(name: str, read: dict[str, Any], tmp_path: Path) -> None:
    found = read[f"good {name}"]
    assert isinstance(found, list), found
    (row,) = found
    assert sum(role != "system" for role, _ in row) == checked(tmp_path, line(GOOD[name][0])).rows.turns


@pytest.mark.parametrize("role", formats.ROLES)
def test_each_role_means_what_it_means_to_ms_swift(role: str, read: dict[str, Any]) -> None:
    ((_, (meant, _), _),) = read[f"role {role}"]
    assert {"tool": "tool_response"}.get(meant, meant) == formats.ROLES[role]


@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_what_is_called_fatal_fails_to_load_and_nothing_else_does(
    number: int, read: dict[str, Any], tmp_path: Path
) -> None:
    fatal = checked(tmp_path, ROW, BROKEN[number][0], ROW).fatal
    assert isinstance(read[f"broken {number}"], dict) == (fatal is not None)


@pytest.mark.parametrize("name", ["byte order mark", "blanks and CRLF", "array", "lines in json"])
def test_ways_to_write_the_same_rows(name: str, read: dict[str, Any]) -> None:
    assert read[name] == [[["user", "Hello"], ["assistant", "Hi"]]] * 2


def test_columns_are_renamed_in_any_case(read: dict[str, Any]) -> None:
    assert read["columns"] == [[["user", "Hello"], ["assistant", "Hi"]]]


@pytest.mark.parametrize("name", ["3.7", "4.6", "4.6-transformers5"])
def test_tokens_are_those_of_the_model_s_tokenizer(name: str) -> None:
    output = environment(name).run("tests/swift_versions/count_tokens.py")
    told = json.loads(output.rpartition("RESULTS\n")[2])
    rows = told["found"]["rows"]
    assert (rows["tokens"], rows["overLength"]) == (told["tokens"], told["over"])
    assert rows["total"] == 200
    assert 0 < rows["overLength"] < 200
