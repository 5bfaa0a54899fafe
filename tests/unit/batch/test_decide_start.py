"""Decisions while suspended, without a Job, and until the pending deadline. Verdicts compared whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from swiftop.batch.observe import Observed
from swiftop.batch.situation import Policy
from swiftop.model.facts import Cause
from swiftop.model.verdict import (
    Blocked,
    Create,
    Ensure,
    Failed,
    Finished,
    Phase,
    Suspended,
    Verdict,
    Waiting,
)
from tests.unit.batch.facts import (
    ADVICE,
    BEFORE,
    COMPLETE,
    DEAD,
    DELETE,
    DONE,
    EVICTED,
    FAILED,
    JOB,
    JOB_CREATED,
    KEPT,
    NETWORK,
    NEW,
    NO_GPU,
    PLACED,
    PREPARING,
    PULL,
    QUOTA,
    RUNS,
    STARTING,
    THREE,
    at,
    said,
    verdict,
    waits,
)

# Suspend

STOP = Policy(suspend=True)
STOPPING = Suspended(Cause("Stopping", "it is stopped by spec.suspend, and saves what it can first"))
IS_SUSPENDED = Suspended(Cause("Suspended", "suspended by spec.suspend", "set it to false to go on"))


def test_a_suspended_run_says_so_first_and_deletes_its_job_then() -> None:
    running = Observed(JOB, (RUNS,))
    first = verdict(running, policy=STOP, started=at(10), attempts=1)
    assert first == Verdict(STOPPING, (), 0.0, Create(2))
    second = verdict(running, policy=STOP, started=at(10), attempts=1, following=2)
    assert second == Verdict(STOPPING, (DELETE,), 60.0, Create(2))
    going = Observed(replace(JOB, deleting=True), (replace(RUNS, deleting=at(200)),))
    third = verdict(going, policy=STOP, started=at(10), attempts=1, following=2)
    assert third == Verdict(STOPPING, (), 160.0, Create(2))  # until a minute after its grace period
    last = verdict(policy=STOP, started=at(10), attempts=1, following=2)
    assert last == Verdict(IS_SUSPENDED)


def test_a_run_that_stops_on_a_dead_node_says_what_to_do() -> None:
    observed = Observed(replace(JOB, deleting=True), (DEAD,))
    found = verdict(observed, policy=STOP, started=at(10), following=2, now=91).outlook
    assert isinstance(found, Suspended)
    assert found.cause.reason == "NodeLost"
    assert "kubectl delete node n1" in found.cause.suggestion


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (Observed(), Verdict(IS_SUSPENDED)),  # before its first attempt
        # Instead of a retry, which is written down: the failed Job may be cleaned up in the meantime.
        (
            Observed(FAILED, (NETWORK,)),
            Verdict(IS_SUSPENDED, following=Create(2, retries=1, gpu_seconds=70, retry_of="a")),
        ),
        (Observed(FAILED, (EVICTED,)), Verdict(IS_SUSPENDED, following=Create(2, gpu_seconds=70))),
        (Observed(COMPLETE, (DONE,)), Verdict(Finished("Finished", "it is finished"))),
    ],
)
def test_what_a_suspended_run_is_when_nothing_of_it_works(observed: Observed, expected: Verdict) -> None:
    assert verdict(observed, policy=STOP, started=at(10), gpu_seconds=70) == expected


def test_a_suspension_in_the_moment_of_the_end_does_not_stop_what_is_done() -> None:
    found = verdict(Observed(JOB, (DONE,)), policy=STOP, started=at(10), now=91)
    assert found == Verdict(waits(Phase.RUNNING, PREPARING), (Ensure(),), 10.0, poll=60.0)


def test_a_failure_for_good_is_not_hidden_by_suspend() -> None:
    assert isinstance(verdict(Observed(FAILED, (said("failed", "DiskFull"),)), policy=STOP).outlook, Failed)
    assert isinstance(verdict(Observed(FAILED, (EVICTED,)), policy=STOP, interruptions=THREE).outlook, Failed)


def test_a_resumed_run_goes_on_with_the_attempt_that_was_written_down() -> None:
    found = verdict(started=at(10), attempts=1, retries=1, following=2, gpu_seconds=500)
    assert found == Verdict(waits(Phase.PENDING, JOB_CREATED, resuming=True), (Create(2, retries=1, gpu_seconds=500),))
    retried_before = verdict(Observed(FAILED, (NETWORK,)), started=at(10), now=110)
    assert retried_before.actions == (Create(2, retries=1, retry_of="a"),)


# Without a Job


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ({}, Verdict(waits(Phase.PENDING, JOB_CREATED), (Create(1),))),
        # One whose Job went before a container of it ran has left nothing: its number is free.
        ({"attempts": 1}, Verdict(waits(Phase.PENDING, JOB_CREATED), (Create(1),))),
        (
            {"attempts": 1, "started": at(10), "following": 2},
            Verdict(waits(Phase.PENDING, JOB_CREATED, resuming=True), (Create(2),)),
        ),
        (
            {"attempts": 1, "started": at(10)},
            Verdict(Failed(Cause("JobDeleted", "its Job was deleted before its end was seen", ADVICE))),
        ),
        (
            {"attempts": 1, "started": at(10), "output": True},
            Verdict(Failed(Cause("JobDeleted", "its Job was deleted before its end was seen", KEPT))),
        ),
    ],
    ids=["new", "never started", "written down", "by a stranger", "by a stranger, with results"],
)
def test_a_run_without_a_job(recorded: dict[str, Any], expected: Verdict) -> None:
    assert verdict(**recorded) == expected


INVALID = Blocked(Cause("UnknownFlag", "what is --x"), stalled=True)
PENDING_SOURCE = waits(Phase.PENDING, Cause("SourcePending", "not ended"))
NO_SOURCE = Blocked(Cause("SourceMissing", "no such run"), stalled=False)


@pytest.mark.parametrize("source", [PENDING_SOURCE, NO_SOURCE])
def test_a_source_is_waited_for_before_the_first_attempt_only(source: Waiting | Blocked) -> None:
    assert verdict(source=source) == Verdict(source)
    limited = verdict(source=source, policy=Policy(pending_deadline=300), now=100)
    assert limited == Verdict(source, requeue_after=200.0)
    running = verdict(Observed(JOB, (RUNS,)), source=source, started=at(10)).outlook
    assert isinstance(running, Waiting)
    assert running.phase is Phase.RUNNING


def test_a_spec_that_cannot_be_read_blocks_the_start_and_nothing_that_works() -> None:
    assert verdict(readable=False, unreadable=INVALID) == Verdict(INVALID)
    running = verdict(Observed(JOB, (RUNS,)), readable=False, unreadable=INVALID, started=at(10)).outlook
    assert isinstance(running, Waiting)


# The pending deadline

LIMIT = Policy(pending_deadline=300)


@pytest.mark.parametrize(
    ("observed", "recorded"),
    [
        (Observed(), {}),
        (Observed(), {"source": PENDING_SOURCE}),
        (Observed(), {"source": NO_SOURCE}),
        (Observed(JOB), {}),
        (Observed(replace(JOB, active=0), obstacle=QUOTA), {}),
        (Observed(JOB, (replace(NEW, unschedulable=NO_GPU),)), {}),
        (Observed(JOB, (replace(PLACED, waiting=PULL),)), {}),
        (Observed(replace(JOB, deleting=True), (NEW,)), {}),
    ],
)
def test_a_run_that_waits_too_long_fails_and_says_for_what(observed: Observed, recorded: dict[str, Any]) -> None:
    before = verdict(observed, policy=LIMIT, now=299, **recorded)
    assert not isinstance(before.outlook, Failed)
    text = "no container has started within spec.lifecycle.pendingDeadlineSeconds (300 s)"
    advice = "raise spec.lifecycle.pendingDeadlineSeconds, or change what it waits for"
    # What it was seen to wait for last, as Events are not asked for any more.
    told = verdict(observed, policy=LIMIT, now=300, said="no room", **recorded)
    assert told == Verdict(Failed(Cause("PendingDeadlineExceeded", f"{text}: no room", advice)))
    untold = verdict(observed, policy=LIMIT, now=300, **recorded)
    assert untold == Verdict(Failed(Cause("PendingDeadlineExceeded", text, advice)))


def test_the_deadline_is_looked_at_when_it_comes() -> None:
    assert verdict(Observed(JOB, (replace(NEW, unschedulable=NO_GPU),)), policy=LIMIT, now=100).requeue_after == 200.0
    assert verdict(Observed(JOB, (PLACED,)), policy=LIMIT, now=298) == Verdict(
        waits(Phase.STARTING, STARTING), (BEFORE,), 2.0, poll=10.0
    )
    leaving = Observed(JOB, (replace(PLACED, deleting=at(41)),))  # overdue at second 101
    assert verdict(leaving, policy=LIMIT, now=100).requeue_after == 1.0


@pytest.mark.parametrize(
    ("observed", "changes"),
    [
        (Observed(JOB, (RUNS,)), {}),
        (Observed(JOB, (NEW,)), {"started": at(10)}),  # of an attempt before
        (Observed(JOB, (NEW,)), {"waiting_since": at(250)}),  # suspended until then
        (Observed(JOB, (NEW,)), {"policy": Policy()}),
    ],
)
def test_the_pending_deadline_ends_with_the_first_start(observed: Observed, changes: dict[str, Any]) -> None:
    assert isinstance(verdict(observed, now=500, **{"policy": LIMIT, **changes}).outlook, Waiting)


def test_a_suspended_run_waits_for_nothing() -> None:
    assert verdict(policy=replace(LIMIT, suspend=True), now=10_000) == Verdict(IS_SUSPENDED)
