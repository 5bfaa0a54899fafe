"""Which failures are tried again, and for how long."""

from __future__ import annotations

import pytest

from swiftop.runner.hub import failure
from swiftop.runner.hub.failure import Failure, Patience, by_status, of_library


class Clock:
    """Counts what would be waited for."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def patience(self, *, attempts: int = 4, left: float = 900.0) -> Patience:
        return Patience(attempts, 1.0, left, self.waits.append)


def failing(*failures: Failure) -> tuple[Clock, list[Failure]]:
    return Clock(), list(failures)


def attempt(left: list[Failure]) -> str:
    if left:
        raise left.pop(0)
    return "done"


@pytest.mark.parametrize(
    ("status", "reason", "may_pass"),
    [
        (401, "HubAuthFailed", False),
        (403, "HubForbidden", False),
        (404, "HubRefused", False),
        (400, "HubRefused", False),
        (413, "HubRefused", False),
        (409, "PushConflict", True),
        (412, "PushConflict", True),
        (429, "HubUnreachable", True),
        (500, "HubUnreachable", True),
        (503, "HubUnreachable", True),
    ],
)
def test_a_status_has_its_cause(status: int, reason: str, may_pass: bool) -> None:
    found = by_status(status, "x")
    assert (found.cause.reason, found.may_pass) == (reason, may_pass)


def test_what_may_pass_is_tried_again_with_longer_waits() -> None:
    clock, left = failing(by_status(500, "a"), by_status(502, "b"), by_status(409, "c"))
    assert clock.patience().call(lambda: attempt(left)) == "done"
    assert clock.waits == [1, 2, 4]


def test_what_does_not_pass_is_told_at_once() -> None:
    clock, left = failing(by_status(403, "no"))
    with pytest.raises(Failure, match="no"):
        clock.patience().call(lambda: attempt(left))
    assert clock.waits == []


def test_attempts_are_bounded() -> None:
    clock, left = failing(*(by_status(500, str(number)) for number in range(9)))
    with pytest.raises(Failure, match="3"):
        clock.patience().call(lambda: attempt(left))
    assert clock.waits == [1, 2, 4]


def test_the_hub_says_how_long_to_wait() -> None:
    clock, left = failing(by_status(429, "a", "17"), by_status(429, "b", "7200"), by_status(429, "c", "tomorrow"))
    assert clock.patience().call(lambda: attempt(left)) == "done"
    assert clock.waits == [17, failure.LONGEST_WAIT, 4]


def test_patience_is_one_for_all_steps() -> None:
    clock = Clock()
    patience = clock.patience(left=20.0)
    first, second = [by_status(429, "a", "15")], [by_status(429, "b", "15")]
    assert patience.call(lambda: attempt(first)) == "done"
    with pytest.raises(Failure, match="b"):
        patience.call(lambda: attempt(second))
    assert clock.waits == [15]


def test_a_library_under_the_client_is_known_by_its_errors() -> None:
    made = type("ConnectTimeout", (OSError,), {"__module__": "requests.exceptions"})
    found = failure.of_library(made("no\n answer"))
    assert found is not None
    assert (found.kind, str(found)) == (failure.UNREACHABLE, "no answer")
    assert failure.of_library(FileNotFoundError("x")) is None


def test_a_wait_that_is_no_number_is_our_own() -> None:
    clock, left = failing(by_status(503, "a", "nan"), by_status(503, "b", "inf"))
    assert clock.patience().call(lambda: attempt(left)) == "done"
    assert clock.waits == [1, 300]


@pytest.mark.parametrize("error", [KeyError("Path"), TypeError("unhashable"), ValueError("x"), AttributeError("get")])
def test_an_answer_of_another_form_is_the_hub_s_fault(error: Exception) -> None:
    found = of_library(error)
    assert found is not None
    assert (found.cause.reason, found.may_pass) == ("HubRefused", False)
    assert str(found).startswith(f"its answer is not what was expected ({type(error).__name__}: ")
