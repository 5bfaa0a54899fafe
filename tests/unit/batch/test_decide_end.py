"""Decisions at the end of an attempt: the end of the object, a retry, no progress. Verdicts compared whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from swiftop.batch.observe import Observed
from swiftop.batch.situation import Policy
from swiftop.model.facts import Cause, JobFacts, Outcome, PodFacts
from swiftop.model.verdict import (
    Blocked,
    Create,
    Failed,
    Finished,
    Outlook,
    Phase,
    Verdict,
    Waiting,
)
from tests.unit.batch.facts import (
    ADVICE,
    COMPLETE,
    DONE,
    EVICTED,
    FAILED,
    JOB,
    JOB_CREATED,
    KEPT,
    NETWORK,
    PLACED,
    RUNS,
    THREE,
    at,
    ended,
    interruption,
    said,
    verdict,
    waits,
)

# The end


@pytest.mark.parametrize(
    ("pods", "outlook"),
    [
        ((), Finished("Finished", "it is finished")),
        ((RUNS,), Finished("Finished", "it is finished")),  # the watch of pods is behind
        ((DONE,), Finished("Finished", "it is finished")),
        ((said("finished", "EarlyStopped"),), Finished("EarlyStopped", "in its words")),
        (
            (said("failed", "DiskFull"), said("finished", "MaxSteps", name="b", uid="b")),
            Finished("MaxSteps", "in its words"),
        ),
        ((said("interrupted", "Interrupted"),), Finished("Finished", "it is finished")),
    ],
)
def test_a_complete_job_is_a_finished_run(pods: tuple[PodFacts, ...], outlook: Outlook) -> None:
    assert verdict(Observed(COMPLETE, pods), started=at(10)) == Verdict(outlook)


@pytest.mark.parametrize("reason", ["CUDAOutOfMemory", "DatasetFormat", "InvalidArguments", "DiskFull", "Unknown"])
def test_what_would_happen_again_ends_the_run_at_once(reason: str) -> None:
    found = verdict(Observed(FAILED, (said("failed", reason),)), started=at(10)).outlook
    assert isinstance(found, Failed)
    assert (found.cause.reason, found.cause.message) == (reason, "in its words")


def test_a_cause_without_advice_of_its_own_gets_that_of_its_kind() -> None:
    observed = Observed(replace(FAILED, failure_message="too many"), (RUNS,))
    assert verdict(observed, started=at(10)) == Verdict(Failed(Cause("Failed", "too many", ADVICE)))
    kept = verdict(observed, started=at(10), output=True)
    assert kept == Verdict(Failed(Cause("Failed", "too many", KEPT)))


def test_a_job_that_failed_beside_work_that_is_done_is_a_finished_run() -> None:
    """As when its deadline came between the end of the work and the Job controller's word on it."""
    found = verdict(Observed(replace(FAILED, failure_reason="DeadlineExceeded"), (DONE,)), started=at(10))
    assert found == Verdict(Finished("Finished", "it is finished"))


# Retries


def retried(number: int, *, job: JobFacts = FAILED, now: float, **policy: Any) -> Verdict:
    job = replace(job, attempt=number + 1, retries=number)
    return verdict(
        Observed(job, (NETWORK,)), now=now, policy=Policy(**policy), started=at(10), attempts=number + 1, gpu_seconds=70
    )


@pytest.mark.parametrize(("number", "pause"), [(0, 10), (1, 20), (2, 40), (5, 300), (9, 300)])
def test_a_failure_that_may_pass_is_retried_after_growing_pauses(number: int, pause: int) -> None:
    found = retried(number, now=103, max_retries=10)  # the Job failed at second 100
    assert isinstance(found.outlook, Waiting)
    assert found.outlook.failed is not None
    assert found.outlook.failed.reason == "HubUnreachable"
    assert found.outlook.cause.reason == "HubUnreachable"
    assert found.outlook.cause.message == (
        f"in its words; attempt {number + 2} follows in {pause} s (retry {number + 1} of 10)"
    )
    assert (found.outlook.phase, found.outlook.resuming) == (Phase.PENDING, True)
    create = Create(number + 2, retries=number + 1, gpu_seconds=70, retry_of="a")
    assert (found.actions, found.requeue_after, found.poll, found.following) == ((), pause - 3, None, create)

    due = retried(number, now=100 + pause, max_retries=10)
    assert due == Verdict(waits(Phase.PENDING, JOB_CREATED, resuming=True), (create,))


@pytest.mark.parametrize(("most", "message"), [(3, "in its words (retries used up: 3)"), (0, "in its words")])
def test_after_the_last_retry_it_has_failed(most: int, message: str) -> None:
    found = retried(most, now=10_000, max_retries=most).outlook
    assert isinstance(found, Failed)
    assert (found.cause.reason, found.cause.message) == ("HubUnreachable", message)


def test_the_number_of_retries_survives_a_lost_status_write_and_a_lost_job() -> None:
    one = verdict(Observed(replace(FAILED, retries=3), (NETWORK,)), started=at(10), now=500)  # the Job's annotation
    other = verdict(Observed(FAILED, (NETWORK,)), started=at(10), now=500, retries=3)  # the status
    assert isinstance(one.outlook, Failed)
    assert one == other


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (EVICTED, "Evicted"),
        (ended(137, disruption="PreemptionByScheduler"), "Preempted"),
        (ended(137, disruption="DeletionByTaintManager"), "NodeLost"),
        (said("interrupted", "Interrupted", 75), "Interrupted"),
    ],
)
def test_an_interruption_is_followed_at_once_and_counts_as_no_retry(pod: PodFacts, reason: str) -> None:
    job = replace(FAILED, attempt=2, retries=3)
    found = verdict(Observed(job, (pod,)), now=100, policy=Policy(max_retries=3), started=at(10), attempts=2)
    assert found == Verdict(waits(Phase.PENDING, JOB_CREATED, resuming=True), (Create(3, retries=3),)), reason


def test_a_retry_that_is_written_down_is_counted_once_and_not_refused() -> None:
    observed, limit = Observed(FAILED, (NETWORK,)), Policy(max_retries=1)
    found = verdict(observed, policy=limit, started=at(10), now=110, following=2, retries=1)
    assert found.actions == (Create(2, retries=1, retry_of="a"),)
    assert isinstance(verdict(observed, policy=limit, started=at(10), now=110, retries=1).outlook, Failed)


GONE = "its pod was deleted before the end"
NOT_ADMITTED = replace(PLACED, phase="Failed", reason="Evicted")


@pytest.mark.parametrize(("attempt", "pause"), [(1, 10), (2, 20), (3, 40), (6, 300), (5000, 300)])
@pytest.mark.parametrize("pods", [(), (NOT_ADMITTED,)], ids=["vanished", "not admitted"])
def test_what_is_taken_away_before_it_starts_is_followed_after_growing_pauses(
    pods: tuple[PodFacts, ...], attempt: int, pause: int
) -> None:
    job = replace(FAILED, attempt=attempt)
    text = GONE if not pods else "the pod was interrupted: its node ended it"
    cause = Cause("PodDeleted" if not pods else "Evicted", text)
    told = Cause("Resuming", f"{text}; attempt {attempt + 1} follows in {pause} s")
    found = verdict(Observed(job, pods), started=at(10), now=103)
    assert found == Verdict(
        waits(Phase.PENDING, told, resuming=True, failed=cause),
        requeue_after=pause - 3.0,
        following=Create(attempt + 1),
    )
    due = verdict(Observed(job, pods), started=at(10), now=100 + pause)
    assert due == Verdict(waits(Phase.PENDING, JOB_CREATED, resuming=True), (Create(attempt + 1),))


@pytest.mark.parametrize(
    ("attempt", "seconds", "pause"), [(4, 5, 0), (5, 5, 10), (5, 59, 10), (5, 60, 0), (6, 5, 20), (40, 5, 300)]
)
def test_executions_that_are_taken_away_at_once_follow_each_other_in_growing_pauses(
    attempt: int, seconds: int, pause: int
) -> None:
    taken = said("interrupted", "Interrupted", 75, finished=at(10 + seconds))  # its start is second 10
    found = verdict(Observed(replace(FAILED, attempt=attempt), (taken,)), started=at(10), now=103)
    assert found.requeue_after == (pause - 3 if pause else None)
    assert found.actions == (() if pause else (Create(attempt + 1),))


def test_a_job_that_failed_while_it_is_deleted_is_no_failure_before_it_is_said() -> None:
    observed = Observed(replace(JOB, deleting=True), (said("failed", "DiskFull"),))
    found = verdict(observed, started=at(10), following=2).outlook
    assert isinstance(found, Waiting)
    assert found.cause.message == "its Job is being deleted, and its pods end before it"


def test_no_attempt_is_made_of_a_spec_that_cannot_be_read_and_none_is_given_up() -> None:
    found = verdict(Observed(FAILED, (NETWORK,)), readable=False, started=at(10))
    assert isinstance(found.outlook, Blocked)
    assert found.actions == ()


# No progress


@pytest.mark.parametrize(
    ("taken", "ends"),
    [
        (THREE, True),
        (THREE[:3], False),  # the first of them had kept something
        ((*THREE[:3], interruption("p3", kept=20)), False),
        ((), False),
    ],
)
def test_three_interruptions_without_headway_end_the_run(taken: tuple[Any, ...], *, ends: bool) -> None:
    found = verdict(Observed(JOB, (RUNS,)), started=at(10), interruptions=taken)
    if not ends:
        assert isinstance(found.outlook, Waiting)
        return
    assert isinstance(found.outlook, Failed)
    assert (found.outlook.cause.reason, found.actions) == ("NoProgress", ())
    assert "3 times in a row" in found.outlook.cause.message
    assert "(last: Evicted)" in found.outlook.cause.message
    assert "checkpoints.saveSteps" in found.outlook.cause.suggestion


def test_no_progress_carries_the_last_words_of_the_last_pod() -> None:
    """Its Job is deleted: they stand there or nowhere."""
    first, last = (
        ended(75, outcome=Outcome(outcome="interrupted", reason="Interrupted", log=log), name=log, uid=log)
        for log in ("first words", "last words")
    )
    found = verdict(Observed(FAILED, (first, last)), started=at(10), interruptions=THREE).outlook
    assert isinstance(found, Failed)
    assert (found.cause.reason, found.cause.log) == ("NoProgress", "last words")
    silent = verdict(Observed(JOB, (first, RUNS)), started=at(10), interruptions=THREE).outlook
    assert isinstance(silent, Failed)
    assert silent.cause.log == "first words"
