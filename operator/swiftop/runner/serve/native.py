"""The engine's own server as a backend: the guard stands before it, and passes on what is right already."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Optional

from ..protocol import ServedAdapter, ServeSettings
from . import relay, requests
from .adapters import layers_beyond
from .backend import Loaded, Taker
from .board import Board, Call
from .http import Exchange
from .own_process import OwnProcess
from .own_servers import OWN_SERVERS, OwnServer, counts
from .upstream import Unanswered, free_port

ADAPTER_SECONDS = 300.0
LOOK_SECONDS = 5.0
METRICS_SECONDS = 2.0  # between two looks at a page that the server takes some milliseconds to make


def load(settings: ServeSettings, prompt: Mapping[str, Any]) -> Loaded:
    """Start it, with the adapters. ``prompt``: what the check of the chat template has found."""
    kind, port = OWN_SERVERS[settings.engine], free_port()
    words = kind.words(
        settings.native,
        port=port,
        chat_template=str(prompt.get("chatTemplate") or ""),
        agent_template=str(prompt.get("agentTemplate") or ""),
    )
    process = OwnProcess(kind, words, port)
    process.wait_until_healthy()
    stops = tuple(prompt.get("stopTokens") or ()) if kind.takes_stops else ()
    return Loaded(Native(kind, process, model=settings.model, stops=stops))


class Native:
    """Implements ``Backend``."""

    def __init__(
        self,
        kind: OwnServer,
        process: OwnProcess,
        *,
        model: str = "",
        stops: tuple[int, ...] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kind = kind
        self._process = process
        self._model = model  # its folder
        self._upstream = process.upstream
        self._stops = stops
        self._dead: Optional[str] = None
        self._counted = 0.0
        self._clock = clock
        self._next_metrics = 0.0

    def request(self, path: str, asked: Mapping[str, Any]) -> bytes:
        """As in ``Backend``."""
        return requests.written(requests.passed_on(asked, stops=self._stops))

    def answer(self, exchange: Exchange, call: Call, asked: Mapping[str, Any], *, streams: bool) -> relay.Answer:
        """As in ``Backend``."""
        return relay.PassedStream(exchange, call, asked) if streams else relay.Passed(exchange, call)

    async def ask(self, call: Call, path: str, body: bytes, taker: Taker) -> None:
        """As in ``Backend``."""
        await self._upstream.ask("POST", path, body, taker)

    async def load(self, adapter: ServedAdapter) -> None:
        """As in ``Backend``: at the start of its server one that is bad would end it."""
        await self._tell("/v1/load_lora_adapter", {"lora_name": adapter.name, "lora_path": adapter.path})

    async def unload(self, name: str) -> None:
        """As in ``Backend``."""
        await self._tell("/v1/unload_lora_adapter", {"lora_name": name})

    async def _tell(self, path: str, told: Mapping[str, str]) -> None:
        whole = relay.Whole()
        asking = self._upstream.ask("POST", path, json.dumps(told).encode(), whole)
        await asyncio.wait_for(asking, ADAPTER_SECONDS)
        if whole.status != 200:
            raise whole.problem

    def dead(self) -> Optional[str]:
        """A server that ends by itself has no engine any more, whatever its exit code says."""
        code = self._process.ended
        return self._dead if code is None else f"its server has ended with exit code {code}"

    async def look(self, board: Board) -> None:
        """Of an answer that comes as a whole, its metrics alone tell that the engine is at work on it."""
        try:
            if self._kind.tells_death:
                status, _ = await self._upstream.get(self._kind.health, seconds=LOOK_SECONDS)
                if status == 503:
                    self._dead = "its server says that it is not healthy any more"
            if self._wants_metrics(board):
                _, page = await self._upstream.get("/metrics", seconds=LOOK_SECONDS)
                self._saw(counts(page), board)
        except Unanswered:
            return  # its end is seen by its exit code, its silence by what is in flight

    def _wants_metrics(self, board: Board) -> bool:
        """Of a stream each token is seen, and nothing else has to be known."""
        unknown = board.silent_seconds > METRICS_SECONDS or any(not call.running for call in board.calls)
        if not self._kind.progress or not unknown or self._clock() < self._next_metrics:
            return False
        self._next_metrics = self._clock() + METRICS_SECONDS
        return True

    def _saw(self, found: Mapping[str, float], board: Board) -> None:
        counted = sum(found.get(name, 0.0) for name in self._kind.progress)
        if counted > self._counted:
            board.engine_works()
        self._counted = counted
        if not found.get(self._kind.waiting, 1.0):
            for call in board.calls:
                call.running = True

    def misfit(self, adapter: ServedAdapter) -> Optional[str]:
        """It refuses other shapes itself; layers that the model does not have are left out in silence."""
        return layers_beyond(adapter.path, self._model)

    def close(self) -> None:
        """As in ``Backend``."""
        self._process.end()
