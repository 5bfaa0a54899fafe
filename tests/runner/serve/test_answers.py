"""What clients see: every request and answer as OpenAI has it, from real ms-swift."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.runner.harness import descendants, wait_until
from tests.runner.serve.served import (
    BASE,
    HELLO,
    KEY,
    Served,
    adapter,
    bench,
    events,
    start,
)

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CALL = 'Let me look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, served_assets: Path) -> Iterator[Served]:
    made = bench(tmp_path_factory.mktemp("answers") / "work", served_assets)
    running = start(made, adapter("ada"), adapter("bob"), key=True)
    running.wait_until_ready()
    yield running
    made.close()


def test_each_name_answers_with_its_own_weights_and_by_its_own_name(server: Served) -> None:
    assert server.told()["names"] == dict.fromkeys([BASE, "ada", "bob"], "answering")
    answers = {name: server.chat(name).json() for name in (BASE, "ada", "bob")}
    assert [answer["model"] for answer in answers.values()] == [BASE, "ada", "bob"]
    assert len({answer["choices"][0]["message"]["content"] for answer in answers.values()}) == 3
    assert server.text(BASE) == answers[BASE]["choices"][0]["message"]["content"]


def test_the_same_question_of_many_at_once_is_answered_to_each(server: Served) -> None:
    expected = server.text(max_tokens=3)
    with ThreadPoolExecutor(12) as clients:
        assert list(clients.map(lambda _number: server.text(max_tokens=3), range(12))) == [expected] * 12


def test_the_names_are_listed(server: Served) -> None:
    assert [model["id"] for model in server.client.get("/v1/models").json()["data"]] == [BASE, "ada", "bob"]
    assert server.client.get("/v1/models/ada").json()["id"] == "ada"
    assert server.client.get("/v1/models/nobody").status_code == 404


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}])
def test_without_the_key_nothing_is_told(server: Served, header: dict[str, str]) -> None:
    with httpx.Client(base_url=server.client.base_url, headers=header, trust_env=False) as client:
        for answer in (client.post("/v1/chat/completions", json={"model": BASE}), client.get("/v1/models")):
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "invalid_api_key"
        assert client.get("/ready").status_code == 200


def test_the_key_is_in_no_log_and_no_command_line(server: Served) -> None:
    assert KEY not in server.execution.log
    processes = descendants(server.execution.process.pid)
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes]
    assert any(b".serve.guard" in command for command in commands)
    assert not any(KEY.encode() in command for command in commands)


def test_an_unknown_model_is_404(server: Served) -> None:
    answer = server.chat("nobody")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/redoc", "/infer/", "/ping", "/v1/nothing"])
def test_nothing_else_is_open(server: Served, path: str) -> None:
    assert {server.client.get(path).status_code, server.client.post(path, json={}).status_code} == {404}


def test_max_completion_tokens_is_the_limit(server: Served) -> None:
    answer = server.chat(max_tokens=None, max_completion_tokens=3).json()
    assert (answer["usage"]["completion_tokens"], answer["choices"][0]["finish_reason"]) == (3, "length")


def test_a_single_stop_word(server: Served) -> None:
    with server.demanding(say="apple river stone"):
        assert "stone" not in server.text(stop="river", max_tokens=50)


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"max_tokens": "many"}, 400, None),
        ({"messages": "hello"}, 400, None),
        ({"messages": [{"role": "user", "content": "river " * 2000}]}, 400, "context_length_exceeded"),
        ({"max_tokens": 0}, 400, None),
        ({"response_format": {"type": "json_object"}}, 400, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_request_is_400_with_a_reason(
    server: Served, asked: dict[str, Any], status: int, code: str | None, stream: bool
) -> None:
    answer = server.chat(stream=stream, **asked)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", code)
    assert error["message"]


def test_a_body_that_is_no_json(server: Served) -> None:
    answer = server.client.post("/v1/chat/completions", content=b"{")
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_a_body_is_bounded(server: Served) -> None:
    with server.raw(b'{"model": "tiny"', length=1 << 40) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("kind", ["image_url", "image", "video_url", "audio"])
@pytest.mark.parametrize("path", ["/etc/passwd", "file:///etc/passwd", "../../etc/passwd"])
def test_local_files_are_not_read(server: Served, kind: str, path: str) -> None:
    part = {"type": kind, kind: {"url": path} if kind.endswith("_url") else path}
    answer = server.chat(messages=[{"role": "user", "content": [{"type": "text", "text": "What?"}, part]}])
    assert (answer.status_code, "http, https or data URL" in answer.text) == (400, True)
    assert server.chat(images=[path]).status_code == 400


def test_embeddings_of_a_chat_model_are_refused(server: Served) -> None:
    answer = server.client.post("/v1/embeddings", json={"model": BASE, "input": "river"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_a_text_is_completed(server: Served) -> None:
    answer = server.client.post("/v1/completions", json={"model": "ada", "prompt": ["river"], "max_tokens": 4}).json()
    assert (answer["object"], answer["model"]) == ("text_completion", "ada")
    assert isinstance(answer["choices"][0]["text"], str)


def test_a_stream_has_the_same_content(server: Served) -> None:
    whole = server.text("ada", max_tokens=30)
    with server.stream("ada", max_tokens=30, stream_options={"include_usage": True}) as response:
        found = events(response)
    *chunks, usage, done = found
    assert done == "[DONE]"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == whole
    assert {chunk["model"] for chunk in found[:-1]} == {"ada"}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] in ("stop", "length")
    assert (usage["choices"], usage["usage"]) == ([], server.chat("ada", max_tokens=30).json()["usage"])
    assert [chunk for chunk in chunks if chunk["choices"][0]["delta"].get("role")] == chunks[:1]


def test_a_tool_is_called(server: Served) -> None:
    with server.demanding(say=CALL):
        answer = server.chat(tools=[WEATHER], max_tokens=200).json()
    (choice,) = answer["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", "Let me look.")
    (call,) = choice["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("weather", {"city": "Paris"})


def test_a_tool_is_called_in_a_stream(server: Served) -> None:
    with server.demanding(say=CALL), server.stream(tools=[WEATHER], max_tokens=200) as response:
        *chunks, done = events(response)
    assert done == "[DONE]"
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(delta.get("content", "") for delta in deltas).strip() == "Let me look."
    (call,) = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert (call["index"], call["function"]["name"]) == (0, "weather")
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_the_turn_after_a_call_has_no_content(server: Served) -> None:
    function = {"name": "weather", "arguments": '{"city": "Paris"}'}
    turns = [
        *HELLO,
        {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    assert server.chat(messages=turns, tools=[WEATHER]).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_of_the_engine_is_an_error_with_a_status(server: Served, stream: bool) -> None:
    with server.demanding(**{"raise": "CUDA out of memory. Tried to allocate 2.00 GiB"}):
        answer = server.chat(stream=stream)
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
    assert "out of memory" in answer.json()["error"]["message"]
    assert server.text()  # and it goes on


def test_a_stream_that_fails_later_says_so(server: Served) -> None:
    with server.demanding(raise_late="CUDA out of memory", slow="0.01"), server.stream(max_tokens=50) as response:
        found = events(response)
    assert response.status_code == 200
    assert found[-1]["error"]["type"] == "server_error"
    assert all("error" not in chunk for chunk in found[:-1])
    assert server.text()


@pytest.mark.parametrize("stream", [False, True])
def test_generation_stops_when_the_client_leaves(server: Served, stream: bool) -> None:
    left = f'swiftop_serve_requests_total{{name="{BASE}",outcome="left"}}'
    before = server.metric(left)
    body = json.dumps({"model": BASE, "messages": HELLO, "max_tokens": 900, "stream": stream}).encode()
    with server.demanding(slow="0.05"):
        with server.raw(body):
            wait_until(lambda: server.metric("swiftop_serve_in_flight") == 1, what="the request")
            wait_until(lambda: server.metric("swiftop_serve_queued") == 0, what="its generation")
        begun = time.monotonic()
        server.chat(max_tokens=1)
    assert time.monotonic() - begun < 5  # the whole answer takes 45
    assert server.metric(left) == before + 1


def test_metrics_count_by_name(server: Served) -> None:
    before = server.counts("bob")
    usage = server.chat("bob").json()["usage"]
    counted = [now - known for now, known in zip(server.counts("bob"), before, strict=True)]
    assert counted == [1, usage["completion_tokens"], usage["prompt_tokens"], 1]


def test_openai_s_own_client_understands_it(server: Served) -> None:
    text = "apple river"
    with server.demanding(say=text):
        told = server.run_inside("openai_client.py", f"http://127.0.0.1:{server.port}", "chat")
    assert told == {
        "models": [BASE, "ada", "bob"],
        "model": "ada",
        "text": text,
        "streamed": text,
        "usage": True,
        "helped": ["assistant", text, "stop"],
        "wrong key": "AuthenticationError invalid_api_key",
        "unknown": "NotFoundError model_not_found",
        "too long": "BadRequestError context_length_exceeded",
        "too long in a stream": "BadRequestError context_length_exceeded",
    }


def test_openai_s_own_client_understands_a_call(server: Served) -> None:
    with server.demanding(say=CALL):
        told = server.run_inside("openai_client.py", f"http://127.0.0.1:{server.port}", "tools")
    assert told == {"name": "weather", "arguments": {"city": "Paris"}, "reason": "tool_calls"}


def test_pid_1_tells_what_the_guard_told(server: Served) -> None:
    progress = wait_until(server.execution.progress, what="progress")
    assert (progress["phase"], progress["names"], progress["answering"]) == (2, 3, 3)
    assert progress["requests"] > 0
    assert progress["loadSeconds"] > 0
