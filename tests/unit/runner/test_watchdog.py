"""When a running training is ended."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.runner.watchdog import FLUSHING, NAN_LINES, NOT_A_NUMBER, STALLED, Watchdog


def ask(dog: Watchdog, now: float, **facts: Any) -> str | None:
    return dog.verdict(now, **{"seconds_per_step": 1.0, "nan_lines": 0, "stopping": False, **facts})


def test_the_clock_starts_with_the_first_logged_step() -> None:
    dog = Watchdog(60, 1, 300)
    assert ask(dog, 1e6) is None
    dog.sign_of_life(100)
    assert ask(dog, 159) is None
    assert ask(dog, 160) == STALLED
    assert ask(dog, 160, stopping=True) is None
    dog.sign_of_life(150)
    assert ask(dog, 160) is None


@pytest.mark.parametrize(("steps", "speed", "limit"), [(1, 1.0, 60), (10, 2.0, 100), (10, None, 60)])
def test_slow_steps_are_not_a_stall(steps: int, speed: float | None, limit: float) -> None:
    assert Watchdog(60, steps, 300).limit(speed) == limit


def test_nothing_is_watched_without_a_limit() -> None:
    dog = Watchdog(None, 1, 300)
    dog.sign_of_life(0)
    assert ask(dog, 1e9) is None


def test_an_upload_without_end_is_cut_off_after_the_summary() -> None:
    dog = Watchdog(60, 1, 300)
    dog.sign_of_life(0)
    dog.summary(50)
    dog.summary(200)
    assert ask(dog, 349) is None
    assert ask(dog, 350) == FLUSHING
    assert ask(dog, 65, stopping=True) == FLUSHING


def test_a_lost_loss_ends_the_run() -> None:
    dog = Watchdog(None, 1, 300)
    assert ask(dog, 0, nan_lines=NAN_LINES - 1) is None
    assert ask(dog, 0, nan_lines=NAN_LINES) == NOT_A_NUMBER
