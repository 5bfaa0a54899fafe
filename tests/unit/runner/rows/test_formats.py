"""What a row may look like, in each format, and what is said of one that may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.runner.rows.files import ALPACA, MESSAGES, QUERY, SHAREGPT, checked, line, turns, why, whys

PAIRS = {
    "system": "Be kind",
    "conversation": [{"human": "Hello", "assistant": "Hi"}, {"human": "Bye", "assistant": "Bye"}],
}
CALLS = {
    "messages": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "get", "arguments": "{}"}}]},
        {"role": "tool", "content": "", "tool_call_id": "1"},
        {"role": "assistant", "content": "Rain"},
    ]
}
PARTS = {
    "messages": [
        {"role": "user", "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": "A cat"},
    ]
}
BLOCKS = {
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "name": "look", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "content": "a cat"}]},
        {"role": "assistant", "content": "A cat"},
    ]
}
GOOD: dict[str, tuple[dict[str, Any], str, int, int]] = {
    "sharegpt": (SHAREGPT, "sharegpt", 2, 7),
    "pairs": (PAIRS, "sharegpt", 4, 20),
    "messages": (MESSAGES, "messages", 2, 7),
    "messages in conversations": ({"conversations": MESSAGES["messages"]}, "messages", 2, 7),
    "messages in a text": ({"messages": line(MESSAGES["messages"]).decode()}, "messages", 2, 7),
    "system": (turns("system", "user", "assistant"), "messages", 2, 46),
    "empty system": ({"system": "", **MESSAGES}, "messages", 2, 7),
    "tools": (turns("user", "tool_call", "tool_call", "tool_response", "tool", "assistant"), "messages", 6, 102),
    "function roles": (turns("user", "function_call", "observation", "assistant"), "messages", 4, 73),
    "tool after the user": (turns("user", "tool", "assistant"), "messages", 3, 44),
    "calls of OpenAI": (CALLS, "messages", 4, 62),
    "parts": (PARTS, "messages", 2, 10),
    "blocks of Anthropic": (BLOCKS, "messages", 4, 10),
    "plain text": (turns("assistant"), "messages", 1, 18),
    "alpaca": (ALPACA, "alpaca", 2, 19),
    "alpaca without input": ({"instruction": "Sing", "output": "la"}, "alpaca", 2, 6),
    "alpaca with history": ({**ALPACA, "history": [["a", "b"]], "system": "s"}, "alpaca", 4, 22),
    "query": (QUERY, "queryResponse", 2, 7),
    "other names": ({"Question": "Hello", "answer": "Hi", "id": 7}, "queryResponse", 2, 7),
    "several answers": ({"query": "Hello", "response": ["Hi", "Ho"]}, "queryResponse", 2, 7),
    "history as a text": ({**QUERY, "history": "[['a', 'b']]"}, "queryResponse", 4, 9),
    "history as a text with quotes": ({**QUERY, "history": """[["it's", 'a \\'b\\'']]"""}, "queryResponse", 4, 16),
    "text alone": ({"text": "Once upon a time"}, "queryResponse", 1, 16),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_rows(name: str, tmp_path: Path) -> None:
    row, format_, count, characters = GOOD[name]
    for wanted in ("Auto", format_):
        found = checked(tmp_path, line(row), format=wanted)
        assert found.bad_rows == ()
        assert (found.format, found.rows.turns, found.rows.characters) == (format_, count, characters)


BAD: list[tuple[object, str]] = [
    ({}, "has no column of a known format, but none: name them by spec.columns"),
    (
        {"dialogue": "x", "\x1b[2J": 1},
        "has no column of a known format, but 'dialogue', '?[2J': name them by spec.columns",
    ),
    ({"messages": []}, "messages is empty"),
    ({"messages": "hello"}, "its turns are the text 'hello', not a list"),
    ({"messages": 7}, "its turns are a number, not a list"),
    ({"messages": [7, 8]}, "turn 1 is a number, not an object"),
    ({"messages": [{"role": "user"}]}, "turn 1 (user) has no content"),
    ({"messages": [{"role": "user", "content": 5}]}, "turn 1 (user): content is a number, not a text"),
    ({"messages": [{"role": "user", "content": True}]}, "turn 1 (user): content is true or false, not a text"),
    ({"messages": [{"role": "user", "content": {}}]}, "turn 1 (user): content is an object, not a text"),
    ({"messages": [{"role": "user", "content": []}]}, "turn 1 (user) is empty"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "turn 1 (user): a part of its content has no type"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "turn 1 (user): a part of type text has no text"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}, "turn 1 (user) is empty"),
    ({"messages": [{"role": "user", "content": " \n\u3000"}]}, "turn 1 (user) is empty"),
    ({"messages": [{"role": "boss", "content": "x"}]}, "turn 1 has the unknown role 'boss'"),
    ({"messages": [{"role": ["user"], "content": "x"}]}, "turn 1 has the unknown role '['user']'"),
    ({"messages": [{"role": None, "content": "x"}]}, "turn 1 has the unknown role 'None'"),
    ({"messages": [{"content": "x"}]}, "turn 1 has no role"),
    (turns("assistant", "user", "assistant"), "begins with a turn of assistant, not of user"),
    (turns("system", "assistant"), "begins with a turn of assistant, not of user"),
    (turns("user", "user", "assistant"), "turns 1 and 2 are both of user"),
    (turns("user", "assistant", "assistant"), "turns 2 and 3 are both of assistant"),
    (turns("user", "assistant", "system"), "turn 3 is the system prompt, which must come first"),
    (turns("user", "tool_call", "assistant"), "turn 3 of assistant follows a turn of tool_call"),
    (turns("user", "tool", "user", "assistant"), "turn 3 of user follows a turn of tool_response"),
    (turns("user"), "ends with a user turn: there is no answer to learn"),
    (turns("user", "tool_call", "tool"), "ends with a tool_response turn: there is no answer to learn"),
    (turns("system"), "ends before a first turn: there is no answer to learn"),
    ({"system": 3, **MESSAGES}, "system is a number, not a text"),
    ({"conversation": [{}], "conversations": [{}]}, "has both conversation and conversations"),
    ({"conversations": [{"x": 1}]}, "turn 1 has neither from and value nor a pair such as human and assistant"),
    (
        {"conversations": [{"human": "a", "assistant": "b"}, {"human": "c"}]},
        "turn 2 is not a pair such as human and assistant",
    ),
    ({"conversations": [{"human": "a", "assistant": ""}]}, "'turn 1 (assistant)' is empty"),
    ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt"}]}, "turn 2 (assistant) has no value"),
    ({"instruction": "", "input": None, "output": "x"}, "instruction and input are empty"),
    ({"instruction": "a", "input": 4, "output": "x"}, "input is a number, not a text"),
    ({"instruction": "a", "input": "b", "output": ""}, "'output' is empty"),
    ({"instruction": "a", "input": "b"}, "has no output: there is no answer to learn"),
    ({"query": "a"}, "has no response: there is no answer to learn"),
    ({"query": "", "response": "a"}, "'query' is empty"),
    ({"query": "a", "response": 1}, "'response' is a number, not a text"),
    (
        {"query": "a", "answer": "b", "output": "c"},
        "has both 'answer' and 'output': name the right one by spec.columns",
    ),
    ({**QUERY, "history": [["a"]]}, "history is not a list of pairs of question and answer"),
    # What Python reads but is no history: it took gigabytes, or ended the process of an older Python by a signal.
    *(
        ({**QUERY, "history": text}, "history is not a list of pairs of question and answer")
        for text in ("1+" * 200_000 + "1j", "a." * 200_000 + "b", "[" + "1," * 200_000 + "]", "''" * 200_000)
    ),
    ({**QUERY, "history": "[["}, "history is not a list of pairs of question and answer"),
    ({"response": "a", "history": [["a", "b"]]}, "has a history, but no question"),
]


@pytest.mark.parametrize(("row", "said"), BAD)
def test_bad_rows(row: object, said: str, tmp_path: Path) -> None:
    assert why(tmp_path, row) == said


def test_all_rows_are_of_the_format_of_the_first_good_one(tmp_path: Path) -> None:
    rows = [line({}), line(SHAREGPT), line(MESSAGES), line(ALPACA), line(SHAREGPT)]
    assert whys(tmp_path, *rows)[1:] == [
        (3, "is of format messages (role and content), not sharegpt (from and value)"),
        (4, "is of format alpaca, and the rows before it of sharegpt"),
    ]


@pytest.mark.parametrize(
    ("format_", "row", "said"),
    [
        ("messages", SHAREGPT, "is of format sharegpt (from and value), not messages (role and content)"),
        ("messages", QUERY, "has no column messages or conversations"),
        ("alpaca", MESSAGES, "instruction and input are empty"),
        ("queryResponse", MESSAGES, "has no response: there is no answer to learn"),
    ],
)
def test_a_format_that_is_asked_for_is_the_only_one(format_: str, row: object, said: str, tmp_path: Path) -> None:
    assert why(tmp_path, row, format=format_) == said


def test_columns_are_renamed_first(tmp_path: Path) -> None:
    row = {"Dialogue": SHAREGPT["conversations"], "messages_id": 4}
    assert why(tmp_path, row).startswith("has no column of a known format")
    assert why(tmp_path, row, columns={"dialogue": "conversations"}) == ""
    assert why(tmp_path, {"q": "a", "a": "b"}, columns={"q": "query", "a": "response"}) == ""
