"""Asking a server on this machine: each way to tell a body's length, and each way to break off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from swiftop.runner.serve.upstream import PIECE, Unanswered, Upstream, free_port

OK = b"HTTP/1.1 200 OK\r\n"


class Taken:
    """What has come."""

    def __init__(self) -> None:
        self.status = 0
        self.pieces: list[bytes] = []
        self.came = asyncio.Event()
        self.hold: asyncio.Event | None = None

    def begin(self, status: int) -> None:
        self.status = status

    async def take(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self.came.set()
        if self.hold is not None:
            await self.hold.wait()


Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(answering: Answering) -> Any:
    """A server that answers each connection like this."""
    made = await asyncio.start_server(answering, "127.0.0.1", 0)
    try:
        yield Upstream(made.sockets[0].getsockname()[1], {"authorization": "Bearer k"})
    finally:
        made.close()


def saying(*parts: bytes) -> Answering:
    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"".join(parts))
        writer.close()

    return answering


@pytest.mark.parametrize(
    "answer",
    [
        (OK, b"Content-Length: 11\r\n\r\n", b"hello world"),
        (OK, b"transfer-encoding: chunked\r\n\r\n", b"6\r\nhello \r\n5;x=y\r\nworld\r\n0\r\n\r\n"),
        (OK, b"\r\n", b"hello world"),
    ],
)
async def test_a_body(answer: tuple[bytes, ...]) -> None:
    taken = Taken()
    async with server(saying(*answer)) as upstream:
        await upstream.ask("POST", "/v1", b"{}", taken)
    assert (taken.status, b"".join(taken.pieces)) == (200, b"hello world")


@pytest.mark.parametrize(
    "answer",
    [
        (),
        (OK,),
        (OK, b"content-length: 12\r\n\r\n", b"hello world"),
        (OK, b"transfer-encoding: chunked\r\n\r\n", b"6\r\nhello \r\n"),
        (OK, b"transfer-encoding: chunked\r\n\r\n", b"zz\r\nhello \r\n"),
        (b"nonsense\r\n\r\n",),
        (OK, b"a: b\r\n" * 200, b"\r\n"),
        (OK, b"a: " + b"b" * (3 * PIECE), b"\r\n"),
    ],
)
async def test_an_answer_that_breaks_off_is_none(answer: tuple[bytes, ...]) -> None:
    async with server(saying(*answer)) as upstream:
        with pytest.raises(Unanswered):
            await asyncio.wait_for(upstream.ask("POST", "/v1", b"{}", Taken()), 5)


async def test_nobody_listens() -> None:
    with pytest.raises(Unanswered, match="takes no connection"):
        await Upstream(free_port()).ask("POST", "/v1", b"{}", Taken())


async def test_the_request() -> None:
    heads = []

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        heads.append(await reader.readexactly(2))
        writer.write(OK + b"content-length: 0\r\n\r\n")
        writer.close()

    async with server(answering) as upstream:
        await upstream.ask("POST", "/v1/x", b"{}", Taken())
    lines = heads[0].decode().split("\r\n")
    assert lines[0] == "POST /v1/x HTTP/1.1"
    assert {"authorization: Bearer k", "content-length: 2", "connection: close"} <= set(lines)
    assert heads[1] == b"{}"


async def test_who_gives_up_closes_the_connection() -> None:
    closed = asyncio.Event()

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n")
        await reader.read()
        closed.set()

    taken = Taken()
    async with server(answering) as upstream:
        asking = asyncio.ensure_future(upstream.ask("POST", "/v1", b"", taken))
        await asyncio.wait_for(taken.came.wait(), 5)
        asking.cancel()
        await asyncio.wait_for(closed.wait(), 5)


async def test_a_slow_reader_slows_the_server_down() -> None:
    """Of an endless answer no more is taken than fits into a few buffers."""
    sent = 0
    stuck = asyncio.Event()

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"\r\n")
        while True:
            writer.write(b"x" * PIECE)
            sent += PIECE
            try:
                await asyncio.wait_for(writer.drain(), 1)
            except TimeoutError:
                stuck.set()
                return

    taken = Taken()
    taken.hold = asyncio.Event()
    async with server(answering) as upstream:
        asking = asyncio.ensure_future(upstream.ask("POST", "/v1", b"", taken))
        await asyncio.wait_for(stuck.wait(), 30)
        asking.cancel()
    assert sum(map(len, taken.pieces)) <= PIECE
    assert sent < 64 << 20


async def test_a_page_has_to_come_in_time() -> None:
    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(answering) as upstream:
        with pytest.raises(Unanswered, match=r"no answer to /health in 0\.1 s"):
            await upstream.get("/health", seconds=0.1)
