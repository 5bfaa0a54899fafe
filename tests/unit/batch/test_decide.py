"""The table of decisions, rule by rule: verdicts compared whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from swiftop import names
from swiftop.batch.observe import Observed
from swiftop.batch.situation import Policy
from swiftop.model.facts import Cause, JobFacts, Outcome, PodFacts
from swiftop.model.verdict import (
    Blocked,
    Create,
    Delete,
    Ensure,
    Failed,
    Finished,
    Outlook,
    Phase,
    Suspended,
    Verdict,
    Waiting,
)
from swiftop.runner.hub.causes import HUB_UNREACHABLE
from tests.unit.batch.facts import (
    COMPLETE,
    DONE,
    EVICTED,
    FAILED,
    JOB,
    JOB_CREATED,
    NEW,
    PLACED,
    RUNS,
    at,
    ended,
    interruption,
    rank,
    said,
    verdict,
)

NO_GPU = Cause("InsufficientGPU", "no GPU")
PULL = Cause("ImagePullFailed", "no image")
QUOTA = Cause("QuotaExceeded", "no room")
VOLUME = Cause("VolumePending", "no volume")
CLAIM = Cause("ClaimMissing", "no claim")
ADVICE = "apply a run with a new name to try again"
KEPT = f"work is kept; {ADVICE}"


def waits(phase: Phase, cause: Cause, *, resuming: bool = False, failed: Cause | None = None) -> Waiting:
    return Waiting(phase, cause, resuming=resuming, failed=failed)


BEFORE = Ensure(replace=True)  # of a run of which no container has started yet
WORKING = Cause("Running", "it works")
PREPARING = Cause("Running", "it prepares")
STARTING = Cause("Starting", "pulling the image, mounting the volumes")


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

NETWORK = said("failed", "HubUnreachable", 7)


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

THREE = (interruption("p0", kept=10), interruption("p1", kept=10), interruption("p2", kept=10), interruption("p3"))


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


# Suspend

STOP = Policy(suspend=True)
STOPPING = Suspended(Cause("Stopping", "it is stopped by spec.suspend, and saves what it can first"))
IS_SUSPENDED = Suspended(Cause("Suspended", "suspended by spec.suspend", "set it to false to go on"))
DELETE = Delete(names.JOB, "run-1", "j1")
DEAD = replace(RUNS, deleting=at(30))  # should have ended at second 30


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


# An attempt on its way


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (Observed(replace(JOB, started=False, active=0)), Verdict(waits(Phase.PENDING, JOB_CREATED), (BEFORE,))),
        (Observed(replace(JOB, active=0)), Verdict(waits(Phase.PENDING, JOB_CREATED), (BEFORE,), poll=10.0)),
        (Observed(replace(JOB, active=0), obstacle=QUOTA), Verdict(waits(Phase.PENDING, QUOTA), (BEFORE,), poll=10.0)),
        (Observed(JOB, (NEW,)), Verdict(waits(Phase.PENDING, JOB_CREATED), (BEFORE,))),
        (Observed(JOB, (replace(NEW, unschedulable=NO_GPU),)), Verdict(waits(Phase.PENDING, NO_GPU), (BEFORE,))),
        (
            Observed(JOB, (replace(NEW, unschedulable=VOLUME),)),
            Verdict(waits(Phase.PENDING, VOLUME), (BEFORE,), poll=10.0),
        ),
        (
            Observed(JOB, (replace(NEW, unschedulable=VOLUME),), obstacle=QUOTA),
            Verdict(waits(Phase.PENDING, QUOTA), (BEFORE,), poll=10.0),
        ),
        (
            Observed(JOB, (replace(NEW, unschedulable=CLAIM),)),
            Verdict(waits(Phase.PENDING, CLAIM), (Ensure(repair=True, replace=True),)),
        ),
        (Observed(JOB, (PLACED,)), Verdict(waits(Phase.STARTING, STARTING), (BEFORE,), poll=10.0)),
        (Observed(JOB, (PLACED,), obstacle=QUOTA), Verdict(waits(Phase.STARTING, QUOTA), (BEFORE,), poll=10.0)),
        (Observed(JOB, (replace(PLACED, waiting=PULL),)), Verdict(waits(Phase.STARTING, PULL), (BEFORE,))),
        (Observed(JOB, (RUNS,)), Verdict(waits(Phase.RUNNING, PREPARING), (Ensure(),), poll=60.0)),
        (Observed(JOB, (RUNS,), heard={"phase": 0}), Verdict(waits(Phase.RUNNING, PREPARING), (Ensure(),), poll=60.0)),
        (Observed(JOB, (RUNS,), heard={"phase": 1}), Verdict(waits(Phase.RUNNING, WORKING), (Ensure(),), poll=60.0)),
        (Observed(JOB, (RUNS,), reachable=False), Verdict(waits(Phase.RUNNING, WORKING), (Ensure(),), poll=60.0)),
        # The pod has ended, the Job not yet: a moment.
        (Observed(JOB, (DONE,)), Verdict(waits(Phase.RUNNING, PREPARING), (Ensure(),), 10.0, poll=60.0)),
        (
            Observed(JOB, (RUNS, rank(PLACED, 1))),
            # One container has started: the spec is fixed.
            Verdict(waits(Phase.STARTING, STARTING), (Ensure(),), poll=10.0),
        ),
        (
            Observed(JOB, (RUNS, rank(NEW, 1, unschedulable=NO_GPU))),
            Verdict(waits(Phase.PENDING, NO_GPU), (Ensure(),)),
        ),
        # Its pod is told to go: a minute after its grace period its node is taken to be lost.
        (
            Observed(JOB, (replace(RUNS, deleting=at(200)),)),
            Verdict(waits(Phase.RUNNING, PREPARING), (Ensure(),), 160.0, poll=60.0),
        ),
    ],
)
def test_an_attempt_on_its_way(observed: Observed, expected: Verdict) -> None:
    assert verdict(observed, attempts=1) == expected


def test_a_job_is_replaced_only_before_any_container_of_any_attempt_has_started() -> None:
    waiting = Observed(JOB, (replace(NEW, unschedulable=NO_GPU),))
    assert verdict(waiting).actions == (Ensure(replace=True),)
    assert verdict(waiting, started=at(10)).actions == (Ensure(),)


def test_several_ranks_that_are_not_heard_may_miss_their_service() -> None:
    both = (RUNS, rank(RUNS, 1))
    assert verdict(Observed(JOB, both), policy=Policy(ranks=2)).actions == (Ensure(repair=True),)
    assert verdict(Observed(JOB, both, heard={"phase": 1}), policy=Policy(ranks=2)).actions == (Ensure(),)


@pytest.mark.parametrize(
    ("pods", "phase", "cause", "poll", "action"),
    [
        ((EVICTED,), Phase.PENDING, Cause("Resuming", "waiting for a new pod: drained"), None, Ensure()),
        ((EVICTED, replace(NEW, name="b", uid="b")), Phase.PENDING, JOB_CREATED, None, Ensure()),
        ((EVICTED, replace(PLACED, name="b", uid="b")), Phase.STARTING, STARTING, 10.0, Ensure()),
    ],
)
def test_a_new_pod_of_the_same_job_resumes(
    pods: tuple[PodFacts, ...], phase: Phase, cause: Cause, poll: float | None, action: Ensure
) -> None:
    found = verdict(Observed(JOB, pods), started=at(10), attempts=1)
    assert found == Verdict(waits(phase, cause, resuming=True), (action,), poll=poll)


# A sidecar keeps the pod alive after the end of the main container

KEPT_ALIVE: dict[str, Any] = {"phase": "Running"}


def test_the_end_of_the_main_container_is_the_end_whatever_a_sidecar_does() -> None:
    observed = Observed(JOB, (said("finished", "MaxSteps", **KEPT_ALIVE),))
    early = verdict(observed, started=at(10), now=99)  # it ended at second 90
    assert isinstance(early.outlook, Waiting)
    assert early.requeue_after == 10.0
    assert verdict(observed, started=at(10), now=100) == Verdict(Finished("MaxSteps", "in its words"))


def test_a_failure_beside_a_sidecar_fails_the_run() -> None:
    found = verdict(Observed(JOB, (said("failed", "DiskFull", **KEPT_ALIVE),)), started=at(10)).outlook
    assert isinstance(found, Failed)
    assert found.cause.reason == "DiskFull"


def test_a_pod_that_a_sidecar_keeps_is_removed_before_the_next_attempt() -> None:
    observed = Observed(JOB, (said("failed", "HubUnreachable", **KEPT_ALIVE),))
    waiting = Waiting(
        Phase.PENDING,
        Cause("HubUnreachable", "in its words; its pod is removed first", HUB_UNREACHABLE.suggestion),
        resuming=True,
    )
    first = verdict(observed, started=at(10))
    assert first == Verdict(waiting, (), 0.0, Create(2, retries=1, retry_of="a"))
    second = verdict(observed, started=at(10), following=2, retries=1)
    assert second == Verdict(waiting, (DELETE,), 60.0, Create(2, retries=1, retry_of="a"))


def test_with_several_ranks_all_main_containers_have_to_have_ended() -> None:
    done = said("finished", "MaxSteps", **KEPT_ALIVE)
    one = verdict(Observed(JOB, (done, rank(RUNS, 1))), started=at(10)).outlook
    assert isinstance(one, Waiting)
    both = verdict(Observed(JOB, (done, rank(done, 1))), started=at(10)).outlook
    assert isinstance(both, Finished)


@pytest.mark.parametrize("changes", [{"deleting": at(300)}, {"disruption": "EvictionByEvictionAPI"}])
def test_a_pod_that_goes_by_itself_is_left_alone(changes: dict[str, Any]) -> None:
    observed = Observed(JOB, (said("failed", "DiskFull", **KEPT_ALIVE, **changes),))
    assert isinstance(verdict(observed, started=at(10)).outlook, Waiting)


# A node that does not answer


def node_lost(pod: str = "a") -> Cause:
    return Cause(
        "NodeLost",
        f"node n1 does not answer: pod {pod} should have ended at {at(30)}",
        "when the node is gone for good, delete its Node object (kubectl delete node n1); when it is down, "
        "taint it: kubectl taint node n1 node.kubernetes.io/out-of-service=nodeshutdown:NoExecute",
    )


@pytest.mark.parametrize("job", [JOB, replace(JOB, deleting=True)])
@pytest.mark.parametrize("pods", [(DEAD,), (rank(RUNS, 0), replace(DEAD, index=1))])
def test_a_pod_that_is_overdue_is_on_a_lost_node(job: JobFacts, pods: tuple[PodFacts, ...]) -> None:
    lost = verdict(Observed(job, pods), started=at(10), now=90)
    assert lost == Verdict(waits(Phase.PENDING, node_lost(), resuming=True), requeue_after=60.0)
    early = verdict(Observed(job, pods), started=at(10), now=89).outlook
    assert isinstance(early, Waiting)
    assert early.cause.reason != "NodeLost"


def test_a_job_that_is_being_deleted_is_waited_for() -> None:
    observed = Observed(replace(JOB, deleting=True), (replace(RUNS, deleting=at(200)),))
    text = "its Job is being deleted, and its pods end before it"
    assert verdict(observed, started=at(10), following=2) == Verdict(
        waits(Phase.PENDING, Cause("Resuming", text), resuming=True), requeue_after=160.0
    )
    waiting = Observed(replace(JOB, deleting=True), (replace(NEW, deleting=at(200)),))
    assert verdict(waiting) == Verdict(waits(Phase.PENDING, Cause("Pending", text)), requeue_after=160.0)
    without_pods = verdict(Observed(replace(JOB, deleting=True)))
    assert without_pods == Verdict(waits(Phase.PENDING, Cause("Pending", text)), requeue_after=60.0)


def test_a_suspension_that_is_taken_back_stops_until_its_pods_are_gone() -> None:
    observed = Observed(replace(JOB, deleting=True), (replace(RUNS, deleting=at(200)),))
    text = "it is stopped by spec.suspend, and goes on once its pods have ended"
    found = verdict(observed, started=at(10), following=2, suspended=True)
    assert found == Verdict(Suspended(Cause("Stopping", text)), requeue_after=160.0)
    stuck = verdict(Observed(observed.job, (DEAD,)), started=at(10), following=2, suspended=True)
    assert stuck == Verdict(Suspended(node_lost()), requeue_after=60.0)
    gone = verdict(started=at(10), following=2, suspended=True)
    assert gone == Verdict(waits(Phase.PENDING, JOB_CREATED, resuming=True), (Create(2),))


def test_a_deadline_of_the_attempt_ends_the_run() -> None:
    job = replace(FAILED, failure_reason="DeadlineExceeded")
    words = Outcome(outcome="interrupted", reason="Interrupted")
    found = verdict(Observed(job, (ended(75, outcome=words),)), started=at(10)).outlook
    assert isinstance(found, Failed)
    assert found.cause.reason == "DeadlineExceeded"
