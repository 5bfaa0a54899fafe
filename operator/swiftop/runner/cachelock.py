"""Download a model once when several pods start on one cache.

A pod that loads from a hub holds a lock per model and dataset, in the cache itself, from its start until everything is
loaded. Once that has succeeded a mark beside the lock lets later pods start at once and together: the hub's client
then finds its files. Local paths need no lock. Locks that the file system does not know, or that are held too long,
are gone without: a duplicate download is a waste, a run that does not start is a failure.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Optional

from .program import Context

WAIT_SECONDS = 1800.0


class CacheLock:
    """The locks of one pod."""

    def __init__(self, cache_dir: Path, names: tuple[str, ...]) -> None:
        self._directory = cache_dir / ".swiftop"
        self._names = names
        self._held: list[int] = []

    def acquire(
        self,
        *,
        stop: Callable[[], bool],
        sleep: Callable[[float], object] = time.sleep,
        seconds: float = WAIT_SECONDS,
    ) -> Optional[str]:
        """Take the locks of what is not loaded yet. Returns why it went on without one, None when all is well."""
        deadline = time.monotonic() + seconds
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            for name in self._names:
                if not self._loaded(name).exists() and not self._take(name, deadline, stop, sleep):
                    return "the lock is held by another run for too long"
        except OSError as error:
            return f"{type(error).__name__}: {error.strerror or error}"
        return None

    def _take(self, name: str, deadline: float, stop: Callable[[], bool], sleep: Callable[[float], object]) -> bool:
        file = os.open(self._directory / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if stop() or time.monotonic() >= deadline:
                    os.close(file)
                    return False
                sleep(1)
            except OSError:
                os.close(file)
                raise
            else:
                if self._loaded(name).exists():
                    os.close(file)  # several waited for one: they start together, not one after the other
                else:
                    self._held.append(file)
                return True

    def release(self, *, loaded: bool) -> None:
        """Let the others go on; ``loaded`` tells them that the files are there."""
        if loaded and self._held:
            with contextlib.suppress(OSError):
                for name in self._names:
                    self._loaded(name).touch()
        while self._held:
            with contextlib.suppress(OSError):
                os.close(self._held.pop())

    def _loaded(self, name: str) -> Path:
        return self._directory / f"{name}.loaded"


class Loading:
    """What a program loads from a hub, locked from before the process that does it until it has."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock: Optional[CacheLock] = None

    @property
    def locked(self) -> bool:
        """Whether others may wait for it."""
        return self._lock is not None

    def begin(self) -> None:
        """Wait until nobody else loads the same. On other nodes than the first, node 0 has done so."""
        plan, signals = self._context.plan, self._context.signals
        if not plan.cache_dir or not plan.cache_keys or self._context.rank != 0:
            return
        waits = 0

        def wait(seconds: float) -> None:
            nonlocal waits
            waits += 1
            if waits == 1:
                self._context.output.say("swiftop: waiting for another pod, which loads the same into the cache")
            signals.pause(seconds)

        self._lock = CacheLock(Path(plan.cache_dir), plan.cache_keys)
        trouble = self._lock.acquire(stop=lambda: signals.stop_requested, sleep=wait)
        if trouble:
            self._context.output.say(f"swiftop: no lock on the cache, going on without: {trouble}")

    def end(self, *, loaded: bool) -> None:
        """All is loaded, or nothing more will be."""
        if self._lock is not None:
            self._lock.release(loaded=loaded)
            self._lock = None
