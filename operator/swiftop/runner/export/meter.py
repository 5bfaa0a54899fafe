"""How far a task is, told once a second at most: each time is a file that is written through to the disk."""

from __future__ import annotations

import time

from ..task import Progress

PAUSE = 1.0


class Meter:
    """Counts the bytes of one phase."""

    def __init__(self, progress: Progress, phase: str, total: int) -> None:
        self._progress, self._phase, self._total = progress, phase, total
        self._done = 0
        self._told = time.monotonic()
        self._tell()

    def add(self, count: int) -> None:
        """So many bytes more are done."""
        self._done += count
        if time.monotonic() - self._told >= PAUSE or self._done >= self._total:
            self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        self._progress({"phase": self._phase, "bytesDone": self._done, "bytesTotal": self._total})
