"""What only Kubernetes Events tell: why a Job gets no pod, why a pod's volumes are not mounted or not made.

Events cannot be selected by label and may be many, so they are asked for only while the other facts leave a question
open (`question_of`), and of those about one object only one with a known reason counts: the newest, or for a pod the
newest that names what is missing, since the kubelet alternates between that and "timed out waiting".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from swiftop import names
from swiftop.model.facts import Cause, JobFacts, PodFacts
from swiftop.model.times import seconds_of
from swiftop.names import Resource
from swiftop.observe.pods import missing_reference
from swiftop.reasons import Reason

MOUNT_PATIENCE_SECONDS = 10.0  # volumes are normally mounted in less
_STILL_TRUE_SECONDS = 300.0  # the kubelet repeats what is missing every two minutes or so

_PREFIX = re.compile(r'^Error creating: (?:(?:pods|Pod) "[^"]*" is (?:forbidden|invalid): )?')
_SECURITY = re.compile(r'violates PodSecurity "[^"]*": (.*)', re.DOTALL)
_PERMISSION = re.compile(r'User "[^"]*" cannot \w+ resource')
_KEY = re.compile(r"references non-existent config key: (\S+)")
_MOUNT_REASONS = ("FailedMount", "FailedAttachVolume")
_TOLD_BY = {names.JOB.kind: ("FailedCreate",), names.POD.kind: _MOUNT_REASONS, names.PVC.kind: ("ProvisioningFailed",)}


@dataclass(frozen=True, slots=True)
class Question:
    """An object whose events may explain what its own status does not."""

    resource: Resource
    name: str
    uid: str


def question_of(
    job: JobFacts | None,
    pods: Sequence[PodFacts],
    current: Sequence[PodFacts],
    claim: dict[str, Any] | None,
    *,
    now: float,
) -> Question | None:
    """The object to ask events about, if any. ``current`` is the newest pod of each rank, ``claim`` the volume that
    swiftop made."""
    if job is None or job.over or job.deleting:
        return None
    if not pods:
        # A Job that its controller has worked on and that still has no pod: the pod was refused.
        return Question(names.JOB, job.name, job.uid) if job.started and not job.active else None
    for pod in current:
        blocked = pod.unschedulable
        if blocked is not None and blocked.reason == Reason.VOLUME_PENDING and claim is not None:
            return Question(names.PVC, claim["metadata"]["name"], claim["metadata"]["uid"])
        if not_started(pod) and now - seconds_of(pod.scheduled_at or pod.created) >= MOUNT_PATIENCE_SECONDS:
            return Question(names.POD, pod.name, pod.uid)
    return None


def not_started(pod: PodFacts) -> bool:
    """Whether a scheduled pod still waits for its volumes or its sandbox, which its status does not tell apart."""
    return pod.scheduled and not pod.over and not pod.running_since and pod.waiting is None


def obstacle_of(question: Question, events: Iterable[dict[str, Any]]) -> Cause | None:
    """The newest answer to a question, or None when no event speaks of it."""
    told = [event for event in events if event.get("reason") in _TOLD_BY[question.resource.kind]]
    if not told:
        return None
    newest = max(told, key=_time)
    said = newest.get("message") or ""
    if question.resource is names.JOB:
        return refusal(said)
    if question.resource is names.PVC:
        return Cause(
            Reason.VOLUME_PENDING,
            f"the volume {question.name} cannot be made: {said}",
            "fix spec.output.volume.storageClassName (kubectl get storageclass shows those that there are), and delete "
            f"the claim, which keeps its class: kubectl delete pvc {question.name}",
        )
    return _mount(sorted(told, key=_time, reverse=True))


def refusal(said: str) -> Cause:
    """Why an object was not admitted, out of the API server's words."""
    text = _PREFIX.sub("", said)
    if "exceeded quota" in text or "failed quota" in text:
        return Cause(
            Reason.QUOTA_EXCEEDED,
            text,
            "it starts when the quota has room; see kubectl describe resourcequota, and ask for less in spec.resources",
        )
    if violation := _SECURITY.search(text):
        return Cause(
            Reason.POD_SECURITY_VIOLATION,
            f"Pod Security of the namespace refuses the pod: {violation[1]}",
            "remove what it names from spec.runtime, or use a namespace that allows it",
        )
    if _PERMISSION.search(text):
        return Cause(
            Reason.MISSING_PERMISSION,
            f"swiftop may not do it: {text}",
            "install manifests/base of this version of swiftop again (kubectl apply -k)",
        )
    if "no PriorityClass with name" in text:
        advice = "fix spec.placement.priorityClassName: kubectl get priorityclass shows those that there are"
        return Cause(Reason.POD_REFUSED, f"it is refused: {text}", advice)
    if "because it is being terminated" in text:
        return Cause(Reason.POD_REFUSED, f"it is refused: {text}", "use another namespace")
    return Cause(
        Reason.POD_REFUSED,
        f"it is refused: {text}",
        "compare spec.resources with the namespace's LimitRange (kubectl describe limitrange) and admission policies",
    )


def _mount(told: Sequence[dict[str, Any]]) -> Cause:
    """Out of events, the newest first."""
    newest = _time(told[0])
    for event in told:
        if newest - _time(event) <= _STILL_TRUE_SECONDS and (cause := _missing(event.get("message") or "")):
            return cause
    return Cause(
        Reason.VOLUME_MOUNT_FAILED,
        f"a volume cannot be mounted: {told[0].get('message') or ''}",
        "look at the events of the pod and of its claims (kubectl describe)",
    )


def _missing(said: str) -> Cause | None:
    if key := _KEY.search(said):
        text = f"a ConfigMap of the spec has no key {key[1]}"
        return Cause(Reason.CONFIG_MAP_MISSING, text, "add the key to the ConfigMap; it then goes on by itself")
    return missing_reference(said)


def _time(event: dict[str, Any]) -> float:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    meta_time = event.get("metadata", {}).get("creationTimestamp")
    return max(seconds_of(text) for text in (*times, meta_time, "") if text is not None)
