"""From the loaded model to the last answer: the server's loop, and its two ends, told to stop or broken."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Optional

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from .. import task
from ..protocol import ServeSettings
from .app import App
from .backend import Loaded
from .board import Board
from .causes import ENGINE_DEAD, GATE_FAILED
from .changes import Changes, Start
from .connections import allow_many, bounded
from .gate import Gate
from .prober import Prober
from .readiness import Readiness
from .watch import Watch

KEEP_ALIVE_SECONDS = 75  # above a load balancer's 60: it must not choose a connection that is just being closed
LAST_SECONDS = 5.0  # for the errors of answers that took too long


class _Server(uvicorn.Server):  # type: ignore[misc]
    """Signals are the guard's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Of newer versions."""
        yield

    def install_signal_handlers(self) -> None:
        """Of older ones."""


class Serving:
    """One loaded model."""

    def __init__(
        self,
        loaded: Loaded,
        settings: ServeSettings,
        *,
        key: str,
        progress: task.Progress,
        load_seconds: float,
        also: Mapping[str, Any],
        start: Optional[Start] = None,
    ) -> None:
        self._loaded = loaded
        self._settings = settings
        self._key = key
        self._progress = progress
        self._load_seconds = load_seconds
        self._also = also  # members of the report
        self._start = start  # of the adapters, where they are followed

    def run(self, listening: socket.socket) -> None:
        """Until SIGTERM; raises ``Refused`` when the engine fails."""
        allow_many()
        asyncio.run(self._run(listening))

    async def _run(self, listening: socket.socket) -> None:
        settings, loaded = self._settings, self._loaded
        names = (settings.name, *(adapter.name for adapter in settings.adapters))
        board, readiness = Board(names), Readiness(names, gated=bool(settings.gate))
        backend, embeds, top = loaded.backend, loaded.embeds, loaded.top
        prober = Prober(
            backend, board, readiness,
            base=settings.name, adapters=settings.adapters, embeds=embeds, top=top,
            gate=Gate(settings.gate, backend, board, readiness, seconds=settings.answer_seconds),
        )  # fmt: skip
        changes = Changes(self._start, backend, board, readiness, prober) if self._start else None
        watch = Watch(
            backend, board, readiness, prober,
            tell=self._progress, stall_seconds=settings.stall_seconds, load_seconds=self._load_seconds,
            also=self._also, changes=changes,
        )  # fmt: skip
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        server = _Server(self._config(App(backend, board, readiness, key=self._key, embeds=embeds)))
        running = [asyncio.ensure_future(server.serve(sockets=[listening])), asyncio.ensure_future(watch.run())]
        following = asyncio.ensure_future(changes.run()) if changes else None
        try:
            await self._until_end(server, running, stop, readiness)
        finally:
            if following is not None:
                following.cancel()
            self._progress(watch.state())

    def _config(self, app: App) -> uvicorn.Config:
        return uvicorn.Config(
            app, loop="asyncio", http=bounded(AutoHTTPProtocol), ws="none", lifespan="off", access_log=False,
            log_level="warning", server_header=False, timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )  # fmt: skip

    async def _until_end(
        self, server: _Server, running: list[asyncio.Future[None]], stop: asyncio.Event, readiness: Readiness
    ) -> None:
        served, watched = running
        waits = [asyncio.ensure_future(event.wait()) for event in (stop, readiness.broken)]
        everything: list[asyncio.Future[Any]] = [*running, *waits]
        await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        for ended in (served, watched):
            if ended.done():
                ended.result()  # what nobody foresaw
        if readiness.healthy and stop.is_set():
            await self._drain(server, served, readiness)
        if readiness.cause is not None:
            if readiness.cause is not GATE_FAILED:  # then no client was ever sent here
                await asyncio.sleep(self._settings.drain_seconds)  # requests still come: tell them
            raise task.Refused(readiness.cause, readiness.failure)

    async def _drain(self, server: _Server, served: asyncio.Future[None], readiness: Readiness) -> None:
        """Not ready, and on for as long as others take to learn of it; then no more requests, and all answers."""
        settings = self._settings
        was_ready, readiness.draining = readiness.ready, True
        if was_ready:
            _say(f"stopping: requests are taken for {settings.drain_seconds:g} s more")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(readiness.broken.wait(), settings.drain_seconds)
        if readiness.cause is not None:
            return
        _say("the port is closed, answers in flight are finished")
        server.should_exit = True
        done, _ = await asyncio.wait([served], timeout=settings.answer_seconds)
        if not done:
            _say(f"answers took longer than {settings.answer_seconds:g} s, they are given up")
            readiness.fail(ENGINE_DEAD, "the server stops, and the answer took too long")
            readiness.cause = None  # it was asked to end
            await asyncio.wait([served], timeout=LAST_SECONDS)


def _say(text: str) -> None:
    sys.stdout.write(f"swiftop: {text}\n")
    sys.stdout.flush()
