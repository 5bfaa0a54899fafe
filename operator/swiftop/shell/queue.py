"""Keyed work queue: the level-triggered heart of the operator.

A key stands for "reconcile this object", never for an event, so adding it twice is adding it once. One key is with one
worker at most; what is added meanwhile runs once more afterwards. Groups of keys take turns (`line`).
kopf's own queueing is not used for this: its worker limit holds a slot for seconds after the last event, and its
handlers are never retried.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from swiftop.errors import Conflict, Transient
from swiftop.shell.line import Line

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Growing pauses with jitter, so that a thousand keys that failed together do not come back together."""

    first: float = 1.0
    first_after_conflict: float = 0.05  # the watch event that makes the read fresh again is already on its way
    longest: float = 300.0
    jitter: float = 0.5

    def pause(self, error: Exception, *, failures: int, chance: float) -> float:
        """Seconds until the next try after ``failures`` failures in a row; ``chance`` is a random number in [0, 1)."""
        first: float = self.first_after_conflict if isinstance(error, Conflict) else self.first
        # Past 2**16 every first pause is over the longest one; the cap keeps the power a small number.
        pause: float = min(first * 2.0 ** min(failures - 1, 16), self.longest)
        return pause * (1 - self.jitter * chance)


@dataclass(frozen=True, slots=True)
class _Failures:
    """Failures of a key in a row, and how many of the last ones were errors of one class."""

    count: int
    error: type[Exception]
    alike: int


Handler = Callable[[K], Awaitable[float | None]]
Failed = Callable[[K, Exception, int], Awaitable[None]]


async def _nobody(_key: Hashable, _error: Exception, _failures: int) -> None:
    pass


class Queue(Generic[K]):
    """Deduplicating queue with delayed adds and retries; single event loop, whose clock it reads."""

    def __init__(
        self,
        *,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
        waited: Callable[[float], None] = lambda _: None,
        group: Callable[[K], Hashable] = lambda _: None,
    ) -> None:
        """``waited`` is told how long each key stood in line, in seconds; keys of one ``group`` delay no other's."""
        self._backoff = backoff or Backoff()
        self._chance = chance
        self._waited = waited
        self._line = Line(group)
        # One at a time for the next worker. Whoever takes a key calls the next one, until one finds that no group may
        # have more in work, and so does whoever is done with a key: how many may be in work changes with the lag.
        self._calls: asyncio.Queue[None] = asyncio.Queue()
        self._ready: dict[K, float] = {}  # key -> since when; insertion order is age
        self._working: dict[K, float] = {}
        self._again: dict[K, float] = {}  # added while being worked on
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, _Failures] = {}
        self._advanced = 0.0  # when a key was last finished, or the line last began
        self._stopping = False

    def add(self, key: K) -> None:
        """Reconcile ``key`` as soon as a worker is free. A later delayed add of the same key is dropped: this is it."""
        if self._stopping:
            return
        self._cancel_timer(key)
        now = asyncio.get_running_loop().time()
        if key in self._working:
            self._again.setdefault(key, now)
        elif key not in self._ready:
            if not self._ready:
                self._advanced = now
            self._ready[key] = now
            self._line.put(key)
            self._call()

    def add_after(self, key: K, seconds: float) -> None:
        """Reconcile ``key`` in ``seconds``; of several delayed adds the earliest counts."""
        if self._stopping or key in self._ready or key in self._again:
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= when:
            return
        self._cancel_timer(key)
        self._timers[key] = loop.call_at(when, self.add, key)

    def answered(self, seconds: float) -> None:
        """The API server took so long to read one object: where that is long, a group has fewer keys in work."""
        self._line.answered(seconds)

    @property
    def depth(self) -> int:
        """Keys that stand in line."""
        return len(self._ready)

    def oldest(self) -> float:
        """Seconds that the oldest key has been in line or with a worker: grows without end when something hangs."""
        since = [next(iter(times.values())) for times in (self._ready, self._working) if times]
        return asyncio.get_running_loop().time() - min(since) if since else 0.0

    def stuck(self) -> float:
        """Seconds that one key has been in work, or that the line has not advanced: small however long the line is."""
        now = asyncio.get_running_loop().time()
        longest = now - next(iter(self._working.values())) if self._working else 0.0
        return max(longest, now - self._advanced if self._ready else 0.0)

    async def run(self, handler: Handler[K], *, workers: int, failed: Failed[K] = _nobody) -> None:
        """Work until ``stop``. The handler returns the seconds after which to requeue the key, or None.

        ``failed`` is told each failed try with the number of errors of the same class in a row, this one included,
        while the key is still in work; what it raises is logged and changes nothing.
        """
        self._line.workers = workers
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(self._work(handler, failed), name=f"worker-{number}")

    def stop(self) -> None:
        """Take no more keys; ``run`` returns when those in work are done. The next start finds the rest again."""
        self._stopping = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._calls.put_nowait(None)

    def _call(self) -> None:
        if self._ready and self._calls.empty():
            self._calls.put_nowait(None)

    async def _work(self, handler: Handler[K], failed: Failed[K]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._calls.get()
            if self._stopping:
                self._calls.put_nowait(None)  # pass it on to the next worker
                return
            if (key := self._line.take()) is not None:
                await self._work_on(key, handler, failed)
                self._line.done(key)
                self._call()
            # A handler that had nothing to wait for never gave way, and a long line would keep all else from its turn.
            paused = loop.time()
            await asyncio.sleep(0)
            self._line.turned(loop.time() - paused)

    async def _work_on(self, key: K, handler: Handler[K], failed: Failed[K]) -> None:
        loop = asyncio.get_running_loop()
        self._waited(loop.time() - self._ready.pop(key))
        self._call()
        self._working[key] = loop.time()
        try:
            pause = await handler(key)
        except Exception as error:  # the one place that may not die with a key
            pause = self._failed(key, error)
            try:
                await failed(key, error, self._failures[key].alike)
            except Exception:
                log.exception("%s: its failures were not reported", key)
        else:
            self._failures.pop(key, None)
        del self._working[key]
        self._advanced = loop.time()
        if self._again.pop(key, None) is not None:
            self.add(key)
        elif pause is not None:
            self.add_after(key, pause)

    def _failed(self, key: K, error: Exception) -> float:
        last, kind = self._failures.get(key), type(error)
        alike = last.alike + 1 if last and last.error is kind else 1
        self._failures[key] = _Failures((last.count if last else 0) + 1, kind, alike)
        pause = self._backoff.pause(error, failures=self._failures[key].count, chance=self._chance())
        if isinstance(error, Conflict):
            log.debug("%s: stale read, again in %.2f s", key, pause)
        elif isinstance(error, Transient):
            log.warning("%s: %s; again in %.1f s", key, error, pause)
        else:
            log.error("%s: unexpected error; again in %.1f s", key, pause, exc_info=error)
        return pause

    def _cancel_timer(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
