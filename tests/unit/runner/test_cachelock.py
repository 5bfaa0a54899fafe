"""One run downloads, the others wait for it, nobody waits in vain."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from swiftop.runner.cachelock import CacheLock


def never() -> bool:
    return False


def no_sleep(_: float) -> None:
    pytest.fail("waited")


def test_the_others_go_on_together_when_the_first_has_loaded(tmp_path: Path) -> None:
    first, second, third = (CacheLock(tmp_path, ("m",)) for _ in range(3))
    assert first.acquire(stop=never, sleep=no_sleep) is None
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            first.release(loaded=True)

    assert second.acquire(stop=never, sleep=wait) is None
    assert len(waits) == 2
    assert third.acquire(stop=never, sleep=no_sleep) is None


def test_a_failed_download_passes_the_lock_on(tmp_path: Path) -> None:
    first, second, third = (CacheLock(tmp_path, ("m",)) for _ in range(3))
    first.acquire(stop=never)
    first.release(loaded=False)
    assert second.acquire(stop=never, sleep=no_sleep) is None
    assert third.acquire(stop=never, sleep=lambda _: None, seconds=0) == "the lock is held by another run for too long"


def test_a_request_to_stop_ends_the_wait(tmp_path: Path) -> None:
    first = CacheLock(tmp_path, ("m",))
    first.acquire(stop=never)
    assert CacheLock(tmp_path, ("m",)).acquire(stop=lambda: True, sleep=no_sleep) is not None
    first.release(loaded=False)


def test_a_file_system_without_locks_is_gone_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert CacheLock(tmp_path, ("m",)).acquire(stop=never) == "OSError: No locks available"


def test_a_cache_that_cannot_be_written_is_gone_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert CacheLock(tmp_path / "file", ("m",)).acquire(stop=never) is not None
