"""A client's request in ms-swift's words; what it cannot do is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swiftop.runner.serve import requests, turns
from swiftop.runner.serve.errors import Problem
from swiftop.runner.serve.requests import CHAT, COMPLETIONS, EMBEDDINGS

TURN = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("path", "asked", "sent"),
    [
        (CHAT, {"messages": [TURN], "max_completion_tokens": 5}, {"messages": [TURN], "max_tokens": 5}),
        (CHAT, {"max_completion_tokens": 5, "max_tokens": 9}, {"max_tokens": 5}),
        (CHAT, {"max_completion_tokens": None, "max_tokens": 9}, {"max_tokens": 9}),
        (CHAT, {"stop": "a", "temperature": None}, {"stop": ["a"]}),
        (CHAT, {"stop": ["a", "b"]}, {"stop": ["a", "b"]}),
        (CHAT, {"response_format": {"type": "text"}}, {"response_format": {"type": "text"}}),
        (COMPLETIONS, {"prompt": ["river"]}, {"prompt": "river"}),
        (EMBEDDINGS, {"input": "river"}, {"input": "river"}),
        (CHAT, {"messages": "wrong"}, {"messages": "wrong"}),  # ms-swift says what is wrong with it
    ],
)
def test_it_is_repaired(path: str, asked: dict[str, Any], sent: dict[str, Any]) -> None:
    assert requests.repair(path, asked) == sent


@pytest.mark.parametrize(
    "asked",
    [
        {"response_format": {"type": "json_schema", "json_schema": {}}},
        {"response_format": {"type": "json_object"}},
        {"messages": ["hi"]},
        {"messages": [{"role": "assistant", "tool_calls": ["x"]}]},
        {"prompt": ["a", "b"]},
        {"prompt": [[1, 2]]},
        {"images": "/etc/passwd"},
        {"images": ["https://example.org/a.png", "/etc/passwd"]},
        {"videos": [["/a.png", "/b.png"]]},
        {"images": [{"path": "/etc/passwd"}]},
        {"images": [{"url": "http://a", "path": "/x"}, {"bytes": None, "path": "/etc/passwd"}]},
        *(
            {"messages": [{"role": "user", "content": [part]}]}
            for part in (
                {"type": "image_url", "image_url": {"url": "/etc/passwd"}},
                {"type": "image_url", "image_url": "/etc/passwd"},
                {"type": "image_url", "image_url": {"path": "/etc/passwd"}},
                {"type": "image", "image": "FILE:///etc/passwd"},
                {"type": "video", "video": ["https://a", "/etc/passwd"]},
                {"type": "audio"},
                {"type": 1},
                "text",
            )
        ),
    ],
)
def test_it_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(Problem) as refused:
        requests.repair(CHAT, asked)
    assert refused.value.status == 400


def test_media_come_from_the_net_or_with_the_request() -> None:
    parts = [
        {"type": "text", "text": "/etc/passwd"},
        {"type": "image_url", "image_url": {"url": " HTTPS://example.org/a.png"}},
        {"type": "image", "image": "data:image/png;base64,AA=="},
    ]
    asked = {"messages": [{"role": "user", "content": parts}], "audios": ["http://example.org/a.wav"], "images": []}
    assert requests.repair(CHAT, asked) == asked


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"1", b"[" * 100_000])
def test_what_is_no_object_is_told(body: bytes) -> None:
    with pytest.raises(Problem, match="JSON"):
        requests.parse(body)


@pytest.mark.parametrize("asked", [{}, {"model": ""}, {"model": 1}, {"model": ["a"]}])
def test_a_model_has_to_be_named(asked: dict[str, Any]) -> None:
    with pytest.raises(Problem, match="model"):
        requests.model_of(asked)


def call(number: int) -> dict[str, Any]:
    function = {"name": f"f{number}", "arguments": json.dumps({"x": number})}
    return {"id": f"c{number}", "type": "function", "function": function}


def result(number: int) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"c{number}", "content": f"r{number}"}


def test_calls_are_turns_and_results_follow_in_their_order() -> None:
    asked = [TURN, {"role": "assistant", "content": None, "tool_calls": [call(1), call(2)]}, result(2), result(1), TURN]
    assert turns.of(asked) == [
        TURN,
        {"role": "tool_call", "content": '{"name": "f1", "arguments": {"x": 1}}'},
        {"role": "tool_call", "content": '{"name": "f2", "arguments": {"x": 2}}'},
        result(1),
        result(2),
        TURN,
    ]


def test_what_was_said_before_a_call_stays() -> None:
    odd = {"id": "c", "function": {"name": "f", "arguments": "not JSON"}}
    assert turns.of([{"role": "assistant", "content": "Wait.", "tool_calls": [odd]}, {"role": "tool"}]) == [
        {"role": "assistant", "content": "Wait."},
        {"role": "tool_call", "content": '{"name": "f", "arguments": "not JSON"}'},
        {"role": "tool", "content": ""},
    ]


def test_options_of_a_request() -> None:
    assert requests.wants_stream({"stream": True})
    assert not requests.wants_stream({"stream": "yes"})
    assert requests.wants_usage({"stream_options": {"include_usage": True}})
    assert not requests.wants_usage({"stream_options": None})
    assert requests.wants_tools({"tools": [{}]})
    assert not requests.wants_tools({"tools": [{}], "tool_choice": "none"})


@pytest.mark.parametrize("write", [lambda asked: requests.repair(CHAT, asked), requests.passed_on])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -1), ("temperature", 1e9), ("temperature", "hot"), ("temperature", True),
        ("temperature", 1e400),
        ("repetition_penalty", 1e-40), ("top_p", 1.5), ("n", 100_000), ("n", 0), ("best_of", 129), ("num_beams", 10**6),
        ("seed", 1 << 64), ("max_tokens", 10**30), ("top_logprobs", 10**9), ("presence_penalty", -1e300),
    ],
)  # fmt: skip
def test_a_number_that_would_end_the_engine_is_refused(write: Any, name: str, value: object) -> None:
    with pytest.raises(Problem, match=name) as refused:
        write({name: value})
    assert (refused.value.status, refused.value.param) == (400, name)


def test_a_temperature_that_divides_to_infinity_is_as_cold_as_can_be() -> None:
    assert requests.repair(CHAT, {"temperature": 1e-40}) == {"temperature": 0.01}
    assert requests.repair(CHAT, {"temperature": 0}) == {"temperature": 0}
    assert requests.repair(CHAT, {"temperature": 0.7, "n": 1, "seed": -5}) == {"temperature": 0.7, "n": 1, "seed": -5}


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_json_number_is_no_number(word: str) -> None:
    with pytest.raises(Problem, match=word):
        requests.parse(b'{"temperature": %s}' % word.encode())


@pytest.mark.parametrize("asked", [{"a": "\ud800"}, {"logit_bias": {"5": float("inf")}}])
def test_what_cannot_be_written_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(Problem):
        requests.written(asked)
