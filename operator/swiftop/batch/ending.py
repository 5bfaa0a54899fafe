"""Why an attempt failed, and what that means for the next one.

One cause out of all that its pods, the kubelet and the Job controller say. The order of trust is fixed. The runner saw
the exception, so its word comes first; the kubelet alone knows of a memory kill that took the runner too; conditions
of the pod tell of an interruption from outside; the exit code is the last resort. Of several pods the first one that
knows a real cause wins: what the others say is mostly its echo.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from enum import Enum, auto

from swiftop.batch.observe import Observed
from swiftop.model.facts import Cause, Ended, JobFacts, PodFacts
from swiftop.model.times import seconds_of
from swiftop.observe.report import tail
from swiftop.reasons import Reason
from swiftop.runner import causes
from swiftop.runner.ends import EXIT_INTERRUPTED
from swiftop.runner.protocol import FAILED, FINISHED, INTERRUPTED


class After(Enum):
    """What follows a failed attempt."""

    CONTINUE = auto()  # it was interrupted from outside: a new attempt, as often as it makes headway
    RETRY = auto()  # the cause may pass: a new attempt, spec.lifecycle.maxRetries times
    END = auto()  # the same would happen again


_INTERRUPTED = frozenset(
    {Reason.PREEMPTED, Reason.NODE_LOST, Reason.EVICTED, Reason.POD_DELETED, causes.INTERRUPTED.reason}
)
_MAY_PASS = frozenset(
    {cause.reason for cause in causes.BY_REASON.values() if cause.transient}
    | {Reason.NODE_REFUSED_POD, Reason.CONTAINER_START_FAILED, Reason.CONTAINER_LOST}
)
# Causes share exit codes: where one of them may pass, a bounded number of further attempts is the lesser harm.
_CODES_THAT_MAY_PASS = frozenset(cause.exit_code for cause in causes.BY_REASON.values() if cause.transient)
VAGUE = frozenset(
    {cause.reason for cause in causes.BY_REASON.values() if cause.vague}
    | {causes.INTERRUPTED.reason, Reason.POD_DELETED, Reason.EVICTED, Reason.CONTAINER_LOST, Reason.FAILED}
)
"""Reasons that tell a symptom: any other cause is preferred to them."""

# Reasons of the pod condition DisruptionTarget and of a pod's status, by what they mean for the attempt.
_INTERRUPTIONS = {
    "PreemptionByScheduler": (Reason.PREEMPTED, "a pod of higher priority took its place"),
    "Preempting": (Reason.PREEMPTED, "a pod of higher priority took its place"),
    "DeletionByTaintManager": (Reason.NODE_LOST, "its node failed or was tainted"),
    "DeletionByPodGC": (Reason.NODE_LOST, "its node is gone"),
    "NodeLost": (Reason.NODE_LOST, "its node does not answer"),
    "EvictionByEvictionAPI": (Reason.EVICTED, "it was evicted, as by kubectl drain"),
    "TerminationByKubelet": (Reason.EVICTED, "its node ended it"),
    "Evicted": (Reason.EVICTED, "its node ended it"),
    "NodeShutdown": (Reason.EVICTED, "its node was shut down"),
    "Terminated": (Reason.EVICTED, "its node was shut down"),
}
# Reasons of the status of a pod that the kubelet did not admit (pkg/kubelet/lifecycle/predicate.go and handlers).
_NOT_ADMITTED = re.compile(
    r"OutOf.+|UnexpectedAdmissionError|UnexpectedPredicateFailureType|NodeAffinity|TopologyAffinityError|"
    r"PodResizeStatus|AppArmor|SysctlForbidden|InvalidNodeInfo|PodOSNotSupported"
)
_NOT_STARTED = frozenset({"StartError", "ContainerCannotRun"})
# Words of a runtime that did not find what the image should have; any other trouble of it may pass.
_IMAGE_AT_FAULT = re.compile(r"executable file not found|no such file or directory|permission denied|exec format error")


# "Container trainer for pod team/run-1-x failed with exit code 5 matching FailJob rule at index 1"
_EXIT_CODE = re.compile(r"failed with exit code ([0-9]{1,3})\b")
_SIGNALS = 128  # a process that died of a signal has 128 and its number; a runtime that lost a container says 255


def after(cause: Cause) -> After:
    """What follows an attempt that failed for this cause."""
    if cause.reason in _INTERRUPTED:
        return After.CONTINUE
    return After.RETRY if cause.reason in _MAY_PASS else After.END


def is_interruption(cause: Cause | None) -> bool:
    """Whether a pod ended because it was taken away."""
    return cause is not None and cause.reason in _INTERRUPTED


def cause_of(job: JobFacts, observed: Observed) -> Cause:
    """Cause of a failed attempt."""
    known = [cause for pod in in_order(observed.current) if (cause := pod_cause(pod)) is not None]
    found = next((cause for cause in known if cause.reason not in VAGUE), None)
    # An interruption takes the other ranks down, and their echo may be heard first.
    found = found or next((cause for cause in known if is_interruption(cause)), known[0] if known else None)
    if job.failure_reason == "DeadlineExceeded" and (found is None or found.reason in VAGUE):
        return Cause(
            Reason.DEADLINE_EXCEEDED,
            "the attempt took longer than spec.lifecycle.activeDeadlineSeconds",
            "raise spec.lifecycle.activeDeadlineSeconds, or ask for less work",
        )
    if found is not None:
        return found
    if not observed.pods:
        return _without_pods(job)
    return Cause(Reason.FAILED, job.failure_message or "the Job failed")


def _without_pods(job: JobFacts) -> Cause:
    """The pods are gone with what they said; of a documented exit code the Job controller wrote down the number."""
    code = _EXIT_CODE.search(job.failure_message) if job.failure_reason == "PodFailurePolicy" else None
    if code is None or int(code[1]) == EXIT_INTERRUPTED:
        return Cause(Reason.POD_DELETED, "its pod was deleted before the end")
    text = f"the container ended with exit code {code[1]}, and its pod with what it said is gone"
    reason = Reason.CONTAINER_LOST if int(code[1]) in _CODES_THAT_MAY_PASS else causes.UNKNOWN.reason
    return Cause(reason, text, "docs/reasons.md lists what the exit code may mean")


def finished_well(observed: Observed) -> bool:
    """Whether the main containers of all ranks ended well, whatever other containers of their pods do."""
    current = observed.current
    return bool(current) and all(
        pod.phase == "Succeeded" or (pod.ended is not None and pod.ended.exit_code == 0) for pod in current
    )


def pod_cause(pod: PodFacts) -> Cause | None:
    """Cause that one pod gives for its end; None when it ended well or not at all."""
    if not pod.over or pod.phase == "Succeeded" or (pod.ended is not None and pod.ended.exit_code == 0):
        return None
    witnesses = (
        _reported,
        _killed_for_memory,
        _interruption,
        _not_admitted,
        _init_container,
        _reported_vaguely,
        _by_exit_code,
    )
    return next((cause for ask in witnesses if (cause := ask(pod)) is not None), None)


def in_order(pods: Iterable[PodFacts]) -> list[PodFacts]:
    """The pod that ended first is first: a failing rank takes the others down."""
    return sorted(pods, key=lambda pod: (seconds_of(pod.finished) if pod.ended else float("inf"), pod.index))


def _reported(pod: PodFacts) -> Cause | None:
    said = pod.ended.outcome if pod.ended else None
    if said is None or said.outcome != FAILED or said.reason in VAGUE or said.reason not in causes.BY_REASON:
        return None
    return Cause(said.reason, said.message, said.suggestion or causes.BY_REASON[said.reason].suggestion, said.log)


def _killed_for_memory(pod: PodFacts) -> Cause | None:
    if pod.ended is None or pod.ended.reason != "OOMKilled":
        return None
    memory = causes.HOST_OUT_OF_MEMORY
    log = pod.ended.outcome.log if pod.ended.outcome else tail(pod.ended.message)
    return Cause(memory.reason, "the container used more memory than its limit and was killed", memory.suggestion, log)


def _interruption(pod: PodFacts) -> Cause | None:
    known = _INTERRUPTIONS.get(pod.disruption) or _INTERRUPTIONS.get(pod.reason)
    if known is None:
        return None
    reason, text = known
    detail = pod.disruption_message or pod.message
    return Cause(reason, f"the pod was interrupted: {text}" + (f" ({detail})" if detail else ""))


def _not_admitted(pod: PodFacts) -> Cause | None:
    """The scheduler's and the kubelet's books differ for a moment, as after a restart of a device plugin."""
    if not _NOT_ADMITTED.fullmatch(pod.reason):
        return None
    return Cause(
        Reason.NODE_REFUSED_POD,
        f"node {pod.node or '?'} refused the pod ({pod.reason}): {pod.message}",
        "look at the node's device plugin and its free resources (kubectl describe node)",
    )


def _init_container(pod: PodFacts) -> Cause | None:
    """The pod is over and its main container never ran: the init container that kept it from that tells why."""
    blocked = pod.waiting
    return blocked if blocked is not None and blocked.reason == Reason.INIT_CONTAINER_FAILED else None


def _reported_vaguely(pod: PodFacts) -> Cause | None:
    said = pod.ended.outcome if pod.ended else None
    if said is None or said.outcome == FINISHED:
        return None
    if said.outcome == INTERRUPTED:
        # The runner cannot know who sent the signal: without a sign that the pod goes, it came from inside it.
        reason = Reason.POD_DELETED if pod.deleting or pod.disruption else causes.INTERRUPTED.reason
        return Cause(reason, said.message or "it was interrupted", "", said.log)
    known = causes.BY_REASON.get(said.reason, causes.UNKNOWN)
    return Cause(known.reason, said.message, said.suggestion or known.suggestion, said.log)


def _by_exit_code(pod: PodFacts) -> Cause:
    ended = pod.ended
    if ended is None:
        message = pod.message or "the pod failed and left no message"
        return Cause(Reason.FAILED, message, "look at the pod with kubectl describe")
    if ended.reason in _NOT_STARTED:
        return _not_started(ended)
    if ended.exit_code >= _SIGNALS:
        return Cause(
            Reason.CONTAINER_LOST,
            f"the container ended with exit code {ended.exit_code} and left no report: it was killed, or its node "
            "restarted",
            "look at the node (kubectl describe node), and at what in the pod may send signals",
            tail(ended.message),
        )
    if ended.exit_code == EXIT_INTERRUPTED:  # told to stop before it could do more than end
        reason = Reason.POD_DELETED if pod.deleting or pod.disruption else causes.INTERRUPTED.reason
        return Cause(reason, "it was told to stop while it started")
    text = f"the container ended with exit code {ended.exit_code} and left no report"
    return Cause(causes.UNKNOWN.reason, text, causes.UNKNOWN.suggestion, tail(ended.message))


def _not_started(ended: Ended) -> Cause:
    text = f"the container could not be started: {ended.message}"
    if _IMAGE_AT_FAULT.search(ended.message) and "nvidia" not in ended.message:
        advice = "spec.runtime.image needs a python of 3.9 or newer on its PATH"
        return Cause(Reason.CONTAINER_CONFIG_ERROR, text, advice)
    advice = "look at the node's container runtime and GPU driver (kubectl describe node)"
    return Cause(Reason.CONTAINER_START_FAILED, text, advice)


def advised(cause: Cause, suggestion: str) -> Cause:
    """``cause`` with this suggestion, where it has none of its own."""
    return cause if cause.suggestion else replace(cause, suggestion=suggestion)
