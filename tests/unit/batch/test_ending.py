"""One cause of an attempt's end, out of what all witnesses say, and what follows it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from swiftop.batch.ending import After, after, cause_of, finished_well, in_order, is_interruption
from swiftop.batch.observe import Observed
from swiftop.model.facts import Cause, Outcome, PodFacts
from swiftop.observe.ending import pod_cause
from swiftop.reasons import Reason
from swiftop.runner import causes
from swiftop.runner.causes import BY_REASON
from tests.unit.batch.facts import DONE, EVICTED, FAILED, NEW, PLACED, RUNS, at, ended, rank, said

PLAIN = ended(1)
OOM = ended(137, "OOMKilled")


def with_words(pod: PodFacts, outcome: str, reason: str) -> PodFacts:
    """The same pod, whose runner came to say something."""
    assert pod.ended is not None
    words = Outcome(outcome=outcome, reason=reason, message="in its words")
    return replace(pod, ended=replace(pod.ended, outcome=words))


def refused(reason: str, message: str = "") -> PodFacts:
    """A pod that the kubelet did not admit: none of its containers ever was."""
    return replace(PLACED, phase="Failed", reason=reason, message=message)


# Words of the kubelet of Kubernetes 1.37.2.
DISK_FULL = (
    "The node was low on resource: ephemeral-storage. Threshold quantity: 10Gi, available: 4Gi. Container swift was "
    "using 47185920Ki, request is 1Gi, has larger consumption of ephemeral-storage. "
)
TOO_LARGE = 'Usage of EmptyDir volume "tmp" exceeds the limit "100Gi". '


@pytest.mark.parametrize(
    ("pods", "reason", "follows"),
    [
        # the runner's word comes first
        ((said("failed", "CUDAOutOfMemory"),), "CUDAOutOfMemory", After.END),
        ((said("failed", "InvalidArguments"),), "InvalidArguments", After.END),
        ((said("failed", "DatasetFormat"),), "DatasetFormat", After.END),
        ((said("failed", "HubUnreachable"),), "HubUnreachable", After.RETRY),
        ((said("failed", "CollectiveFailed"),), "CollectiveFailed", After.RETRY),
        ((said("failed", "Stalled"),), "Stalled", After.RETRY),
        ((said("failed", "NoSuchReason"),), "Unknown", After.END),  # a newer runner's word
        ((with_words(OOM, "failed", "DatasetFormat"),), "DatasetFormat", After.END),
        # the kubelet alone knows of a memory kill
        ((OOM,), "HostOutOfMemory", After.END),
        ((with_words(OOM, "failed", "Unknown"),), "HostOutOfMemory", After.END),
        ((with_words(OOM, "interrupted", "Interrupted"),), "HostOutOfMemory", After.END),
        # it was taken away
        ((EVICTED,), "Evicted", After.CONTINUE),
        ((replace(PLAIN, disruption="PreemptionByScheduler"),), "Preempted", After.CONTINUE),
        ((replace(PLAIN, disruption="DeletionByTaintManager"),), "NodeLost", After.CONTINUE),
        ((replace(PLAIN, disruption="DeletionByPodGC"),), "NodeLost", After.CONTINUE),
        ((replace(PLAIN, disruption="TerminationByKubelet"),), "Evicted", After.CONTINUE),
        ((refused("Evicted", "disk pressure"),), "Evicted", After.CONTINUE),
        ((refused("Evicted", DISK_FULL),), "Evicted", After.CONTINUE),  # others may have filled it
        ((refused("Evicted", TOO_LARGE),), "EphemeralStorageExceeded", After.END),
        ((refused("NodeLost"),), "NodeLost", After.CONTINUE),
        ((refused("NodeShutdown"),), "Evicted", After.CONTINUE),
        ((refused("Terminated"),), "Evicted", After.CONTINUE),
        ((refused("Preempting"),), "Preempted", After.CONTINUE),
        ((said("interrupted", "Interrupted", 75),), "Interrupted", After.CONTINUE),  # by a signal from inside the pod
        ((said("interrupted", "Interrupted", 75, deleting=at(200)),), "PodDeleted", After.CONTINUE),
        ((said("interrupted", "Interrupted", 75, disruption="NewInNextRelease"),), "PodDeleted", After.CONTINUE),
        ((), "PodDeleted", After.CONTINUE),
        # told to stop before it could do more than end
        ((ended(75),), "Interrupted", After.CONTINUE),
        ((ended(75, deleting=at(200)),), "PodDeleted", After.CONTINUE),
        ((ended(75, disruption="NewInNextRelease"),), "PodDeleted", After.CONTINUE),
        # the node did not take it, or lost it
        ((refused("UnexpectedAdmissionError", "Allocate failed"),), "NodeRefusedPod", After.RETRY),
        ((refused("OutOfnvidia.com/gpu", "not enough"),), "NodeRefusedPod", After.RETRY),
        ((refused("OutOfcpu"),), "NodeRefusedPod", After.RETRY),
        ((refused("TopologyAffinityError"),), "NodeRefusedPod", After.RETRY),
        ((refused("NodeAffinity"),), "NodeRefusedPod", After.RETRY),
        ((ended(255, "Unknown"),), "ContainerLost", After.RETRY),  # the node was rebooted
        ((ended(137),), "ContainerLost", After.RETRY),  # killed, and nobody says by whom
        ((ended(143),), "ContainerLost", After.RETRY),
        # the container could not be started
        (
            (ended(128, "StartError", message='exec: "python": executable file not found in $PATH'),),
            "ContainerConfigError",
            After.END,
        ),
        (
            (ended(127, "ContainerCannotRun", message="stat /usr/bin/python: no such file or directory"),),
            "ContainerConfigError",
            After.END,
        ),
        (
            (ended(128, "StartError", message="nvidia-container-cli: initialization error: nvml error: driver"),),
            "ContainerStartFailed",
            After.RETRY,
        ),
        (
            # the words of a missing driver are those of a missing program
            (ended(128, "StartError", message="nvidia-container-cli: libcuda.so: no such file or directory"),),
            "ContainerStartFailed",
            After.RETRY,
        ),
        ((ended(128, "StartError", message="cgroup: cannot allocate"),), "ContainerStartFailed", After.RETRY),
        # the last resort
        ((PLAIN,), "Unknown", After.END),
        ((refused("SomethingNew"),), "Failed", After.END),
    ],
)
def test_an_end_has_one_cause_and_one_consequence(pods: tuple[PodFacts, ...], reason: str, follows: After) -> None:
    cause = cause_of(FAILED, Observed(FAILED, pods))
    assert (cause.reason, after(cause)) == (reason, follows)
    assert is_interruption(cause) is (follows is After.CONTINUE)


def test_what_may_pass_is_a_closed_list() -> None:
    """A new cause that is marked as transient is retried: here one sees it."""
    every = [*BY_REASON, *(str(reason) for reason in Reason)]
    assert {reason for reason in every if after(Cause(reason, "")) is After.RETRY} == {
        *("CollectiveFailed", "ContainerLost", "ContainerStartFailed", "EngineDead", "EngineStalled", "HubUnreachable"),
        *("LoadTimeout", "NodeRefusedPod", "PushConflict", "PushIncomplete", "Stalled", "TrackerUnreachable"),
        *("GPUFailed", "HostUnreachable", "VolumeLost"),
    }
    assert {reason for reason in every if after(Cause(reason, "")) is After.CONTINUE} == {
        *("Evicted", "Interrupted", "NodeLost", "PodDeleted", "Preempted"),
    }


@pytest.mark.parametrize("pod", [NEW, PLACED, RUNS, DONE, said("finished", "MaxSteps")])
def test_what_goes_on_or_ended_well_has_no_cause(pod: PodFacts) -> None:
    assert pod_cause(pod) is None


def test_causes_say_whole_what_is_known() -> None:
    assert pod_cause(EVICTED) == Cause(
        "Evicted", "the pod was interrupted: it was evicted, as by kubectl drain (drained)"
    )
    assert pod_cause(refused("OutOfnvidia.com/gpu", "Node didn't have enough resource")) == Cause(
        "NodeRefusedPod",
        "node n1 refused the pod (OutOfnvidia.com/gpu): Node didn't have enough resource",
        "look at the node's device plugin and its free resources (kubectl describe node)",
    )
    assert pod_cause(PLAIN) == Cause(
        "Unknown",
        "the container ended with exit code 1 and left no report",
        causes.UNKNOWN.suggestion,
        "the end of its log",
    )
    assert pod_cause(OOM) == Cause(
        "HostOutOfMemory",
        "the container used more memory than its limit and was killed",
        causes.HOST_OUT_OF_MEMORY.suggestion,
        "the end of its log",
    )
    own = Outcome(outcome="failed", reason="DiskFull", message="m", suggestion="s", log="l")
    assert pod_cause(ended(11, outcome=own)) == Cause("DiskFull", "m", "s", "l")


# Several ranks

ECHO = said("failed", "CollectiveFailed", finished=at(81))
REAL = rank(said("failed", "CUDAOutOfMemory", finished=at(82)), 1)
LATER = rank(said("failed", "DiskFull", finished=at(83)), 2)


@pytest.mark.parametrize(
    ("pods", "reason"),
    [
        ((ECHO, REAL, LATER), "CUDAOutOfMemory"),
        ((ECHO, rank(RUNS, 1), LATER), "DiskFull"),
        ((ECHO, rank(RUNS, 1)), "CollectiveFailed"),
        # A rank that is taken away takes the others along: their echo is no failure.
        ((ECHO, rank(ended(137, disruption="PreemptionByScheduler", finished=at(95)), 1)), "Preempted"),
        ((ECHO, rank(EVICTED, 1, deleting=at(95))), "Evicted"),
        ((ECHO, rank(said("interrupted", "Interrupted", 75, finished=at(95)), 1)), "Interrupted"),
        ((rank(EVICTED, 0), rank(said("failed", "DatasetFormat"), 1)), "DatasetFormat"),
        # Of two symptoms the first.
        ((rank(PLAIN, 0, ended=None), rank(PLAIN, 1)), "Unknown"),
        # A container that was never seen to end comes last.
        ((rank(refused("SomethingNew"), 0), LATER), "DiskFull"),
    ],
)
def test_the_first_real_cause_of_several_ranks_wins(pods: tuple[PodFacts, ...], reason: str) -> None:
    assert cause_of(FAILED, Observed(FAILED, pods)).reason == reason


FAIL_JOB = "Container trainer for pod team/run-1-x failed with exit code {} matching FailJob rule at index 1"


@pytest.mark.parametrize(
    ("reason", "message", "cause"),
    [
        (
            "PodFailurePolicy",
            FAIL_JOB.format(5),
            Cause(
                "Unknown",
                "the container ended with exit code 5, and its pod with what it said is gone",
                "docs/reasons.md lists what the exit code may mean",
            ),
        ),
        (
            "PodFailurePolicy",
            FAIL_JOB.format(8),  # CollectiveFailed, which may pass
            Cause(
                "ContainerLost",
                "the container ended with exit code 8, and its pod with what it said is gone",
                "docs/reasons.md lists what the exit code may mean",
            ),
        ),
        ("PodFailurePolicy", FAIL_JOB.format(75), Cause("PodDeleted", "its pod was deleted before the end")),
        ("PodFailurePolicy", "in other words", Cause("PodDeleted", "its pod was deleted before the end")),
        ("BackoffLimitExceeded", FAIL_JOB.format(5), Cause("PodDeleted", "its pod was deleted before the end")),
    ],
)
def test_of_pods_that_are_gone_the_job_may_know_the_exit_code(reason: str, message: str, cause: Cause) -> None:
    job = replace(FAILED, failure_reason=reason, failure_message=message)
    assert cause_of(job, Observed(job)) == cause


def test_only_the_newest_pod_of_a_rank_speaks() -> None:
    first, second = ended(1, outcome=Outcome(outcome="failed", reason="DiskFull")), replace(PLAIN, name="b", uid="b")
    assert cause_of(FAILED, Observed(FAILED, (first, second))).reason == "Unknown"


def test_pods_stand_in_the_order_of_their_ends() -> None:
    late, early, never = rank(ended(finished=at(90)), 0), rank(ended(finished=at(80)), 1), rank(RUNS, 2)
    assert in_order((never, late, early)) == [early, late, never]


@pytest.mark.parametrize(
    ("pods", "reason"),
    [
        ((), "DeadlineExceeded"),
        ((said("interrupted", "Interrupted"),), "DeadlineExceeded"),
        ((ended(137),), "DeadlineExceeded"),
        ((said("failed", "DiskFull"),), "DiskFull"),  # it had failed before its time was up
    ],
)
def test_a_deadline_is_told_unless_something_else_came_first(pods: tuple[PodFacts, ...], reason: str) -> None:
    job = replace(FAILED, failure_reason="DeadlineExceeded")
    cause = cause_of(job, Observed(job, pods))
    assert (cause.reason, after(cause)) == (reason, After.END)


@pytest.mark.parametrize(
    ("pods", "well"),
    [
        ((), False),
        ((RUNS,), False),
        ((DONE,), True),
        ((ended(0, phase="Running"),), True),  # a sidecar keeps its pod
        ((DONE, rank(RUNS, 1)), False),
        ((DONE, rank(PLAIN, 1)), False),
        ((PLAIN, replace(DONE, name="b", uid="b")), True),
    ],
)
def test_all_ranks_have_to_end_well(pods: tuple[PodFacts, ...], *, well: bool) -> None:
    assert finished_well(Observed(FAILED, pods)) is well


@pytest.mark.parametrize("word", [{"reason": "OutOf"}, {"reason": "Completed"}, {"reason": "NodeAffinityChanged"}])
def test_other_words_of_the_kubelet_are_no_refusal(word: dict[str, Any]) -> None:
    cause = pod_cause(replace(PLACED, phase="Failed", **word))
    assert cause is not None
    assert cause.reason == "Failed"


@pytest.mark.parametrize(
    ("message", "size"),
    [
        (TOO_LARGE, "more than 100Gi, such as 200Gi"),
        ('Container swift exceeded its local ephemeral storage limit "50Gi". ', "more than 50Gi, such as 100Gi"),
        ("Pod ephemeral local storage usage exceeds the total limit of containers 15G. ", "more than 15G, such as 30G"),
        (TOO_LARGE.replace("100Gi", "1.5Gi"), "more than 1.5Gi, such as twice 1.5Gi"),
        (DISK_FULL, "more than 47185920Ki, which it used"),
        ("The node was low on resource: ephemeral-storage. ", "the size of the model and the data"),
    ],
)
def test_an_eviction_for_its_disk_names_the_size_that_would_do(message: str, size: str) -> None:
    told = replace(PLAIN, disruption="TerminationByKubelet", disruption_message=message)
    for pod in (refused("Evicted", message), told):
        cause = pod_cause(pod)
        assert cause is not None
        assert f"spec.resources.ephemeralStorage to {size}" in cause.suggestion
        assert message.strip() in cause.message


def test_an_eviction_for_something_else_speaks_of_no_disk() -> None:
    cause = pod_cause(refused("Evicted", "The node was low on resource: memory. "))
    assert cause is not None
    assert (cause.reason, cause.suggestion) == ("Evicted", "")
