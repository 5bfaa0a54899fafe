"""Why an attempt failed: one cause out of all that its pods, the kubelet and the Job controller say.

The order of trust is fixed. The runner saw the exception, so its word comes first; the kubelet alone knows of a memory
kill that took the runner too; conditions of the pod tell of an interruption from outside; the exit code is the last
resort. Of several pods the first one that knows a real cause wins: what the others say is mostly its echo.
"""

from __future__ import annotations

from collections.abc import Iterable

from swiftop.model.facts import Cause, JobFacts, Observed, PodFacts
from swiftop.model.times import seconds_of
from swiftop.observe.report import tail
from swiftop.reasons import Reason
from swiftop.runner import causes

VAGUE = frozenset(
    {cause.reason for cause in causes.BY_REASON.values() if cause.vague}
    | {causes.INTERRUPTED.reason, Reason.POD_DELETED, Reason.EVICTED}
)
"""Reasons that tell a symptom: any other cause is preferred to them."""

_AGAIN = "checkpoints written so far are kept on the output; apply a run with a new name to train again"
# Reasons of the pod condition DisruptionTarget and of a pod's status, by what they mean for the run.
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
_NOT_STARTED = frozenset({"StartError", "ContainerCannotRun", "ContainerStatusUnknown"})


def cause_of(job: JobFacts, observed: Observed) -> Cause:
    """Cause of a failed attempt."""
    known = [cause for pod in _in_order(observed.current) if (cause := pod_cause(pod)) is not None]
    found = next((cause for cause in known if cause.reason not in VAGUE), known[0] if known else None)
    if job.failure_reason == "DeadlineExceeded" and (found is None or found.reason in VAGUE):
        return Cause(
            Reason.DEADLINE_EXCEEDED,
            "the run took longer than spec.lifecycle.activeDeadlineSeconds",
            "raise spec.lifecycle.activeDeadlineSeconds, or train fewer steps",
        )
    if found is not None:
        return found
    if not observed.pods:
        return Cause(Reason.POD_DELETED, "its pod was deleted before the training ended", _AGAIN)
    return Cause(Reason.FAILED, job.failure_message or "the Job failed")


def pod_cause(pod: PodFacts) -> Cause | None:
    """Cause that one pod gives for its end; None when it ended well or not at all."""
    if not pod.over or pod.phase == "Succeeded":
        return None
    witnesses = (_reported, _killed_for_memory, _interruption, _reported_vaguely)
    return next((cause for ask in witnesses if (cause := ask(pod)) is not None), None) or _by_exit_code(pod)


def _in_order(pods: Iterable[PodFacts]) -> list[PodFacts]:
    """The pod that ended first is first: a failing rank takes the others down."""
    return sorted(pods, key=lambda pod: (seconds_of(pod.end.finished) if pod.end else float("inf"), pod.index))


def _reported(pod: PodFacts) -> Cause | None:
    said = pod.end.outcome if pod.end else None
    if said is None or said.outcome != "failed" or said.reason in VAGUE or said.reason not in causes.BY_REASON:
        return None
    return Cause(said.reason, said.message, said.suggestion or causes.BY_REASON[said.reason].suggestion, said.log)


def _killed_for_memory(pod: PodFacts) -> Cause | None:
    if pod.end is None or pod.end.reason != "OOMKilled":
        return None
    memory = causes.HOST_OUT_OF_MEMORY
    log = pod.end.outcome.log if pod.end.outcome else tail(pod.end.message)
    return Cause(memory.reason, "the container used more memory than its limit and was killed", memory.suggestion, log)


def _interruption(pod: PodFacts) -> Cause | None:
    known = _INTERRUPTIONS.get(pod.disruption) or _INTERRUPTIONS.get(pod.reason)
    if known is None:
        return None
    reason, text = known
    detail = pod.disruption_message or pod.message
    return Cause(reason, f"the pod was interrupted: {text}" + (f" ({detail})" if detail else ""), _AGAIN)


def _reported_vaguely(pod: PodFacts) -> Cause | None:
    said = pod.end.outcome if pod.end else None
    if said is None or said.outcome == "finished":
        return None
    if said.outcome == "interrupted":
        # The runner cannot know who sent the signal: without a sign that the pod goes, it came from inside it.
        reason = Reason.POD_DELETED if pod.deleting or pod.disruption else causes.INTERRUPTED.reason
        return Cause(reason, said.message or "the training was interrupted", _AGAIN, said.log)
    known = causes.BY_REASON.get(said.reason, causes.UNKNOWN)
    return Cause(known.reason, said.message, said.suggestion or known.suggestion, said.log)


def _by_exit_code(pod: PodFacts) -> Cause:
    end = pod.end
    if end is None:
        return Cause(
            Reason.FAILED, pod.message or "the pod failed without a word", "look at the pod with kubectl describe"
        )
    if end.reason in _NOT_STARTED:
        return Cause(
            Reason.CONTAINER_CONFIG_ERROR,
            f"the container could not be started: {end.message}",
            "spec.runtime.image needs a python of 3.9 or newer on its PATH",
        )
    text = f"the training ended with exit code {end.exit_code} and left no report"
    return Cause(causes.UNKNOWN.reason, text, causes.UNKNOWN.suggestion, tail(end.message))
