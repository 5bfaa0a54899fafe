"""ms-swift's answers as OpenAI gives them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swiftop.runner.serve import answers
from swiftop.runner.serve.answers import Events, Stream

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TEXT = 'Wait.\n<tool_call>\n{"name": "f"}\n</tool_call>'


def whole(content: Any, calls: Any = None) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, "tool_calls": calls, "reasoning_content": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None, "token_ids": None}
    return {"model": "/srv/models/x", "choices": [choice], "usage": {"total_tokens": 3}, "images_size": None}


def test_an_answer_has_the_name_that_was_asked() -> None:
    assert answers.repair(whole("hi"), name="ada", tools=False) == {
        "model": "ada",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hi"},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"total_tokens": 3},
    }


@pytest.mark.parametrize(("text", "said"), [(TEXT, "Wait."), ("<tool_call>{}", None), ("f()", None)])
def test_a_call_ends_an_answer(text: str, said: str | None) -> None:
    (choice,) = answers.repair(whole(text, [CALL]), name="ada", tools=True)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {"role": "assistant", "content": said, "tool_calls": [CALL]}


def test_what_looks_like_a_call_is_text_when_no_tool_was_given() -> None:
    (choice,) = answers.repair(whole(TEXT, [CALL]), name="ada", tools=False)["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", TEXT)
    assert "tool_calls" not in choice["message"]


def piece(content: str | None, reason: str | None = None, calls: Any = None) -> dict[str, Any]:
    delta = {"role": "assistant", "content": content, "tool_calls": calls, "reasoning_content": None}
    choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
    return {"id": "i", "model": "/srv/x", "choices": [choice], "usage": {"completion_tokens": len(content or "")}}


def shown(stream: Stream, *pieces: dict[str, Any]) -> list[dict[str, Any]]:
    return [event for event in pieces for event in stream.feed(event)] + stream.end()


def choice(**delta: Any) -> dict[str, Any]:
    reason = delta.pop("reason", None)
    return {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}


def test_a_stream() -> None:
    stream = Stream(name="ada", tools=False, usage=False)
    found = shown(stream, piece("a"), piece("b"), piece("", "stop"))
    assert found == [
        {"id": "i", "model": "ada", "choices": [choice(role="assistant", content="a")]},
        {"id": "i", "model": "ada", "choices": [choice(content="b")]},
        {"id": "i", "model": "ada", "choices": [choice(content="", reason="stop")]},
    ]
    assert stream.usage == {"completion_tokens": 0}


def test_its_tokens_are_told_at_the_end_when_asked() -> None:
    found = shown(Stream(name="ada", tools=False, usage=True), piece("a"), piece("bc", "stop"))
    assert [event["usage"] for event in found] == [None, None, {"completion_tokens": 2}]
    assert found[-1]["choices"] == []


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_the_words_of_a_call_are_not_sent_as_text(size: int) -> None:
    parts = [TEXT[at : at + size] for at in range(0, len(TEXT), size)]
    found = shown(Stream(name="ada", tools=True, usage=False), *map(piece, parts), piece("", "stop", [CALL]))
    deltas = [event["choices"][0]["delta"] for event in found]
    assert "".join(delta.get("content", "") for delta in deltas) == "Wait.\n"
    assert [call for delta in deltas for call in delta.get("tool_calls", ())] == [{"index": 0, **CALL}]
    assert [event["choices"][0]["finish_reason"] for event in found][-2:] == [None, "tool_calls"]
    assert deltas[0]["role"] == "assistant"


@pytest.mark.parametrize("text", ["a < b <tool", "<tool_call> is how it begins", "Action: none", "no call"])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_what_is_no_call_is_sent_at_the_end(text: str, size: int) -> None:
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    found = shown(Stream(name="ada", tools=True, usage=False), *map(piece, parts), piece("", "stop"))
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in found) == text
    assert found[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_text_completion_in_a_stream() -> None:
    event = {"object": "text_completion.chunk", "model": "x", "choices": [{"index": 0, "text": "a"}]}
    assert Stream(name="ada", tools=False, usage=False).feed(event) == [
        {"object": "text_completion", "model": "ada", "choices": [{"index": 0, "text": "a"}]}
    ]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_come_in_pieces_of_any_size(size: int) -> None:
    sent: list[dict[str, Any]] = [{"a": "ü"}, {"b": 2}]
    data = b"".join(map(answers.event, sent)) + answers.DONE
    events = Events()
    assert [found for at in range(0, len(data), size) for found in events.feed(data[at : at + size])] == sent
    assert json.loads(answers.event(sent[0])[6:]) == sent[0]
