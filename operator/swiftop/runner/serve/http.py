"""The guard's side of HTTP: what was asked, and how it is answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from .errors import Problem

MAX_BODY = 64 << 20  # images come as base64
BODY_SECONDS = 120.0  # that one may take
JSON, EVENTS = b"application/json", b"text/event-stream; charset=utf-8"
CLOSE = (b"connection", b"close")
_CUT = (408, 413)  # the rest of the request may still come, and nobody reads it

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class ClientLeft(Exception):
    """Nobody waits for the answer."""


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())


def json_reply(content: Mapping[str, Any], status: int = 200) -> Reply:
    """In JSON."""
    return Reply(status, json.dumps(content, ensure_ascii=False).encode())


def error_reply(problem: Problem) -> Reply:
    """In OpenAI's form."""
    headers = {401: ((b"www-authenticate", b"Bearer"),), 503: ((b"retry-after", b"5"),)}
    body = json.dumps(problem.body, ensure_ascii=False).encode()
    return Reply(problem.status, body, headers=headers.get(problem.status, ()))


class Exchange:
    """One request and its answer."""

    def __init__(self, scope: Mapping[str, Any], receive: Receive, send: Send, *, closing: Callable[[], bool]) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"].rstrip("/") or "/"
        self._headers = {name.lower(): value for name, value in scope["headers"]}
        self._receive = receive
        self._send = send
        self._closing = closing
        self.begun = self.ended = False

    @property
    def bearer(self) -> bytes:
        """The key that was sent, if any."""
        scheme, _, token = self._headers.get(b"authorization", b"").partition(b" ")
        return bytes(token.strip()) if scheme.lower() == b"bearer" else b""

    async def body(self) -> bytes:
        """All of it; raises ``Problem`` above the limits, before it is read where its length is told."""
        told = self._headers.get(b"content-length", b"0")
        if told.isdigit() and int(told) > MAX_BODY:
            raise Problem(413, f"the request is larger than {MAX_BODY >> 20} MiB")
        try:
            return await asyncio.wait_for(self._pieces(), BODY_SECONDS)
        except asyncio.TimeoutError:
            raise Problem(408, f"the request has not come within {BODY_SECONDS:g} s") from None

    async def _pieces(self) -> bytes:
        pieces, size, more = [], 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > MAX_BODY:
                raise Problem(413, f"the request is larger than {MAX_BODY >> 20} MiB")
            more = message.get("more_body", False)
        return b"".join(pieces)

    async def left(self) -> None:
        """Returns when the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def reply(self, reply: Reply) -> None:
        """Send a whole answer."""
        await self.begin(
            reply.status, reply.content_type, (*reply.headers, (b"content-length", b"%d" % len(reply.body)))
        )
        await self.write(reply.body, more=False)

    async def begin(self, status: int, content_type: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """Send the head of an answer. A connection that is kept would lead the client here again."""
        self.begun = True
        sent = [(b"content-type", content_type), *headers, *((CLOSE,) if self._closing() or status in _CUT else ())]
        await self._send({"type": "http.response.start", "status": status, "headers": sent})

    async def write(self, piece: bytes, *, more: bool = True) -> None:
        """Send the next piece of it."""
        self.ended = not more
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})
