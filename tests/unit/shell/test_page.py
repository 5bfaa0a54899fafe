"""What a pod can do to whoever asks it: nothing but not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftop.shell.page import LONGEST, _read, body_of, fetch

Talk = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def stranger(talk: Talk) -> AsyncIterator[str]:
    """A server that says what it likes, and ends when nobody listens any more."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.readuntil(b"\r\n\r\n")
            await talk(writer)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/progress"


def endless(piece: bytes, first: bytes = b"") -> Talk:
    async def talk(writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(piece)
            await writer.drain()

    return talk


def saying(answer: bytes, *, stays: bool = False) -> Talk:
    async def talk(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        if stays:
            await asyncio.Event().wait()

    return talk


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "talk",
    [
        endless(CONTINUE * 400),
        endless(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 400),
        endless(b"X-Header: y\r\n" * 400, first=OK),
        endless(b"5\r\nhello\r\n" * 400, first=OK + b"Transfer-Encoding: chunked\r\n\r\n"),
        endless(b"x" * 4096, first=OK + b"\r\n"),
        endless(b"x" * 4096),
    ],
    ids=["continue", "early hints", "headers", "chunks", "body", "no http"],
)
async def test_an_answer_without_an_end_is_cut_by_its_bytes(talk: Talk) -> None:
    async with stranger(talk) as url:
        begun = time.monotonic()
        assert await fetch(url, seconds=30) is None
        assert time.monotonic() - begun < 5


async def test_an_answer_that_comes_byte_by_byte_is_cut_by_its_time() -> None:
    async def drips(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(CONTINUE)
            await writer.drain()
            await asyncio.sleep(0.02)

    async with stranger(drips) as url:
        begun = time.monotonic()
        assert await fetch(url, seconds=0.2) is None
        assert time.monotonic() - begun < 2


class Drip:
    """A connection that gives one byte at a time."""

    def __init__(self, answer: bytes) -> None:
        self.left = bytearray(answer)

    async def read(self, _most: int) -> bytes:
        return bytes([self.left.pop(0)]) if self.left else b""


async def test_an_answer_that_comes_byte_by_byte_costs_little() -> None:
    answer = OK + b"Content-Length: x\r\n" * 800 + b"\r\n" + b"x" * 15_000
    begun = time.process_time()
    assert await _read(cast("Any", Drip(answer))) == answer
    assert time.process_time() - begun < 0.5


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK + b"Content-Length: 2\r\n\r\n{}", b"{}"),
        (CONTINUE + OK + b"Content-Length: 2\r\n\r\n{}", b"{}"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", b"{}"),
        (b"HTTP/1.0 200 OK\r\n\r\n{}", b"{}"),
        (OK + b"Content-Length: 9\r\n\r\n{}", None),
        (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n", None),
        (b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\n{}", None),
        (OK + b"Content-Length: 40000\r\n\r\n" + b"x" * 40_000, None),
        (b"", None),
    ],
)
async def test_answers(answer: bytes, body: bytes | None) -> None:
    async with stranger(saying(answer)) as url:
        assert await fetch(url, seconds=5) == body


async def test_a_server_that_keeps_the_connection_open_is_not_waited_for() -> None:
    async with stranger(saying(OK + b"Content-Length: 2\r\n\r\n{}", stays=True)) as url:
        assert await fetch(url, seconds=30) == b"{}"


async def test_nobody_there() -> None:
    assert await fetch("http://127.0.0.1:9/progress", seconds=1) is None


@given(
    st.binary(max_size=LONGEST) | st.lists(st.sampled_from([OK, CONTINUE, b"\r\n", b"a: b\r\n", b"{}"])).map(b"".join)
)
def test_any_bytes_are_a_body_or_none(raw: bytes) -> None:
    assert body_of(raw) is None or isinstance(body_of(raw), bytes)
