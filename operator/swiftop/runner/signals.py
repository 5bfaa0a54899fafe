"""The runner's signals."""

from __future__ import annotations

import contextlib
import queue
import signal
import time


class Stopped(Exception):
    """The pod was asked to stop."""


class Signals:
    """Signals as a queue. A handler may fill a ``SimpleQueue`` while the main thread waits on it, and no other."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.stop_requested = False

    def install(self) -> None:
        """PID 1 ignores every signal that it has no handler for."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda number, _frame: self._queue.put(number))

    def wait(self, seconds: float) -> bool:
        """Sleep until a signal or the time is over; whether a stop was asked for just now."""
        asked = False
        with contextlib.suppress(queue.Empty):
            number = self._queue.get(timeout=seconds) if seconds > 0 else self._queue.get_nowait()
            while True:
                asked = asked or number in (signal.SIGTERM, signal.SIGINT)
                number = self._queue.get_nowait()  # in Python 3.9 a timeout of 0 may wait for ever
        self.stop_requested = self.stop_requested or asked
        return asked

    def pause(self, seconds: float) -> None:
        """Sleep during the preparation; a request to stop ends it."""
        deadline = time.monotonic() + seconds
        while not self.stop_requested and time.monotonic() < deadline:
            self.wait(deadline - time.monotonic())
        if self.stop_requested:
            raise Stopped
