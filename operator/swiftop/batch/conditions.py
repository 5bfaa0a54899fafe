"""Conditions of a run: the whole list each time, every type from the first write on.

``lastTransitionTime`` moves only when a status changes, as the API conventions ask, so that an unchanged run gives an
unchanged list, and an unchanged list no write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from swiftop.model.facts import Cause, Observed
from swiftop.model.verdict import Blocked, Fail, Finish, Phase, StartAttempt, Verdict, Wait
from swiftop.reasons import ConditionType as Type
from swiftop.reasons import Reason

INVALID = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.UNKNOWN_FLAG,
        Reason.UNSUPPORTED_VERSION,
        Reason.INVALID_DEFAULTS,
        Reason.IMAGE_MISSING,
    }
)
"""Reasons of a run that cannot be started as it is written."""

DEPENDENCIES = frozenset(
    {
        Reason.NAME_CONFLICT,
        Reason.CONFIG_MAP_MISSING,
        Reason.SECRET_MISSING,
        Reason.SECRET_KEY_MISSING,
        Reason.CLAIM_MISSING,
        Reason.VOLUME_PENDING,
        Reason.VOLUME_MOUNT_FAILED,
        Reason.IMAGE_PULL_FAILED,
    }
)
"""Reasons of a run that waits for something besides a node."""

_MESSAGE_CHARACTERS = 4096


class Aspect(NamedTuple):
    """Content of one condition."""

    status: str
    reason: str
    message: str = ""


Aspects = dict[Type, Aspect]


def held(status: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Conditions of a status by type."""
    return {condition["type"]: condition for condition in status.get("conditions") or ()}


def aspects_of(
    verdict: Verdict, *, observed: Observed, before: Mapping[str, Mapping[str, Any]], warning: str = ""
) -> Aspects:
    """What the verdict means for each condition, but for the two that progress decides (`progress_aspects`)."""
    match verdict:
        case Wait():
            aspects = _waiting(verdict)
        case Blocked():
            aspects = _blocked(verdict)
        case Finish():
            aspects = _finished(verdict)
        case Fail():
            aspects = _failed(verdict.cause, observed, before)
        case StartAttempt():
            return {}
    if aspects[Type.VALIDATED].status == "True":
        aspects[Type.VALIDATED] = Aspect("True", Reason.VALID, warning[:_MESSAGE_CHARACTERS])
    return aspects


def said(cause: Cause) -> str:
    """Message of a condition: the cause and what to do about it."""
    text = f"{cause.message}: {cause.suggestion}" if cause.suggestion else cause.message
    return text[:_MESSAGE_CHARACTERS]


def _waiting(wait: Wait) -> Aspects:
    cause = wait.cause
    running = wait.phase is Phase.RUNNING
    placed = wait.phase is not Phase.PENDING
    return {
        Type.SUCCEEDED: Aspect("Unknown", cause.reason, said(cause)),
        Type.RECONCILING: Aspect("True", cause.reason, said(cause)),
        Type.STALLED: Aspect("False", Reason.VALID),
        Type.VALIDATED: Aspect("True", Reason.VALID),
        Type.DEPENDENCIES_READY: _dependencies(cause, running=running),
        Type.SCHEDULED: Aspect("True", Reason.SCHEDULED) if placed else Aspect("False", cause.reason, said(cause)),
        Type.RUNNING: Aspect("True", Reason.RUNNING) if running else Aspect("False", cause.reason, said(cause)),
    }


def _dependencies(cause: Cause, *, running: bool) -> Aspect:
    if cause.reason in DEPENDENCIES:
        return Aspect("False", cause.reason, said(cause))
    return Aspect("True", Reason.READY) if running else Aspect("Unknown", Reason.PENDING)


def _blocked(blocked: Blocked) -> Aspects:
    cause = blocked.cause
    invalid = cause.reason in INVALID
    return {
        Type.SUCCEEDED: Aspect("Unknown", cause.reason, said(cause)),
        Type.RECONCILING: Aspect("False" if blocked.stalled else "True", cause.reason, said(cause)),
        Type.STALLED: Aspect("True", cause.reason, said(cause)) if blocked.stalled else Aspect("False", Reason.VALID),
        Type.VALIDATED: Aspect("False", cause.reason, said(cause)) if invalid else Aspect("True", Reason.VALID),
        Type.DEPENDENCIES_READY: _dependencies(cause, running=False),
        Type.SCHEDULED: Aspect("False", Reason.PENDING),
        Type.RUNNING: Aspect("False", Reason.PENDING),
    }


def _finished(finish: Finish) -> Aspects:
    return {
        Type.SUCCEEDED: Aspect("True", finish.reason, finish.message),
        Type.RECONCILING: Aspect("False", Reason.FINISHED),
        Type.STALLED: Aspect("False", Reason.VALID),
        Type.VALIDATED: Aspect("True", Reason.VALID),
        Type.DEPENDENCIES_READY: Aspect("True", Reason.READY),
        Type.SCHEDULED: Aspect("True", Reason.SCHEDULED),
        Type.RUNNING: Aspect("False", Reason.FINISHED),
    }


def _failed(cause: Cause, observed: Observed, before: Mapping[str, Mapping[str, Any]]) -> Aspects:
    """How far the run had come stays visible. Stalled is what kstatus shows as failed."""
    placed = any(pod.scheduled for pod in observed.pods)
    ran = any(pod.end or pod.running_since for pod in observed.pods)
    return {
        Type.SUCCEEDED: Aspect("False", cause.reason, said(cause)),
        Type.RECONCILING: Aspect("False", Reason.FAILED),
        Type.STALLED: Aspect("True", cause.reason, said(cause)),
        Type.VALIDATED: Aspect("True", Reason.VALID),
        Type.DEPENDENCIES_READY: Aspect("True", Reason.READY) if ran else _as_before(before, Type.DEPENDENCIES_READY),
        Type.SCHEDULED: Aspect("True", Reason.SCHEDULED) if placed else _as_before(before, Type.SCHEDULED),
        Type.RUNNING: Aspect("False", Reason.FAILED),
    }


def _as_before(before: Mapping[str, Mapping[str, Any]], type_: Type) -> Aspect:
    known = before.get(type_)
    return Aspect(known["status"], known["reason"], known["message"]) if known else Aspect("Unknown", Reason.PENDING)


def progress_aspects(
    verdict: Verdict, *, before: Mapping[str, Mapping[str, Any]], heard: bool, reachable: bool, checkpoint: bool
) -> Aspects:
    """Whether there is a checkpoint, and whether the training tells how far it is."""
    saved = Aspect("True", Reason.CHECKPOINT_SAVED) if checkpoint else Aspect("False", Reason.NO_CHECKPOINT)
    return {Type.CHECKPOINT_AVAILABLE: saved, Type.PROGRESS_AVAILABLE: _progress(verdict, before, heard, reachable)}


def _progress(verdict: Verdict, before: Mapping[str, Mapping[str, Any]], heard: bool, reachable: bool) -> Aspect:
    if not isinstance(verdict, Wait) or verdict.phase is not Phase.RUNNING:
        return Aspect("False", Reason.NOT_RUNNING)
    if not reachable:
        text = "neither the pod's progress page nor its log can be read: does a NetworkPolicy keep the operator away?"
        return Aspect("False", Reason.PROGRESS_UNAVAILABLE, text)
    if heard:
        return Aspect("True", Reason.PROGRESS_REPORTED)
    # Not heard yet, as after a restart of the operator: what was known holds, and nothing is written.
    known = before.get(Type.PROGRESS_AVAILABLE)
    if known is not None and known["reason"] in (Reason.PROGRESS_REPORTED, Reason.PROGRESS_UNAVAILABLE):
        return _as_before(before, Type.PROGRESS_AVAILABLE)
    return Aspect("Unknown", Reason.STARTING)


def written(
    aspects: Mapping[Type, Aspect], *, before: Mapping[str, Mapping[str, Any]], generation: int, now: str
) -> list[dict[str, Any]]:
    """The condition list, in the order of `ConditionType`."""
    return [_condition(type_, aspects[type_], before.get(type_), generation, now) for type_ in Type]


def _condition(
    type_: Type, aspect: Aspect, before: Mapping[str, Any] | None, generation: int, now: str
) -> dict[str, Any]:
    same = before is not None and before["status"] == aspect.status
    return {
        "type": str(type_),
        "status": aspect.status,
        "reason": str(aspect.reason),
        "message": aspect.message,
        "observedGeneration": generation,
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and same else now,
    }


def ended(status: Mapping[str, Any]) -> bool:
    """Whether the run is over for good."""
    summary = held(status).get(Type.SUCCEEDED)
    return summary is not None and summary["status"] in ("True", "False")


def acknowledged(conditions: Iterable[Mapping[str, Any]], generation: int) -> list[dict[str, Any]]:
    """The same conditions for a newer generation of the spec, which changed nothing any more."""
    return [{**condition, "observedGeneration": generation} for condition in conditions]
