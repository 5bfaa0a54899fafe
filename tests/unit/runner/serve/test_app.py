"""The app in front of a backend that answers as it is told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from swiftop.runner.serve import answers, http
from swiftop.runner.serve.board import FAILED, LEFT, OK, REFUSED
from swiftop.runner.serve.http import MAX_BODY
from tests.unit.runner.serve.fake_backend import Client, Response, until

CHAT = "/v1/chat/completions"


def piece(text: str, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": reason}
    usage = {"completion_tokens": 1, "prompt_tokens": 5}
    return b"data: " + json.dumps({"model": "x", "choices": [choice], "usage": usage}).encode() + b"\n\n"


def whole(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"completion_tokens": 4, "prompt_tokens": 5}
    return json.dumps({"model": "x", "choices": [choice], "usage": usage}).encode()


def events(response: Response) -> list[Any]:
    return answers.Events().feed(response.body)


async def test_an_answer_is_counted_by_name() -> None:
    client = Client()
    client.backend.reply = lambda asked: (200, [whole("hello")])
    response = await client.chat(model="ada")
    assert (response.status, response.json["model"]) == (200, "ada")
    tally = client.board.tallies["ada"]
    assert (tally.requests[OK], tally.tokens, tally.prompt_tokens) == (1, 4, 5)
    assert client.board.calls == set()


async def test_a_stream_is_counted_and_ends() -> None:
    client = Client()
    client.backend.reply = lambda asked: (200, [piece("a"), piece("b", "stop"), answers.DONE])
    response = await client.chat(stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert (response.ended, response.body.endswith(answers.DONE)) == (True, True)
    assert [event["choices"][0]["delta"]["content"] for event in events(response)] == ["a", "b"]
    assert client.board.requests(OK) == 1


@pytest.mark.parametrize(
    ("error", "status", "outcome"),
    [(ValueError("too long"), 400, REFUSED), (RuntimeError("shape"), 500, FAILED)],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_first_piece_has_a_status(
    error: Exception, status: int, outcome: str, stream: bool
) -> None:
    client = Client()
    client.backend.reply = lambda asked: (200, [error])
    response = await client.chat(stream=stream)
    assert (response.status, response.json["error"]["message"]) == (status, str(error))
    assert client.board.requests(outcome) == 1


async def test_an_error_after_it_is_an_event_and_the_stream_ends() -> None:
    client = Client()
    client.backend.reply = lambda asked: (200, [piece("a"), RuntimeError("shape")])
    response = await client.chat(stream=True)
    assert (response.status, response.ended) == (200, True)
    assert events(response)[-1]["error"] == {
        "message": "shape", "type": "server_error", "param": None, "code": None,
    }  # fmt: skip
    assert answers.DONE not in response.body
    assert client.board.requests(FAILED) == 1


async def test_an_error_that_ms_swift_has_made_a_text_of() -> None:
    client = Client()
    client.backend.reply = lambda asked: (400, [b'{"message": "no", "object": "error"}'])
    response = await client.chat()
    assert (response.status, response.json["error"]["message"]) == (400, "no")
    client.backend.reply = lambda asked: (500, [b"Internal Server Error"])
    assert (await client.chat()).status == 500


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_gives_the_answer_up(stream: bool) -> None:
    client, leave, never = Client(), asyncio.Event(), asyncio.Event()
    client.backend.reply = lambda asked: (200, [piece("a"), never])
    body = json.dumps({"model": "base", "messages": [], "stream": stream}).encode()
    asking = asyncio.ensure_future(client.send(CHAT, body, leave=leave))
    await until(lambda: client.backend.asked)
    (call,) = client.board.calls
    leave.set()
    await asyncio.wait_for(asking, 5)
    assert (client.board.requests(LEFT), client.backend.given_up, call.gone.is_set()) == (1, 1, True)


@pytest.mark.parametrize("begun", [False, True])
async def test_an_engine_that_fails_ends_all_answers(begun: bool) -> None:
    client, never, response = Client(), asyncio.Event(), Response()
    client.backend.reply = lambda asked: (200, [piece("a"), never] if begun else [never])
    body = json.dumps({"model": "base", "messages": [], "stream": True}).encode()
    asking = asyncio.ensure_future(client.send(CHAT, body, response=response))
    await until(lambda: response.pieces if begun else client.backend.asked)
    client.readiness.engine_died("it is dead")
    await asyncio.wait_for(asking, 5)
    assert (response.status, response.ended) == (200 if begun else 503, True)
    assert b"the engine has failed: it is dead" in response.body
    assert (await client.chat()).status == 503
    assert (await client.send("/ready")).status == (await client.send("/health")).status == 503


async def test_a_dead_engine_is_told_by_its_error() -> None:
    client = Client()
    client.backend.reply = lambda asked: (200, [RuntimeError("CUDA error: device-side assert triggered")])
    assert (await client.chat()).status == 503
    assert not client.readiness.healthy


async def test_a_name_that_is_not_right_is_not_answered() -> None:
    client = Client()
    client.readiness.refuse("ada", "AnswersAsBase", "it answers as base does")
    response = await client.chat(model="ada")
    assert (response.status, response.headers["retry-after"]) == (503, "5")
    assert "it answers as base does" in response.json["error"]["message"]
    assert (await client.send("/ready")).json["names"]["base"] == "answering"
    assert (await client.send("/ready")).status == 503
    assert (await client.send("/health")).status == 200
    assert client.backend.asked == []


async def test_while_it_drains_connections_are_closed_and_answers_given() -> None:
    client = Client()
    client.backend.reply = lambda asked: (200, [whole("hello")])
    assert "connection" not in (await client.chat()).headers
    client.readiness.draining = True
    response = await client.chat()
    assert (response.status, response.headers["connection"]) == (200, "close")
    assert (await client.send("/ready")).status == 503


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"Authorization": "Bearer k"}, 200), ({"Authorization": "bearer  k "}, 200), ({}, 401),
        ({"Authorization": "Bearer"}, 401), ({"Authorization": "k"}, 401), ({"Authorization": "Basic k"}, 401),
        ({"Authorization": "Bearer kk"}, 401), ({"Authorization": "Bearer \xff"}, 401),
    ],
)  # fmt: skip
async def test_the_key(sent: dict[str, str], status: int) -> None:
    client = Client(key="k")
    assert (await client.send("/v1/models", headers=sent)).status == status
    assert (await client.send("/ready", headers=sent)).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/", 200), ("GET", "/v1/models/ada", 200), ("GET", "/v1/models/eve", 404),
        ("POST", "/v1/models", 405), ("GET", CHAT, 405), ("GET", "/docs", 404), ("GET", "/", 404),
        ("POST", "/infer", 404), ("GET", "/metrics", 200), ("DELETE", "/ready", 405),
    ],
)  # fmt: skip
async def test_the_pages(method: str, path: str, status: int) -> None:
    assert (await Client().send(path, method=method)).status == status


async def test_a_body_is_bounded() -> None:
    client = Client()
    assert (await client.send(CHAT, b"{}", headers={"Content-Length": str(MAX_BODY + 1)})).status == 413
    assert (await client.send(CHAT, b" " * (MAX_BODY + 1))).status == 413


async def test_embeddings_are_for_embedding_models() -> None:
    body = json.dumps({"model": "base", "input": "x"}).encode()
    assert (await Client().send("/v1/embeddings", body)).status == 400
    assert (await Client(embeds=True).send("/v1/embeddings", body)).status == 200


@pytest.mark.parametrize(
    "members",
    [
        '"messages": [{"role": "user", "content": "\\ud800"}]',
        '"messages": [{"role": "assistant", "tool_calls": 5}]',
        '"messages": [{"role": "assistant", "tool_calls": [{"id": [], "function": {"name": "f"}}]}]',
    ],
)
async def test_what_nobody_foresaw_is_the_mistake_of_the_client(members: str) -> None:
    client = Client()
    response = await client.send(CHAT, b'{"model": "base", %s}' % members.encode())
    assert (response.status, response.json["error"]["type"]) == (400, "invalid_request_error")
    assert (client.backend.asked, client.board.requests(REFUSED), client.board.calls) == ([], 1, set())


async def test_a_body_that_is_nested_too_deeply_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()

    def request(path: str, asked: Any) -> bytes:
        raise RecursionError

    monkeypatch.setattr(client.backend, "request", request)
    assert (await client.chat()).status == 400


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_SECONDS", 0.01)
    client, sent = Client(), list[Any]()

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return {"type": "http.request", "body": b"", "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": []}
    await asyncio.wait_for(client.app(scope, receive, send), 5)
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
