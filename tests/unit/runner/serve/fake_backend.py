"""A backend that answers as it is told, and a client of the app in the same loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from swiftop.runner.protocol import ServedAdapter
from swiftop.runner.serve.app import App
from swiftop.runner.serve.backend import SwiftWords, Taker
from swiftop.runner.serve.board import Board, Call
from swiftop.runner.serve.readiness import Readiness

NAMES = ("base", "ada")


async def until(condition: Callable[[], Any]) -> None:
    """Let the loop run on until it is true."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it has not come to that")


class FakeBackend(SwiftWords):
    """``reply`` makes each answer: status and pieces; an exception among the pieces is raised."""

    def __init__(self) -> None:
        self.reply: Callable[[Mapping[str, Any]], tuple[int, list[Any]]] = lambda asked: (200, [b"{}"])
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.why_dead: str | None = None
        self.misfits: dict[str, str] = {}
        self.loaded: list[str] = []
        self.unloaded: list[str] = []
        self.unloadable: dict[str, str] = {}
        self.given_up = self.looks = 0

    async def ask(self, call: Call, path: str, body: bytes, taker: Taker) -> None:
        asked = json.loads(body)
        self.asked.append((path, asked))
        status, pieces = self.reply(asked)
        taker.begin(status)
        try:
            for piece in pieces:
                if isinstance(piece, BaseException):
                    call.error = piece
                    raise piece
                if isinstance(piece, asyncio.Event):
                    await piece.wait()
                else:
                    await taker.take(piece)
        except asyncio.CancelledError:
            self.given_up += 1
            raise

    async def load(self, adapter: ServedAdapter) -> None:
        self.loaded.append(adapter.name)
        if adapter.name in self.unloadable:
            raise ValueError(self.unloadable[adapter.name])

    async def unload(self, name: str) -> None:
        self.unloaded.append(name)

    async def look(self, board: Board) -> None:
        self.looks += 1

    def close(self) -> None:
        """Nothing is open."""

    def dead(self) -> str | None:
        return self.why_dead

    def misfit(self, adapter: ServedAdapter) -> str | None:
        return self.misfits.get(adapter.name)


@dataclass
class Response:
    """What a client got."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    ended: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Asks the app as uvicorn would."""

    def __init__(self, *, key: str = "", embeds: bool = False) -> None:
        self.backend = FakeBackend()
        self.board = Board(NAMES)
        self.readiness = Readiness(NAMES)
        for name in NAMES:
            self.readiness.answered(name)
        self.app = App(self.backend, self.board, self.readiness, key=key, embeds=embeds)

    async def send(
        self,
        path: str,
        content: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        leave: asyncio.Event | None = None,
        response: Response | None = None,
        method: str = "",
    ) -> Response:
        found = response or Response()
        messages = [{"type": "http.request", "body": content or b"", "more_body": False}]
        over = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            waits = [asyncio.ensure_future(event.wait()) for event in (over, leave) if event is not None]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            return {"type": "http.disconnect"}

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                found.status = message["status"]
                found.headers = {name.decode(): value.decode() for name, value in message["headers"]}
                return
            found.pieces.append(message.get("body", b""))
            found.ended = not message.get("more_body", False)
            if found.ended:
                over.set()

        scope = {
            "type": "http",
            "method": method or ("GET" if content is None else "POST"),
            "path": path,
            "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        }
        await self.app(scope, receive, sent)
        return found

    async def chat(self, **asked: Any) -> Response:
        body = {"model": "base", "messages": [{"role": "user", "content": "hi"}], **asked}
        return await self.send("/v1/chat/completions", json.dumps(body).encode())
