"""The guard before an engine's own server, which is played."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from swiftop.runner.protocol import ServedAdapter
from swiftop.runner.serve.app import App
from swiftop.runner.serve.backend import Taker
from swiftop.runner.serve.board import FAILED, OK, REFUSED, Board
from swiftop.runner.serve.errors import Problem
from swiftop.runner.serve.native import Native
from swiftop.runner.serve.own_servers import OWN_SERVERS
from swiftop.runner.serve.upstream import Unanswered
from tests.unit.runner.serve.clock import Clock
from tests.unit.runner.serve.fake_backend import NAMES, Client, until

DONE = b"data: [DONE]\n\n"


def event(text: str, **members: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    return b"data: " + json.dumps({"model": "ada", "choices": [choice], **members}).encode() + b"\n\n"


USAGE = b'data: {"model":"ada","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":40}}\n\n'


class FakeServer:
    """As the process is, and as it is asked."""

    def __init__(self) -> None:
        self.ended: int | None = None
        self.stopped = 0
        self.answers: dict[str, tuple[int, bytes]] = {"/health": (200, b"")}
        self.reply: tuple[int, list[Any]] = (200, [b"{}"])
        self.asked: list[dict[str, Any]] = []
        self.seen: list[str] = []
        self.upstream: Any = self

    async def ask(self, method: str, path: str, body: bytes, taker: Taker) -> None:
        self.asked.append(json.loads(body))
        status, pieces = self.reply
        taker.begin(status)
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            await taker.take(piece)

    async def get(self, path: str, *, seconds: float) -> tuple[int, bytes]:
        self.seen.append(path)
        if path not in self.answers:
            raise Unanswered("nobody")
        return self.answers[path]

    def end(self) -> None:
        self.stopped += 1


class NativeClient(Client):
    """Asks the app before it."""

    def __init__(self, engine: str = "vllm", clock: Callable[[], float] | None = None, **options: Any) -> None:
        super().__init__()
        self.server = FakeServer()
        process: Any = self.server
        self.native = Native(OWN_SERVERS[engine], process, clock=clock or time.monotonic, **options)
        self.board = Board(NAMES, clock) if clock else self.board
        self.app = App(self.native, self.board, self.readiness)


async def test_an_answer_is_passed_on_as_it_is_and_counted() -> None:
    client = NativeClient()
    body = (
        b'{"model":"ada", "choices":[{"message":{"tool_calls":[]}}], "usage":{"prompt_tokens":5,"completion_tokens":4}}'
    )
    client.server.reply = (200, [body[:20], body[20:]])
    response = await client.chat(model="ada", response_format={"type": "json_object"}, n=None)
    assert (response.status, response.body) == (200, body)
    assert client.server.asked[0]["response_format"] == {"type": "json_object"}
    tally = client.board.tallies["ada"]
    assert (tally.requests[OK], tally.tokens, tally.prompt_tokens) == (1, 4, 5)


@pytest.mark.parametrize("asked", [{}, {"stream_options": {"include_usage": True}}])
async def test_a_stream_is_passed_on_and_its_usage_kept_from_who_did_not_ask(asked: dict[str, Any]) -> None:
    client = NativeClient()
    whole = event("a") + event("b") + USAGE + DONE
    client.server.reply = (200, [whole[:9], whole[9:30], whole[30:]])
    response = await client.chat(model="ada", stream=True, **asked)
    assert response.body == event("a") + event("b") + (USAGE if asked else b"") + DONE
    assert client.server.asked[0]["stream_options"] == {"include_usage": True}
    tally = client.board.tallies["ada"]
    assert (tally.requests[OK], tally.tokens, tally.prompt_tokens) == (1, 40, 5)


class Replaced(NativeClient):
    """``ada`` is answered with what the engine knows by another name."""

    def __init__(self) -> None:
        super().__init__()
        self.readiness.point("ada", "ada@7")


def named(name: str, text: str = "") -> bytes:
    return event(text).replace(b'"model": "ada"', f'"model": "{name}"'.encode())


async def test_weights_that_replaced_others_are_asked_by_their_own_name_and_answer_by_the_served_one() -> None:
    client = Replaced()
    client.server.reply = (200, [b'{"id":"1","model":"ada', b'@7","choices":[{"message":{"content":"\\"model\\":"}}]}'])
    response = await client.chat(model="ada")
    assert response.body == b'{"id":"1","model":"ada","choices":[{"message":{"content":"\\"model\\":"}}]}'
    assert client.server.asked[0]["model"] == "ada@7"
    assert client.board.tallies["ada"].requests[OK] == 1
    await client.chat(model="base")
    assert client.server.asked[1]["model"] == "base"


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_each_event_of_a_stream_has_the_served_name_however_it_comes(size: int) -> None:
    client = Replaced()
    text = '"model": "ada@7"'  # said by the model: it stays
    whole = named("ada@7", text) + USAGE.replace(b'"ada"', b'"ada@7"') + DONE
    client.server.reply = (200, [whole[at : at + size] for at in range(0, len(whole), size)])
    response = await client.chat(model="ada", stream=True, stream_options={"include_usage": True})
    assert response.body == named("ada", text) + USAGE + DONE


async def test_an_answer_goes_on_with_the_weights_that_it_began_with() -> None:
    client, going = Replaced(), asyncio.Event()

    async def ask(method: str, path: str, body: bytes, taker: Taker) -> None:
        client.server.asked.append(json.loads(body))
        taker.begin(200)
        await taker.take(named("ada@7"))
        await going.wait()
        await taker.take(named("ada@7") + DONE)

    client.server.ask = ask  # type: ignore[method-assign]
    asking = asyncio.ensure_future(client.chat(model="ada", stream=True))
    await until(lambda: client.board.uses("ada@7") and client.server.asked)
    client.readiness.point("ada", "ada@8")
    client.readiness.remove("ada")  # even then
    going.set()
    response = await asking
    assert response.body == named("ada") + named("ada") + DONE
    assert not client.board.uses("ada@7")


async def test_usage_in_each_event_stays_where_it_was_asked_for() -> None:
    client = NativeClient()
    one = event("a", usage={"completion_tokens": 1})
    client.server.reply = (200, [one, USAGE, DONE])
    options = {"include_usage": True, "continuous_usage_stats": True}
    response = await client.chat(stream=True, stream_options=options)
    assert (client.server.asked[0]["stream_options"], response.body) == (options, one + USAGE + DONE)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (400, "This model's maximum context length is 64 tokens.", "context_length_exceeded"),
        (400, "max_tokens must be at least 1, got 0.", None),
        (500, "EngineCore encountered an issue.", None),
    ],
)
async def test_an_error_has_the_guard_s_form(status: int, message: str, code: str | None, stream: bool) -> None:
    client = NativeClient()
    client.server.reply = (status, [json.dumps({"error": {"message": message, "code": status}}).encode()])
    response = await client.chat(stream=stream)
    error = response.json["error"]
    assert (response.status, error["message"], error["code"]) == (status, message, code)
    assert client.board.requests(FAILED if status == 500 else REFUSED) == 1
    assert client.readiness.healthy is (status != 500)


@pytest.mark.parametrize(
    "pieces",
    [
        [event("a"), b'data: {"error": {"message": "no more"}}\n\n', DONE],
        [event("a"), Unanswered("no more")],
        [event("a")],  # it ends without the last mark
    ],
)
async def test_a_stream_that_breaks_off_ends_with_an_error(pieces: list[Any]) -> None:
    client = NativeClient()
    client.server.reply = (200, pieces)
    response = await client.chat(stream=True)
    assert (response.status, response.ended, DONE in response.body) == (200, True, False)
    assert b'"type":"server_error"' in response.body
    assert client.board.requests(FAILED) == 1


async def test_ends_that_ms_swift_knows_are_told_with_each_request() -> None:
    client = NativeClient(stops=(7, 8))
    await client.chat()
    await client.chat(stop_token_ids=[3])
    assert [asked["stop_token_ids"] for asked in client.server.asked] == [[7, 8], [3, 7, 8]]


async def test_local_files_are_not_read_by_an_engine_either() -> None:
    client = NativeClient()
    part = {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}
    response = await client.chat(messages=[{"role": "user", "content": [part]}])
    assert (response.status, client.server.asked) == (400, [])


async def test_an_adapter_is_loaded_by_a_request() -> None:
    client = NativeClient()
    client.server.reply = (200, [b"Success"])
    await client.native.load(ServedAdapter("ada", "/a"))
    assert client.server.asked == [{"lora_name": "ada", "lora_path": "/a"}]
    client.server.reply = (404, [b'{"error": {"message": "no such path"}}'])
    with pytest.raises(Problem, match="no such path"):
        await client.native.load(ServedAdapter("ada", "/b"))
    client.server.reply = (200, [b"Success"])
    await client.native.unload("ada")
    assert client.server.asked[-1] == {"lora_name": "ada"}


async def test_a_server_that_ended_or_says_so_is_dead() -> None:
    client = NativeClient()
    await client.native.look(client.board)
    assert client.native.dead() is None
    del client.server.answers["/health"]
    await client.native.look(client.board)
    assert client.native.dead() is None  # busy, perhaps
    client.server.answers["/health"] = (503, b"")
    await client.native.look(client.board)
    assert client.native.dead() == "its server says that it is not healthy any more"
    client.server.ended = 0
    assert client.native.dead() == "its server has ended with exit code 0"


async def test_metrics_tell_that_the_engine_is_at_work_on_a_long_answer() -> None:
    clock = Clock()
    client = NativeClient(clock=clock)
    call = client.board.begin("ada")
    silent = []
    for count in (0, 10, 10, 30):
        clock.now += 100
        page = f"vllm:generation_tokens_total 0\nvllm:prompt_tokens_total {count}\nvllm:num_requests_waiting {count}\n"
        client.server.answers["/metrics"] = (200, page.encode())
        await client.native.look(client.board)
        silent.append(client.board.silent_seconds)
    assert silent == [100, 0, 100, 0]
    assert call.running  # nothing waited at first


async def test_metrics_are_not_asked_for_while_tokens_stream_nor_all_the_time() -> None:
    clock = Clock()
    client = NativeClient(clock=clock)
    client.server.answers["/metrics"] = (200, b"vllm:num_requests_waiting 1\n")
    call = client.board.begin("ada")
    for _ in range(3):
        clock.now += 1
        await client.native.look(client.board)
    assert client.server.seen.count("/metrics") == 2
    for _ in range(9):
        clock.now += 1
        call.beat()
        await client.native.look(client.board)
    assert client.server.seen.count("/metrics") == 2


async def test_the_process_ends_with_the_guard() -> None:
    client = NativeClient()
    client.native.close()
    assert client.server.stopped == 1
    assert client.native.misfit(ServedAdapter("ada", "/a")) is None
