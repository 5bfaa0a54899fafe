"""What answers behind the guard: ms-swift's app in this process. An engine's own server would be another backend."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass
from typing import Any, Optional, Protocol

from ..protocol import ServedAdapter
from .board import CURRENT, Call

Message = MutableMapping[str, Any]
_AHEAD = 16  # pieces of an answer that wait for a slow client


@dataclass(frozen=True)
class Answer:
    """An answer that has begun. Its pieces raise what ends it too soon."""

    status: int
    chunks: AsyncIterator[bytes]


class Engine(Protocol):
    """What is known of the engine in this process."""

    def dead(self) -> Optional[str]:
        """As in ``Backend``."""

    def misfit(self, adapter: ServedAdapter) -> Optional[str]:
        """As in ``Backend``."""


class Backend(Protocol):
    """Takes requests in ms-swift's words."""

    def ask(self, call: Call, path: str, body: bytes) -> contextlib.AbstractAsyncContextManager[Answer]:
        """Send a request. The answer is there with its first piece; leaving the context gives it up."""

    def dead(self) -> Optional[str]:
        """Why the engine cannot answer any more; None while it can."""

    def misfit(self, adapter: ServedAdapter) -> Optional[str]:
        """What of a loaded adapter does not belong to the model; None where all does, or the engine sees to it."""


class InProcess:
    """An ASGI app."""

    def __init__(self, app: Any, engine: Engine) -> None:
        self._app = app
        self.dead = engine.dead
        self.misfit = engine.misfit

    @contextlib.asynccontextmanager
    async def ask(self, call: Call, path: str, body: bytes) -> AsyncIterator[Answer]:
        """Without a socket: the app's messages are the answer."""
        exchange = _Exchange(body)
        CURRENT.set(call)
        task = asyncio.ensure_future(exchange.run(self._app, _scope(path, body)))
        try:
            yield await exchange.answer()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


class _Exchange:
    """One request to an ASGI app, seen from its client."""

    def __init__(self, body: bytes) -> None:
        self._body: Optional[bytes] = body
        self._sent: asyncio.Queue[Optional[Message]] = asyncio.Queue(_AHEAD)
        self._error: Optional[BaseException] = None

    async def run(self, app: Any, scope: Message) -> None:
        try:
            await app(scope, self._receive, self._sent.put)
        except Exception as error:
            self._error = error
        await self._sent.put(None)

    async def _receive(self) -> Message:
        if self._body is None:
            await asyncio.Event().wait()  # the client does not leave: the task is cancelled when it does
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _next(self) -> Optional[Message]:
        message = await self._sent.get()
        if message is None and self._error is not None:
            raise self._error
        return message

    async def answer(self) -> Answer:
        """Once its first piece is there."""
        start, first = await self._next(), await self._next()
        if start is None:
            raise RuntimeError("the app has not answered")
        return Answer(start["status"], self._chunks(first))

    async def _chunks(self, first: Optional[Message]) -> AsyncIterator[bytes]:
        message = first
        while message is not None:
            if message.get("body"):
                yield message["body"]
            message = await self._next()


def _scope(path: str, body: bytes) -> Message:
    headers = [(b"host", b"guard"), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 0),
    }
