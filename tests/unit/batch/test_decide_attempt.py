"""Decisions about an attempt on its way, beside a sidecar, and on a node that is lost. Verdicts compared whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from swiftop.batch.observe import Observed
from swiftop.batch.situation import Policy
from swiftop.model.facts import Cause, JobFacts, Outcome, PodFacts
from swiftop.model.verdict import (
    Create,
    Ensure,
    Failed,
    Finished,
    Phase,
    Suspended,
    Verdict,
    Waiting,
)
from swiftop.runner.hub.causes import HUB_UNREACHABLE
from tests.unit.batch.facts import (
    BEFORE,
    CLAIM,
    DEAD,
    DELETE,
    DONE,
    EVICTED,
    FAILED,
    JOB,
    JOB_CREATED,
    NEW,
    NO_GPU,
    PLACED,
    PREPARING,
    PULL,
    QUOTA,
    RUNS,
    STARTING,
    VOLUME,
    WORKING,
    at,
    ended,
    rank,
    said,
    verdict,
    waits,
)

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
