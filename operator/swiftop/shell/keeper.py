"""A thread for the Lease alone, with an event loop and a connection of its own.

What all others write is worked on in one event loop, and the Lease must not wait for any of it: a leader that is busy
for a moment would lose it, and so would its successor. In turn a leader whose loop stands still for long leads nobody,
and ends, so that another may act.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, TypeVar

import uvloop

log = logging.getLogger(__name__)

T = TypeVar("T")

_BEAT = 1.0  # seconds between two signs of life of the loop that works
_STANDSTILL = 60.0  # seconds without one


class Standstill(Exception):
    """The loop that works has stood still for too long."""


class Kept(Protocol):
    """What is kept: `swiftop.shell.lease.Lease`."""

    async def keep(self) -> None:
        """Renew until cancelled; raises when it is lost."""
        ...


class Keeper:
    """The thread. Entered and left in the loop that works."""

    def __init__(self, lost: Callable[[BaseException], None], *, standstill: float = _STANDSTILL) -> None:
        """``lost`` is called with what ended the renewals: in the thread, but for the end of the thread itself."""
        self._lost = lost
        self._standstill = standstill
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lease", daemon=True)
        self._keeping: asyncio.Task[None] | None = None  # of the thread's loop
        self._beating: asyncio.Task[None] | None = None  # of the loop that works
        self._beat = 0.0

    async def __aenter__(self) -> Keeper:
        self._thread.start()
        self._beat = time.monotonic()
        self._beating = asyncio.create_task(self._go_on_beating(), name="beat")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._beating is not None:
            self._beating.cancel()
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join)
        self._loop.close()

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something in the thread and wait for it here."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    async def keep(self, lease: Kept) -> None:
        """Begin to renew."""

        async def begin() -> None:
            self._keeping = asyncio.create_task(self._keep(lease), name="lease")

        await self.run(begin())

    async def cease(self) -> None:
        """End the renewals; when this returns, none is on its way."""

        async def end() -> None:
            if self._keeping is not None:
                self._keeping.cancel()
                with suppress(asyncio.CancelledError):
                    await self._keeping

        await self.run(end())

    async def _keep(self, lease: Kept) -> None:
        keeping, watching = asyncio.ensure_future(lease.keep()), asyncio.ensure_future(self._watch())
        try:
            done, _ = await asyncio.wait({keeping, watching}, return_when=asyncio.FIRST_COMPLETED)
            error = next(iter(done)).exception()
            self._lost(error or RuntimeError("the renewals ended by themselves"))
        finally:
            keeping.cancel()
            watching.cancel()
            await asyncio.gather(keeping, watching, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_BEAT)
            silent = time.monotonic() - self._beat
            if silent > self._standstill:
                raise Standstill(f"nothing was worked on for {silent:.0f} s")

    async def _go_on_beating(self) -> None:
        while True:
            self._beat = time.monotonic()
            if not self._thread.is_alive():  # nothing is renewed, and nothing that is run there would ever return
                return self._lost(RuntimeError("the thread of the Lease has ended by itself"))
            await asyncio.sleep(_BEAT)
