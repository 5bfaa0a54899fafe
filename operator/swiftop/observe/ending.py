"""Why one pod ended, out of all that it, the kubelet and the scheduler say.

The order of trust is fixed. The runner saw the exception, so its word comes first; the kubelet alone knows of a memory
kill that took the runner too; conditions of the pod tell of an interruption from outside; the exit code is the last
resort.
"""

from __future__ import annotations

import re
from dataclasses import replace

from swiftop.model.facts import Cause, Ended, PodFacts
from swiftop.observe.report import tail
from swiftop.reasons import Reason
from swiftop.runner import advice, causes
from swiftop.runner.ends import EXIT_INTERRUPTED
from swiftop.runner.protocol import FAILED, FINISHED, INTERRUPTED

VAGUE = frozenset(
    {cause.reason for cause in causes.BY_REASON.values() if cause.vague}
    | {causes.INTERRUPTED.reason, Reason.POD_DELETED, Reason.EVICTED, Reason.CONTAINER_LOST, Reason.FAILED}
)
"""Reasons that tell a symptom: any other cause is preferred to them."""

_BY_ITS_NODE = (Reason.EVICTED, "its node ended it")
# Reasons of the pod condition DisruptionTarget and of a pod's status, by what they mean for the attempt.
_INTERRUPTIONS = {
    "PreemptionByScheduler": (Reason.PREEMPTED, "a pod of higher priority took its place"),
    "Preempting": (Reason.PREEMPTED, "a pod of higher priority took its place"),
    "DeletionByTaintManager": (Reason.NODE_LOST, "its node failed or was tainted"),
    "DeletionByPodGC": (Reason.NODE_LOST, "its node is gone"),
    "NodeLost": (Reason.NODE_LOST, "its node does not answer"),
    "EvictionByEvictionAPI": (Reason.EVICTED, "it was evicted, as by kubectl drain"),
    "TerminationByKubelet": _BY_ITS_NODE,
    "Evicted": _BY_ITS_NODE,
    "NodeShutdown": (Reason.EVICTED, "its node was shut down"),
    "Terminated": (Reason.EVICTED, "its node was shut down"),
}
# Reasons of the status of a pod that the kubelet did not admit (pkg/kubelet/lifecycle/predicate.go and handlers).
_NOT_ADMITTED = re.compile(
    r"OutOf.+|UnexpectedAdmissionError|UnexpectedPredicateFailureType|NodeAffinity|TopologyAffinityError|"
    r"PodResizeStatus|AppArmor|SysctlForbidden|InvalidNodeInfo|PodOSNotSupported"
)
# The kubelet's words (pkg/kubelet/eviction/helpers.go of Kubernetes 1.37.2).
_DISK_EXCEEDED = re.compile(
    r'(?:Usage of EmptyDir volume "[^"]*" exceeds the limit|exceeded its local ephemeral storage limit|'
    r'ephemeral local storage usage exceeds the total limit of containers) "?(?P<size>[0-9.]+[A-Za-z]*[0-9]*)'
)
_USED = re.compile(r"Container \S+ was using (\S+), request is")
_SIZE = re.compile(r"([0-9]+)([A-Za-z]*)")
_NOT_STARTED = frozenset({"StartError", "ContainerCannotRun"})
# Words of a runtime that did not find what the image should have; any other trouble of it may pass.
_IMAGE_AT_FAULT = re.compile(r"executable file not found|no such file or directory|permission denied|exec format error")
_SIGNALS = 128  # a process that died of a signal has 128 and its number; a runtime that lost a container says 255


def pod_cause(pod: PodFacts) -> Cause | None:
    """Cause that one pod gives for its end; None when it ended well or not at all."""
    if not pod.over or pod.phase == "Succeeded" or (pod.ended is not None and pod.ended.exit_code == 0):
        return None
    witnesses = (
        _reported,
        _killed_for_memory,
        _disk_exceeded,
        _interruption,
        _not_admitted,
        _init_container,
        _reported_vaguely,
        _by_exit_code,
    )
    return next((cause for ask in witnesses if (cause := ask(pod)) is not None), None)


def suited(cause: Cause, program: str) -> Cause:
    """Advice in words of the kind, where the operator itself has found the cause."""
    known = causes.BY_REASON.get(cause.reason)
    if known is None or cause.suggestion != known.suggestion:
        return cause
    return replace(cause, suggestion=advice.suggestion(known, program))


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


def _disk_exceeded(pod: PodFacts) -> Cause | None:
    """It wrote more to its node's disk than it may: whoever runs it again finds the same."""
    said = pod.disruption_message or pod.message
    found = _DISK_EXCEEDED.search(said) if _INTERRUPTIONS.get(pod.disruption or pod.reason) == _BY_ITS_NODE else None
    if found is None:
        return None
    size = found["size"]
    return Cause(
        Reason.EPHEMERAL_STORAGE_EXCEEDED,
        f"the pod was ended, since it wrote more to its node's disk than its limit of {size}: {said.strip()}",
        f"under a new name where it has started, set spec.resources.ephemeralStorage to more than {size}, such as "
        f"{_larger(size)}; or keep downloads on a claim (spec.cache), and the output of a run or an export on a volume",
    )


def _larger(size: str) -> str:
    """Twice the size, in the same unit."""
    found = _SIZE.fullmatch(size)
    return f"{2 * int(found[1])}{found[2]}" if found else f"twice {size}"


def _short_of_disk(said: str) -> str:
    """What keeps a pod from a node whose disk runs full; empty where that was not why."""
    if "low on resource: ephemeral-storage" not in said:
        return ""
    used = _USED.search(said)
    size = f"more than {used[1]}, which it used" if used else "the size of the model and the data that it keeps in /tmp"
    return (
        f"when that happens again, apply it with a new name and set spec.resources.ephemeralStorage to {size}, so that "
        "it gets a node which has as much; or keep downloads on a claim (spec.cache)"
    )


def _interruption(pod: PodFacts) -> Cause | None:
    known = _INTERRUPTIONS.get(pod.disruption) or _INTERRUPTIONS.get(pod.reason)
    if known is None:
        return None
    reason, text = known
    detail = pod.disruption_message or pod.message
    return Cause(
        reason, f"the pod was interrupted: {text}" + (f" ({detail})" if detail else ""), _short_of_disk(detail)
    )


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
