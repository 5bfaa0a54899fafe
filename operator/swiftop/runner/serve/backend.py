"""What answers behind the guard: ms-swift's app in this process. An engine's own server (``native``) is another one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Optional, Protocol

from ..protocol import ServedAdapter
from . import identity, relay, requests
from .board import CURRENT, Board, Call
from .http import Exchange

Message = MutableMapping[str, Any]


class Taker(Protocol):
    """Whoever asks: takes the answer as it comes, in the backend's own turn of the loop, for each turn costs a fight
    for the interpreter with the thread that generates."""

    def begin(self, status: int) -> None:
        """The answer has a status."""

    async def take(self, piece: bytes) -> None:
        """Some of its body."""


class Engine(Protocol):
    """What is known of the engine in this process."""

    async def load(self, adapter: ServedAdapter) -> None:
        """As in ``Backend``."""

    def dead(self) -> Optional[str]:
        """As in ``Backend``."""

    def misfit(self, adapter: ServedAdapter) -> Optional[str]:
        """As in ``Backend``."""


class Backend(Protocol):
    """Takes requests in words of its own, and answers in such."""

    def request(self, path: str, asked: Mapping[str, Any]) -> bytes:
        """A client's request as it is sent; raises ``Problem``."""

    def answer(self, exchange: Exchange, call: Call, asked: Mapping[str, Any], *, streams: bool) -> relay.Answer:
        """What makes the client's answer of the backend's."""

    async def ask(self, call: Call, path: str, body: bytes, taker: Taker) -> None:
        """Send a request, and return when its answer is over. Raises what ended it too soon; may be cancelled."""

    async def load(self, adapter: ServedAdapter) -> None:
        """Before it is asked for the first time, where that would come too late; raises why it cannot be served."""

    async def unload(self, name: str) -> None:
        """Forget an adapter, of which nothing is in flight: only where adapters come and go."""

    async def look(self, board: Board) -> None:
        """Once in a while: whether the engine lives, where only a question tells it."""

    def dead(self) -> Optional[str]:
        """Why the engine cannot answer any more; None while it can."""

    def misfit(self, adapter: ServedAdapter) -> Optional[str]:
        """What of a loaded adapter does not belong to the model; None where all does, or the engine sees to it."""

    def close(self) -> None:
        """The end, when all is answered or given up."""


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to be asked."""

    backend: Backend
    embeds: bool = False  # an embedding model
    top: int = identity.TOP  # alternatives of a token that it can tell the chances of


class SwiftWords:
    """Requests and answers of ms-swift's app, which need a repair each."""

    def request(self, path: str, asked: Mapping[str, Any]) -> bytes:
        """As in ``Backend``."""
        return requests.written(requests.repair(path, asked))

    def answer(self, exchange: Exchange, call: Call, asked: Mapping[str, Any], *, streams: bool) -> relay.Answer:
        """As in ``Backend``."""
        return relay.Streamed(exchange, call, asked) if streams else relay.Replied(exchange, call, asked)


class InProcess(SwiftWords):
    """An ASGI app."""

    def __init__(self, app: Any, engine: Engine) -> None:
        self._app = app
        self.load = engine.load
        self.dead = engine.dead
        self.misfit = engine.misfit

    async def unload(self, name: str) -> None:
        """Its adapters stay as they are."""

    async def look(self, board: Board) -> None:
        """The engine is in this process: ``dead`` sees it."""

    def close(self) -> None:
        """It ends with the process."""

    async def ask(self, call: Call, path: str, body: bytes, taker: Taker) -> None:
        """Without a socket: the app's messages are the answer."""
        asked: Optional[bytes] = body

        async def receive() -> Message:
            nonlocal asked
            if asked is None:
                await asyncio.Event().wait()  # the client does not leave: the task is cancelled when it does
            sent, asked = asked, None
            return {"type": "http.request", "body": sent, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                taker.begin(message["status"])
            elif message.get("body"):
                await taker.take(message["body"])

        CURRENT.set(call)
        await self._app(_scope(path, body), receive, send)


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
