"""When a running training is ended."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.runner.train.watchdog import FLUSHING, NAN_LINES, NOT_A_NUMBER, STALLED, Watchdog


def ask(dog: Watchdog, now: float, **facts: Any) -> str | None:
    return dog.problem(now, **{"seconds_per_step": 1.0, "nan_lines": 0, "stopping": False, **facts})


def test_the_clock_starts_with_the_first_logged_step() -> None:
    dog = Watchdog(60, 1, 300)
    assert ask(dog, 1e6) is None
    dog.sign_of_life(100)
    assert ask(dog, 159) is None
    assert ask(dog, 160) == STALLED
    assert ask(dog, 160, stopping=True) is None
    dog.sign_of_life(150)
    assert ask(dog, 160) is None


@pytest.mark.parametrize(
    ("steps", "speed", "limit"),
    [(1, 1.0, 60), (10, 2.0, 100), (5, 60.0, 1500), (10, None, None), (None, 2.0, None)],
)
def test_slow_steps_are_not_a_stall(steps: int | None, speed: float | None, limit: float | None) -> None:
    assert Watchdog(60, steps, 300).limit(speed) == limit


def test_a_healthy_training_of_slow_steps_lives() -> None:
    """ms-swift 3.7 with its default of five steps between two lines, a minute each."""
    dog = Watchdog(60, 5, 300)
    for now in range(0, 3600, 300):
        dog.sign_of_life(now)
        assert [ask(dog, now + later, seconds_per_step=60.0) for later in (1, 150, 299, 301)] == [None] * 4
    assert ask(dog, 3300 + 1501, seconds_per_step=60.0) == STALLED


def test_the_limit_stays_above_a_silence_that_was_survived() -> None:
    dog = Watchdog(60, None, 300)
    dog.sign_of_life(0)
    assert ask(dog, 1000) is None
    dog.sign_of_life(1000)
    assert ask(dog, 1000 + 1999) is None
    assert ask(dog, 1000 + 2000) == STALLED


def test_an_evaluation_without_a_bar_is_waited_for_once() -> None:
    dog = Watchdog(60, 1, 300, silent_evaluation=True)
    dog.sign_of_life(0)
    assert ask(dog, 1e6) is None
    dog.evaluated(400)
    assert ask(dog, 400 + 799) is None
    assert ask(dog, 400 + 800) == STALLED


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


def test_a_preparation_without_any_sign_of_life_stalls() -> None:
    dog = Watchdog(60, 1, 300, silent_evaluation=True)
    dog.preparing(0)
    assert ask(dog, 1799) is None
    dog.preparing(1000)
    assert ask(dog, 2799) is None
    assert ask(dog, 2800) == STALLED
    assert ask(dog, 2800, stopping=True) is None
    dog.sign_of_life(2800)  # from the first step on its own rules hold
    assert ask(dog, 1e6) is None


def test_the_patience_before_the_first_step() -> None:
    assert Watchdog(7200, 1, 300).preparation_limit == 7200
    unwatched = Watchdog(None, 1, 300)
    unwatched.preparing(0)
    assert ask(unwatched, 1e6) is None
