"""Asks a server on this machine. The image may have no HTTP client, and a proxy of the environment is not for it.

A connection of its own for each request: closing it is how the server learns that nobody waits any more. Of an answer
no more is held than one piece: a client that reads slowly slows the server down.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Optional

from .backend import Taker
from .relay import Whole

HOST = "127.0.0.1"
PIECE = 1 << 16
_MOST_HEADERS = 100


class Unanswered(RuntimeError):
    """The server has taken no connection, or closed one too soon."""


@dataclass(frozen=True)
class Upstream:
    """A server's address, and what each request has to say of us."""

    port: int
    headers: Mapping[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, body: Optional[bytes], taker: Taker) -> None:
        """Returns when the answer is over. Raises ``Unanswered``; may be cancelled, which closes the connection."""
        try:
            reader, writer = await asyncio.open_connection(HOST, self.port, limit=PIECE)
        except OSError as error:
            raise Unanswered(f"the engine's server takes no connection: {error}") from error
        try:
            writer.write(self._head(method, path, body) + (body or b""))
            await writer.drain()
            status, headers = await _head(reader)
            taker.begin(status)
            async for piece in _body(reader, headers):
                await taker.take(piece)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise Unanswered(f"the engine's server has broken off: {type(error).__name__} {error}") from error
        finally:
            writer.transport.abort()

    async def get(self, path: str, *, seconds: float) -> tuple[int, bytes]:
        """Status and content; raises ``Unanswered``, also when it takes longer."""
        whole = Whole()
        try:
            await asyncio.wait_for(self.ask("GET", path, None, whole), seconds)
        except asyncio.TimeoutError:
            raise Unanswered(f"no answer to {path} in {seconds:g} s") from None
        return whole.status, whole.body

    def _head(self, method: str, path: str, body: Optional[bytes]) -> bytes:
        known = {"host": f"{HOST}:{self.port}", "connection": "close", **self.headers}
        if body is not None:
            known.update({"content-type": "application/json", "content-length": str(len(body))})
        lines = "".join(f"{name}: {value}\r\n" for name, value in known.items())
        return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    _, _, rest = (await reader.readline()).partition(b" ")
    status = int(rest[:3])  # of an empty line: ValueError
    headers: dict[str, str] = {}
    for _ in range(_MOST_HEADERS):
        line = await reader.readline()
        if line in (b"\r\n", b"\n"):
            return status, headers
        if not line:
            raise EOFError("its head is not complete")
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    raise ValueError("too many headers")


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
    """The body piece by piece, however its length is told."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readline()).partition(b";")[0], 16):
            async for piece in _exactly(reader, size):
                yield piece
            await reader.readline()
    elif "content-length" in headers:
        async for piece in _exactly(reader, int(headers["content-length"])):
            yield piece
    else:
        while piece := await reader.read(PIECE):
            yield piece


async def _exactly(reader: asyncio.StreamReader, size: int) -> AsyncIterator[bytes]:
    while size > 0:
        piece = await reader.read(min(size, PIECE))
        if not piece:
            raise EOFError(f"{size} bytes are missing")
        size -= len(piece)
        yield piece


def free_port() -> int:
    """One that nobody listens on now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
