"""Each execution that is taken away is counted once, whoever tells of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from swiftop.batch.interruptions import Interruption, fruitless, recorded, updated
from swiftop.batch.observe import Observed
from swiftop.model.facts import Outcome
from tests.unit.batch.facts import DONE, FAILED, JOB, LOST, NEW, RUNS, START, at, ended, interruption, rank, said

REPORT = {"phase": 1, "step": 12, "checkpointStep": 10}
TOLD = ended(
    75, disruption="EvictionByEvictionAPI", outcome=Outcome(outcome="interrupted", reason="Interrupted", report=REPORT)
)
SECOND = replace(RUNS, name="b", uid="b")
OF_POD = Interruption(time=at(90), cause="Evicted", pod="a", step=12, kept=10)
OF_REPORT = Interruption(time=at(50), cause="Lost", pod="gone", step=7, kept=5)


def found(
    observed: Observed, known: tuple[Interruption, ...] = (), *, kept: int | None = None, stopped: str = ""
) -> tuple[Interruption, ...]:
    return updated(known, observed, kept=kept, stopped=stopped)


def test_a_pod_that_was_taken_away_tells_how_far_it_was() -> None:
    assert found(Observed(JOB, (TOLD, SECOND))) == (OF_POD,)
    assert found(Observed(FAILED, (TOLD,))) == (OF_POD,)


def test_one_that_left_no_report_had_kept_what_the_status_knows() -> None:
    silent = ended(137, disruption="DeletionByTaintManager", message="")
    expected = Interruption(time=at(90), cause="NodeLost", pod="a", step=None, kept=8)
    assert found(Observed(FAILED, (silent,)), kept=8) == (expected,)


def test_a_pod_that_has_vanished_is_told_of_by_its_successor() -> None:
    assert found(Observed(JOB, (SECOND,), previous=(LOST,))) == (OF_REPORT,)
    interrupted = replace(LOST, reason="Interrupted")
    assert found(Observed(JOB, (SECOND,), previous=(interrupted,))) == (replace(OF_REPORT, cause="Interrupted"),)


def test_each_of_several_pods_that_have_vanished_is_one() -> None:
    """The first was seen to be deleted before its first step, the others by nobody, and all within seconds."""
    early = Interruption(time=at(45), cause="PodDeleted", pod="early")
    ends = (replace(LOST, pod="early", time=int(START + 46)), LOST, replace(LOST, pod="third", time=int(START + 55)))
    expected = (early, OF_REPORT, replace(OF_REPORT, pod="third", time=at(55)))
    assert found(Observed(JOB, (SECOND,), previous=ends), (early,)) == expected
    assert found(Observed(JOB, (SECOND,), previous=ends), expected) == expected


@pytest.mark.parametrize("reason", ["DiskFull", "MaxSteps", "HubUnreachable"])
def test_an_execution_that_failed_by_itself_was_not_taken_away(reason: str) -> None:
    assert found(Observed(JOB, (SECOND,), previous=(replace(LOST, reason=reason),))) == ()
    assert found(Observed(FAILED, (said("failed", reason),))) == ()
    assert found(Observed(JOB, (DONE,))) == ()


def test_each_is_counted_once_whoever_tells_it_and_how_often() -> None:
    once = found(Observed(JOB, (TOLD, SECOND)))
    assert found(Observed(JOB, (TOLD, SECOND)), once) == once
    of_same_pod = replace(LOST, pod="a", reason="Interrupted")
    assert found(Observed(JOB, (SECOND,), previous=(of_same_pod,)), once) == once
    assert found(Observed(JOB, (TOLD, SECOND), previous=(of_same_pod,))) == (OF_POD,)


def test_a_failure_that_a_retry_answers_is_none_whoever_tells_of_it() -> None:
    """The record on the volume may know no more than that the execution before it ended."""
    retry = replace(JOB, uid="j2", attempt=2, retry_of="gone")
    assert found(Observed(retry, (SECOND,), previous=(LOST,))) == ()
    assert found(Observed(replace(retry, retry_of="other"), (SECOND,), previous=(LOST,))) == (OF_REPORT,)


@pytest.mark.parametrize(
    ("told", "failed", "counted"),
    [(95, 100, 1), (4, 130, 2), (-20, 60, 2)],
    ids=["its own pod, before it went", "another one of the same Job", "a pod of the attempt before"],
)
def test_a_job_fails_after_its_pod_was_seen_to_go(told: int, failed: int, counted: int) -> None:
    job = replace(FAILED, created=at(0), finished=at(failed))
    known = (Interruption(time=at(told), cause="PodDeleted", pod="a", step=9, kept=8),)
    assert len(updated(known, Observed(job), kept=8, stopped="")) == counted


def test_pods_that_have_all_vanished_are_one_interruption_under_their_job() -> None:
    expected = Interruption(time=at(100), cause="PodDeleted", pod="j1", kept=8)
    once = found(Observed(FAILED), kept=8)
    assert once == (expected,)
    assert found(Observed(FAILED), once, kept=8) == once
    assert found(Observed(JOB), kept=8) == ()  # no pod yet
    exhausted = replace(FAILED, failure_reason="DeadlineExceeded")
    assert found(Observed(exhausted), kept=8) == ()
    # What the next execution finds on the volume is the same end, when it is about as old.
    second = Observed(replace(JOB, uid="j2", attempt=2), (SECOND,), previous=(LOST,))
    assert found(second, once) == once
    late = replace(expected, time=at(50 + 120))
    assert found(second, (late,)) == (OF_REPORT, late)
    # One whose own pod told of it is another one, however soon the next came.
    assert found(second, (interruption("a", kept=5, seconds=40),)) == (interruption("a", kept=5, seconds=40), OF_REPORT)


def test_what_was_taken_away_before_it_started_has_lost_nothing() -> None:
    """It may be preempted in its queue for a week."""
    waiting = replace(NEW, phase="Failed", disruption="PreemptionByScheduler")
    assert waiting.over
    assert found(Observed(FAILED, (waiting,))) == ()
    assert found(Observed(JOB, (waiting, SECOND))) == ()


def test_they_stand_in_the_order_of_time_and_ten_are_kept() -> None:
    both = found(Observed(JOB, (TOLD, SECOND), previous=(LOST,)))
    assert both == (OF_REPORT, OF_POD)
    many = tuple(replace(interruption(f"p{number}"), time=at(number)) for number in range(10))
    assert found(Observed(JOB, (TOLD, SECOND)), many) == (*many[1:], OF_POD)


def test_what_suspend_stops_is_none() -> None:
    stopping = replace(JOB, deleting=True)
    stopped = said("interrupted", "Interrupted", 75, deleting=at(120))
    assert found(Observed(stopping, (stopped,))) == ()
    # Afterwards only the record tells of it.
    assert found(Observed(JOB, (SECOND,), previous=(LOST,)), stopped=at(50)) == ()
    assert found(Observed(JOB, (SECOND,), previous=(LOST,)), stopped=at(49)) == (OF_REPORT,)


def test_of_several_ranks_there_is_one_for_each_attempt() -> None:
    both = (said("failed", "CollectiveFailed"), rank(TOLD, 1))
    one = replace(OF_POD, pod="a")
    assert found(Observed(JOB, both)) == ()  # its Job has not ended yet
    assert found(Observed(FAILED, both)) == (one,)
    assert found(Observed(FAILED, both), (one,)) == (one,)
    # One that failed by itself ended the attempt, and not the eviction beside it.
    assert found(Observed(FAILED, (said("failed", "DiskFull"), rank(TOLD, 1)))) == ()
    # What the next attempt's rank 0 finds on the volume is the same end.
    second = Observed(replace(JOB, uid="j2", attempt=2), (SECOND, rank(RUNS, 1)), previous=(replace(LOST, pod="a"),))
    assert found(second, (one,)) == (one,)


def test_without_the_pod_of_rank_0_the_next_attempt_tells() -> None:
    assert found(Observed(FAILED, (rank(TOLD, 1), rank(TOLD, 2)))) == ()


@pytest.mark.parametrize(
    ("kept", "count"),
    [
        ((), 0),
        ((None,), 1),
        ((None, None, None), 3),
        ((10,), 0),  # the first that kept something made headway
        ((10, 10), 1),
        ((10, 10, 10, 10), 3),
        ((10, 10, 20), 0),
        ((10, 20, 20, None), 2),  # the one without a report got no further
        ((0, 0, 0), 3),
    ],
)
def test_how_many_of_the_last_got_nowhere(kept: tuple[int | None, ...], count: int) -> None:
    assert fruitless([interruption(f"p{number}", kept=step) for number, step in enumerate(kept)]) == count


@pytest.mark.parametrize(
    ("one", "item"),
    [
        (
            OF_POD,
            {"time": at(90), "cause": "Evicted", "pod": "a", "step": 12, "checkpointStep": 10, "lostSteps": 2},
        ),
        (
            replace(OF_POD, kept=None),
            {"time": at(90), "cause": "Evicted", "pod": "a", "step": 12, "lostSteps": 12},
        ),
        (replace(OF_POD, step=None), {"time": at(90), "cause": "Evicted", "pod": "a", "checkpointStep": 10}),
        (replace(OF_POD, step=10, kept=12), {"time": at(90), "cause": "Evicted", "pod": "a", "step": 10,
                                             "checkpointStep": 12, "lostSteps": 0}),
    ],
)  # fmt: skip
def test_an_item_of_the_status_is_read_back_as_it_was(one: Interruption, item: dict[str, object]) -> None:
    assert one.to_status() == item
    assert recorded([item]) == (one,)


def test_times_of_a_report_are_those_of_the_status() -> None:
    assert LOST.time == START + 50
