"""Conditions that all kinds have that end, out of what is said of an object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftop.batch.observe import Observed
from swiftop.model.conditions import Aspect, as_before, told
from swiftop.model.facts import Cause
from swiftop.model.verdict import Blocked, Failed, Finished, Outlook, Phase, Suspended, Waiting
from swiftop.reasons import DEPENDENCIES, INVALID, Reason
from swiftop.reasons import ConditionType as Type

COMMON = (
    Type.SUCCEEDED,
    Type.RECONCILING,
    Type.STALLED,
    Type.VALIDATED,
    Type.DEPENDENCIES_READY,
    Type.SCHEDULED,
    Type.RUNNING,
    Type.SUSPENDED,
)
"""Condition types of every kind that ends, in printed order; a kind's own follow."""

_Before = Mapping[str, Mapping[str, Any]]


def aspects_of(outlook: Outlook, *, observed: Observed, before: _Before, warning: str = "") -> dict[str, Aspect]:
    """What the outlook means for each common condition."""
    match outlook:
        case Waiting():
            aspects = _waiting(outlook)
        case Blocked():
            aspects = _blocked(outlook)
        case Suspended():
            aspects = _suspended(outlook.cause, before)
        case Finished():
            aspects = _finished(outlook)
        case Failed():
            aspects = _failed(outlook.cause, observed, before)
    if aspects[Type.VALIDATED].status == "True":
        aspects[Type.VALIDATED] = Aspect("True", Reason.VALID, warning)
    aspects[Type.SUSPENDED] = (
        told("True", outlook.cause) if isinstance(outlook, Suspended) else Aspect("False", Reason.NOT_SUSPENDED)
    )
    return aspects


def _waiting(waiting: Waiting) -> dict[str, Aspect]:
    cause = waiting.cause
    running = waiting.phase is Phase.RUNNING
    placed = waiting.phase is not Phase.PENDING
    return {
        Type.SUCCEEDED: told("Unknown", cause),
        Type.RECONCILING: told("True", cause),
        Type.STALLED: Aspect("False", Reason.VALID),
        Type.VALIDATED: Aspect("True", Reason.VALID),
        Type.DEPENDENCIES_READY: _dependencies(cause, running=running),
        Type.SCHEDULED: Aspect("True", Reason.SCHEDULED) if placed else told("False", cause),
        Type.RUNNING: Aspect("True", Reason.RUNNING) if running else told("False", cause),
    }


def _dependencies(cause: Cause, *, running: bool) -> Aspect:
    if cause.reason in DEPENDENCIES:
        return told("False", cause)
    return Aspect("True", Reason.READY) if running else Aspect("Unknown", Reason.PENDING)


def _blocked(blocked: Blocked) -> dict[str, Aspect]:
    cause = blocked.cause
    invalid = cause.reason in INVALID
    return {
        Type.SUCCEEDED: told("Unknown", cause),
        Type.RECONCILING: told("False" if blocked.stalled else "True", cause),
        Type.STALLED: told("True", cause) if blocked.stalled else Aspect("False", Reason.VALID),
        Type.VALIDATED: told("False", cause) if invalid else Aspect("True", Reason.VALID),
        Type.DEPENDENCIES_READY: _dependencies(cause, running=False),
        Type.SCHEDULED: Aspect("False", Reason.PENDING),
        Type.RUNNING: Aspect("False", Reason.PENDING),
    }


def _suspended(cause: Cause, before: _Before) -> dict[str, Aspect]:
    """Reconciling only while it is being stopped: kstatus takes a suspended object for settled."""
    stopping = cause.reason != Reason.SUSPENDED
    return {
        Type.SUCCEEDED: told("Unknown", cause),
        Type.RECONCILING: told("True" if stopping else "False", cause),
        Type.STALLED: Aspect("False", Reason.VALID),
        Type.VALIDATED: Aspect("True", Reason.VALID),
        Type.DEPENDENCIES_READY: as_before(before, Type.DEPENDENCIES_READY),
        Type.SCHEDULED: as_before(before, Type.SCHEDULED) if stopping else Aspect("False", Reason.SUSPENDED),
        Type.RUNNING: as_before(before, Type.RUNNING) if stopping else Aspect("False", Reason.SUSPENDED),
    }


def _finished(finished: Finished) -> dict[str, Aspect]:
    return {
        Type.SUCCEEDED: Aspect("True", finished.reason, finished.message),
        Type.RECONCILING: Aspect("False", Reason.FINISHED),
        Type.STALLED: Aspect("False", Reason.VALID),
        Type.VALIDATED: Aspect("True", Reason.VALID),
        Type.DEPENDENCIES_READY: Aspect("True", Reason.READY),
        Type.SCHEDULED: Aspect("True", Reason.SCHEDULED),
        Type.RUNNING: Aspect("False", Reason.FINISHED),
    }


def _failed(cause: Cause, observed: Observed, before: _Before) -> dict[str, Aspect]:
    """How far it had come stays visible. Stalled is what kstatus shows as failed."""
    placed = any(pod.scheduled for pod in observed.pods)
    return {
        Type.SUCCEEDED: told("False", cause),
        Type.RECONCILING: Aspect("False", Reason.FAILED),
        Type.STALLED: told("True", cause),
        Type.VALIDATED: Aspect("True", Reason.VALID),
        Type.DEPENDENCIES_READY: (
            Aspect("True", Reason.READY) if observed.started else as_before(before, Type.DEPENDENCIES_READY)
        ),
        Type.SCHEDULED: Aspect("True", Reason.SCHEDULED) if placed else as_before(before, Type.SCHEDULED),
        Type.RUNNING: Aspect("False", Reason.FAILED),
    }


def ended(status: Mapping[str, Any]) -> bool:
    """Whether an object with this status is over for good."""
    summary = next((c for c in status.get("conditions") or () if c["type"] == Type.SUCCEEDED), None)
    return summary is not None and summary["status"] in ("True", "False")
