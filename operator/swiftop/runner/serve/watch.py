"""Once in a while: does the engine live, is a question of our own due, and what does PID 1 have to know?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Optional

from ..report import DRAINING, LOADING, NOT_READY, READY
from .backend import Backend
from .board import FAILED, Board
from .causes import ENGINE_STALLED
from .changes import Changes
from .prober import Prober
from .readiness import Readiness

CHECK_SECONDS = 0.5
TELL_SECONDS = 1.0
IDLE_SECONDS = 30.0  # between two tokens that nobody asked for
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Watch:
    """A task of the guard's loop."""

    def __init__(
        self,
        backend: Backend,
        board: Board,
        readiness: Readiness,
        prober: Prober,
        *,
        tell: Callable[[Mapping[str, Any]], None],
        stall_seconds: float,
        load_seconds: float,
        also: Mapping[str, Any] = _NOTHING,
        changes: Optional[Changes] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._board = board
        self._readiness = readiness
        self._prober = prober
        self._tell = tell
        self._stall_seconds = stall_seconds
        self._idle_seconds = min(IDLE_SECONDS, stall_seconds / 2)
        self._load_seconds = load_seconds
        self._also = also  # members that do not change
        self._changes = changes
        self._clock = clock
        self._probe: Optional[asyncio.Task[None]] = None
        self._look: Optional[asyncio.Task[None]] = None
        self._next_tell = 0.0

    async def run(self) -> None:
        """For ever."""
        self._probe = asyncio.ensure_future(self._prober.check_all())
        while True:
            self.check()
            await asyncio.sleep(CHECK_SECONDS)

    def check(self) -> None:
        """One look."""
        if self._look is None or self._look.done():
            if self._look is not None:
                self._look.result()  # what nobody foresaw
            self._look = asyncio.ensure_future(self._backend.look(self._board))
        dead = self._backend.dead()
        if dead is not None:
            self._readiness.engine_died(dead)
        silent = self._board.silent_seconds
        if silent > self._stall_seconds:
            count = len(self._board.calls)
            self._readiness.fail(ENGINE_STALLED, f"{count} request(s) in flight, and no token for {silent:.0f} s")
        if self._probe_due():
            self._probe = asyncio.ensure_future(self._prober.check_next())
        now = self._clock()
        if now >= self._next_tell:
            self._next_tell = now + TELL_SECONDS
            self._tell(self.state())

    def _probe_due(self) -> bool:
        """Also while there are requests: each may fail, and only an answer shows that the engine can give one."""
        if self._probe is None or not self._probe.done() or self._readiness.draining or not self._readiness.healthy:
            return False
        return self._clock() - self._board.last_token >= self._idle_seconds

    def state(self) -> dict[str, Any]:
        """Members of ``report.SERVING``."""
        board, readiness = self._board, self._readiness
        bad, (word, _) = next(iter(readiness.bad.items()), (None, (None, "")))
        return {
            "updated": int(time.time()),
            "phase": self._phase,
            "names": len(readiness.names),
            "answering": len(readiness.answering),
            "requests": board.requests(),
            "failedRequests": board.requests(FAILED),
            "inFlight": len(board.clients()),
            "queued": board.queued(),
            "tokens": board.tokens(),
            "tokensPerSecond": round(board.tokens_per_second, 2),
            "firstTokenSeconds": board.first_token_seconds,
            "loadSeconds": round(self._load_seconds, 1),
            "adapters": self._changes.digest if self._changes else None,
            "badAdapter": bad,
            "badAdapterWhy": word,
            **self._also,
        }

    @property
    def _phase(self) -> int:
        readiness = self._readiness
        if readiness.draining:
            return DRAINING
        if readiness.ready:
            return READY
        checking = readiness.healthy and not readiness.bad and not (readiness.all_answer and readiness.passed)
        return LOADING if checking else NOT_READY
