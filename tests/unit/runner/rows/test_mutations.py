"""Generated files: a good one has no bad rows, and one broken row of it is told at its line, and no other."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swiftop.runner.rows.check import Options, Result, check

Json = dict[str, Any]

# Each example writes a file, which on a busy machine may take any time.
patient = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(lambda text: not text.isspace())


def conversations(role: str, content: str, names: dict[str, tuple[str, ...]]) -> st.SearchStrategy[list[Json]]:
    """Turns in order: perhaps a system prompt, then questions with answers, some by way of a tool."""

    def turn(part: str) -> st.SearchStrategy[Json]:
        return st.fixed_dictionaries({role: st.sampled_from(names[part]), content: TEXTS})

    plain = st.tuples(turn("user"), turn("assistant")).map(list)
    tool = st.tuples(turn("user"), turn("tool_call"), turn("tool_response"), turn("assistant")).map(list)
    body = st.lists(st.one_of(plain, plain, tool), min_size=1, max_size=4).map(
        lambda parts: [turn for part in parts for turn in part]
    )
    none: list[Json] = []
    start = st.one_of(st.just(none), turn("system").map(lambda system: [system]))
    return st.tuples(start, body).map(lambda parts: parts[0] + parts[1])


ROLES = {
    "system": ("system",),
    "user": ("user", "human"),
    "assistant": ("assistant", "gpt", "bot"),
    "tool_call": ("tool_call", "function_call"),
    "tool_response": ("tool", "tool_response", "observation"),
}
MESSAGES = conversations("role", "content", ROLES).map(lambda turns: {"messages": turns})
SHAREGPT = conversations("from", "value", ROLES).map(lambda turns: {"conversations": turns})
ALPACA = st.fixed_dictionaries({"instruction": TEXTS, "input": st.one_of(st.just(""), TEXTS), "output": TEXTS})
QUERY = st.fixed_dictionaries({"query": TEXTS, "response": TEXTS})
FORMATS: dict[str, st.SearchStrategy[Json]] = {
    "messages": MESSAGES,
    "sharegpt": SHAREGPT,
    "alpaca": ALPACA,
    "queryResponse": QUERY,
}


def result_of(lines: list[bytes], name: str = "chats.jsonl") -> Result:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / name
        path.write_bytes(b"\n".join(lines) + b"\n")
        return check(path, Options())


@st.composite
def files(draw: st.DrawFn) -> tuple[str, list[Json], bool]:
    name = draw(st.sampled_from(sorted(FORMATS)))
    return name, draw(st.lists(FORMATS[name], min_size=1, max_size=12)), draw(st.booleans())


def lines_of(rows: list[Json], ascii_: bool) -> list[bytes]:
    return [json.dumps(row, ensure_ascii=ascii_).encode() for row in rows]


@patient
@given(files())
def test_a_good_file_has_no_bad_rows(file: tuple[str, list[Json], bool]) -> None:
    name, rows, ascii_ = file
    lines = lines_of(rows, ascii_)
    found = result_of(lines)
    assert found.bad_rows == ()
    assert (found.format, found.rows.total, found.rows.bad) == (name, len(rows), 0)
    assert found.rows.duplicates == len(lines) - len(set(lines))
    as_array = result_of([json.dumps(rows, ensure_ascii=ascii_).encode()], "chats.json")
    assert as_array.rows == found.rows


def _turns(row: Json) -> list[Json]:
    found: list[Json] = row.get("messages") or row["conversations"]
    return found


def _empty_turn(row: Json) -> Json:
    turn = _turns(row)[-1]
    turn["content" if "content" in turn else "value"] = " "
    return row


def _number(row: Json) -> Json:
    turn = _turns(row)[-1]
    turn["content" if "content" in turn else "value"] = 42
    return row


def _unknown_role(row: Json) -> Json:
    turn = _turns(row)[0]
    turn["role" if "role" in turn else "from"] = "narrator"
    return row


def _twice(row: Json) -> Json:
    _turns(row).append(dict(_turns(row)[-1]))
    return row


def _without_answer(row: Json) -> Json:
    _turns(row).pop()
    return row


def _system_later(row: Json) -> Json:
    turn = dict(_turns(row)[-1])
    turn["role" if "role" in turn else "from"] = "system"
    _turns(row).append(turn)
    return row


def _no_turns(row: Json) -> Json:
    _turns(row).clear()
    return row


def _other_format(_row: Json) -> Json:
    return {"something": "else"}


OF_TURNS = (_empty_turn, _number, _unknown_role, _twice, _without_answer, _system_later, _no_turns, _other_format)


@pytest.mark.parametrize("mutation", OF_TURNS, ids=lambda mutation: mutation.__name__)
@patient
@given(name=st.sampled_from(["messages", "sharegpt"]), data=st.data())
def test_one_broken_row_is_told_at_its_line(mutation: Any, name: str, data: st.DataObject) -> None:
    rows = data.draw(st.lists(FORMATS[name], min_size=2, max_size=8))
    at = data.draw(st.integers(1, len(rows) - 1))
    rows[at] = mutation(copy.deepcopy(rows[at]))
    assert [bad.line for bad in result_of(lines_of(rows, True)).bad_rows] == [at + 1]


@pytest.mark.parametrize("member", ["output", "response"])
@patient
@given(data=st.data())
def test_an_answer_that_is_missing_is_told_at_its_line(member: str, data: st.DataObject) -> None:
    rows = data.draw(st.lists(FORMATS["alpaca" if member == "output" else "queryResponse"], min_size=2, max_size=8))
    at = data.draw(st.integers(1, len(rows) - 1))
    rows[at] = {**rows[at], member: data.draw(st.sampled_from([None, "", "  ", 3, {}]))}
    assert [bad.line for bad in result_of(lines_of(rows, False)).bad_rows] == [at + 1]


@patient
@given(rows=st.lists(MESSAGES, min_size=2, max_size=8), data=st.data())
def test_bytes_that_are_cut_or_broken_are_told_at_their_line(rows: list[Json], data: st.DataObject) -> None:
    lines = lines_of(rows, False)
    at = data.draw(st.integers(1, len(lines) - 1))
    cut = data.draw(st.integers(1, len(lines[at]) - 1))
    broken = data.draw(st.sampled_from([lines[at][:cut], lines[at][:cut] + b"\xff" + lines[at][cut:]]))
    lines[at] = broken
    assert [bad.line for bad in result_of(lines).bad_rows] == [at + 1]


@patient
@given(st.lists(st.binary(max_size=60), max_size=20), st.sampled_from(["chats.jsonl", "chats.json"]))
def test_any_bytes_at_all_end_with_a_result(lines: list[bytes], name: str) -> None:
    found = result_of(lines, name)
    assert found.rows.bad <= found.rows.total
    assert all(bad.why.isprintable() for bad in found.bad_rows)


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([
        "messages", "conversations", "conversation", "role", "content", "from", "value", "query", "response", "type",
        "text", "history", "instruction", "input", "output", "system", "tool_calls", "human", "assistant",
    ]), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@patient
@given(JSONS, st.sampled_from(["Auto", "sharegpt", "messages", "alpaca", "queryResponse"]))
def test_any_json_at_all_ends_with_a_result(row: object, format_: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "chats.jsonl"
        path.write_text(json.dumps(row))
        found = check(path, Options(format=format_))
    assert found.rows.total == 1
