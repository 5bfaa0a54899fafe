"""The table of decisions, row by row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from swiftop.batch.decide import Facts, decide
from swiftop.model.facts import Cause, End, JobFacts, Observed, Outcome, PodFacts
from swiftop.model.verdict import Fail, Finish, Phase, StartAttempt, Verdict, Wait

JOB = JobFacts(name="run-1", uid="j", owner_uid="r", attempt=1, created="2027-01-15T08:00:00Z", started=True, active=1)
NEW = PodFacts(name="a", uid="a", index=0, created="2027-01-15T08:00:00Z", phase="Pending")
PLACED = replace(NEW, scheduled=True)
RUNS = replace(PLACED, phase="Running", running_since="2027-01-15T08:01:00Z")
DONE = replace(PLACED, phase="Succeeded", end=End(exit_code=0, reason="Completed", message="", finished=""))
EVICTED = replace(DONE, phase="Failed", disruption="EvictionByEvictionAPI", disruption_message="drained")
BLOCKED = Cause("InsufficientGPU", "no GPU")
PULL = Cause("ImagePullFailed", "no image")
QUOTA = Cause("QuotaExceeded", "no room")


def said(outcome: str, reason: str) -> PodFacts:
    words = Outcome(outcome=outcome, reason=reason, message="words")
    phase, code = ("Succeeded", 0) if outcome == "finished" else ("Failed", 20)
    return replace(PLACED, phase=phase, end=End(exit_code=code, reason="", message="", finished="", outcome=words))


def verdict(observed: Observed, *, attempts: int = 1) -> Verdict:
    return decide(Facts(attempts=attempts, observed=observed))


def test_a_run_is_started_once_and_never_again() -> None:
    assert verdict(Observed(), attempts=0) == StartAttempt(1)
    again = verdict(Observed(), attempts=1)
    assert isinstance(again, Fail)
    assert again.cause.reason == "JobDeleted"
    assert isinstance(verdict(Observed(JOB), attempts=0), Wait)  # the status write after the start was lost


@pytest.mark.parametrize(
    ("observed", "phase", "reason", "wakes"),
    [
        (Observed(replace(JOB, started=False, active=0)), Phase.PENDING, "JobCreated", False),
        (Observed(replace(JOB, active=0)), Phase.PENDING, "JobCreated", True),
        (Observed(replace(JOB, active=0), obstacle=QUOTA), Phase.PENDING, "QuotaExceeded", True),
        (Observed(JOB, (NEW,)), Phase.PENDING, "JobCreated", False),
        (Observed(JOB, (replace(NEW, unschedulable=BLOCKED),)), Phase.PENDING, "InsufficientGPU", False),
        (Observed(JOB, (PLACED,)), Phase.STARTING, "Starting", True),
        (Observed(JOB, (PLACED,), obstacle=QUOTA), Phase.STARTING, "QuotaExceeded", True),
        (Observed(JOB, (replace(PLACED, waiting=PULL),)), Phase.STARTING, "ImagePullFailed", False),
        (Observed(JOB, (RUNS,)), Phase.RUNNING, "Running", True),
        (Observed(JOB, (DONE,)), Phase.RUNNING, "Running", True),
        (Observed(JOB, (EVICTED,)), Phase.PENDING, "Resuming", False),
        (Observed(JOB, (RUNS, replace(PLACED, index=1))), Phase.STARTING, "Starting", True),
        (
            Observed(JOB, (RUNS, replace(NEW, index=1, unschedulable=BLOCKED))),
            Phase.PENDING,
            "InsufficientGPU",
            False,
        ),
    ],
)
def test_waiting(observed: Observed, phase: Phase, reason: str, *, wakes: bool) -> None:
    found = verdict(observed)
    assert isinstance(found, Wait)
    assert (found.phase, found.cause.reason, found.wake is not None) == (phase, reason, wakes)


def test_a_new_pod_after_an_evicted_one_resumes() -> None:
    second = replace(NEW, name="b", uid="b", created="2027-01-15T08:05:00Z")
    found = verdict(Observed(JOB, (EVICTED, second)))
    assert isinstance(found, Wait)
    assert found.resuming


COMPLETE = replace(JOB, complete=True, active=0)


@pytest.mark.parametrize(
    ("pods", "reason"),
    [
        ((), "Finished"),
        ((RUNS,), "Finished"),
        ((DONE,), "Finished"),
        ((said("finished", "EarlyStopped"),), "EarlyStopped"),
    ],
)
def test_a_complete_job_is_a_finished_run(pods: tuple[PodFacts, ...], reason: str) -> None:
    found = verdict(Observed(COMPLETE, pods))
    assert isinstance(found, Finish)
    assert found.reason == reason


FAILED = replace(JOB, failed=True, active=0, failure_reason="BackoffLimitExceeded")
_PLAIN = replace(DONE, phase="Failed", end=End(exit_code=1, reason="Error", message="tail", finished=""))
_OOM = replace(_PLAIN, end=End(exit_code=137, reason="OOMKilled", message="tail", finished=""))


def _with_words(pod: PodFacts, outcome: str, reason: str) -> PodFacts:
    words = said(outcome, reason).end
    assert words is not None
    assert pod.end is not None
    return replace(pod, end=replace(pod.end, outcome=words.outcome))


@pytest.mark.parametrize(
    ("pods", "reason"),
    [
        ((), "PodDeleted"),
        ((said("failed", "CUDAOutOfMemory"),), "CUDAOutOfMemory"),
        ((said("failed", "NoSuchReason"),), "Unknown"),  # a newer runner's word
        ((said("interrupted", "Interrupted"),), "Interrupted"),  # by a signal from inside the pod
        ((replace(said("interrupted", "Interrupted"), deleting=True),), "PodDeleted"),
        ((replace(said("interrupted", "Interrupted"), disruption="NewInNextRelease"),), "PodDeleted"),
        ((_OOM,), "HostOutOfMemory"),
        ((_with_words(_OOM, "failed", "Unknown"),), "HostOutOfMemory"),
        ((_with_words(_OOM, "interrupted", "Interrupted"),), "HostOutOfMemory"),
        ((_with_words(_OOM, "failed", "DatasetFormat"),), "DatasetFormat"),  # the runner saw it first
        ((EVICTED,), "Evicted"),
        ((_with_words(EVICTED, "interrupted", "Interrupted"),), "Evicted"),
        ((replace(_PLAIN, disruption="PreemptionByScheduler"),), "Preempted"),
        ((replace(_PLAIN, disruption="DeletionByTaintManager"),), "NodeLost"),
        ((replace(_PLAIN, end=None, reason="Evicted", message="disk pressure"),), "Evicted"),
        ((replace(_PLAIN, end=None, reason="NodeLost"),), "NodeLost"),
        ((_PLAIN,), "Unknown"),
        (
            (replace(_PLAIN, end=End(exit_code=128, reason="StartError", message="no python", finished="")),),
            "ContainerConfigError",
        ),
        ((replace(_PLAIN, end=None),), "Failed"),
    ],
)
def test_a_failed_job_has_one_cause(pods: tuple[PodFacts, ...], reason: str) -> None:
    found = verdict(Observed(FAILED, pods))
    assert isinstance(found, Fail)
    assert found.cause.reason == reason


def test_the_first_real_cause_of_several_ranks_wins() -> None:
    def rank(index: int, reason: str, finished: str) -> PodFacts:
        pod = said("failed", reason)
        assert pod.end is not None
        return replace(pod, index=index, name=str(index), uid=str(index), end=replace(pod.end, finished=finished))

    echo = rank(0, "CollectiveFailed", "2027-01-15T08:00:01Z")
    real = rank(1, "CUDAOutOfMemory", "2027-01-15T08:00:02Z")
    later = rank(2, "DiskFull", "2027-01-15T08:00:03Z")
    found = verdict(Observed(FAILED, (echo, real, later)))
    assert isinstance(found, Fail)
    assert found.cause.reason == "CUDAOutOfMemory"


@pytest.mark.parametrize(
    ("pods", "reason"),
    [
        ((), "DeadlineExceeded"),
        ((said("interrupted", "Interrupted"),), "DeadlineExceeded"),
        ((said("failed", "DiskFull"),), "DiskFull"),  # it had failed before its time was up
    ],
)
def test_a_deadline_is_told_unless_something_else_came_first(pods: tuple[PodFacts, ...], reason: str) -> None:
    found = verdict(Observed(replace(FAILED, failure_reason="DeadlineExceeded"), pods))
    assert isinstance(found, Fail)
    assert found.cause.reason == reason


def test_a_failure_without_a_report_shows_the_end_of_the_log() -> None:
    found = verdict(Observed(FAILED, (_PLAIN,)))
    assert isinstance(found, Fail)
    assert found.cause.log == "tail"
    assert "exit code 1" in found.cause.message
