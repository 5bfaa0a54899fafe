"""The time that is left follows from what was done since a step was first seen."""

from __future__ import annotations

from typing import Any

from swiftop.runner.pace import SOONEST, Pace


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def told(done: object, total: object = 1000, **more: object) -> dict[str, Any]:
    return {"bytesDone": done, "bytesTotal": total, **more}


def test_the_pace_so_far_tells_what_is_left() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.of("push", told(200)) == told(200)  # 200 were there before
    clock.now += 10
    assert pace.of("push", told(300)) == told(300, etaSeconds=70)
    clock.now += 10
    assert pace.of("push", told(300)) == told(300, etaSeconds=140)  # nothing comes: it takes longer
    assert pace.of("push", told(1000)) == told(1000, etaSeconds=0)


def test_it_begins_anew_with_each_step_and_when_something_is_done_again() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.of("verify", told(0, phase="Verifying"))
    clock.now += 10
    assert "etaSeconds" in pace.of("verify", told(500, phase="Verifying"))
    assert "etaSeconds" not in pace.of("verify", told(500, phase="Hashing"))
    assert "etaSeconds" not in pace.of("push", told(500, phase="Hashing"))
    clock.now += 10
    assert "etaSeconds" not in pace.of("push", told(100, phase="Hashing"))


def test_nothing_is_told_too_soon_or_of_a_step_that_does_not_tell() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.of("push", told(0))
    clock.now += SOONEST / 2
    assert "etaSeconds" not in pace.of("push", told(999))
    assert pace.of("push", {}) == told(None, None)
    clock.now += 100
    assert "etaSeconds" not in Pace(clock).of("push", told(0))
