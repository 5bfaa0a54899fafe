"""Conditions that all kinds have that serve, out of what is said of an object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftop.model.conditions import Aspect, as_before, told
from swiftop.model.facts import Cause
from swiftop.model.verdict import Blocked, Outlook, Serving, Waiting
from swiftop.reasons import INVALID, Reason
from swiftop.reasons import ConditionType as Type

COMMON = (Type.READY, Type.RECONCILING, Type.STALLED, Type.VALIDATED, Type.PROGRESSING)
"""Condition types of every kind that serves, in printed order; a kind's own follow."""


def aspects_of(
    outlook: Outlook, *, before: Mapping[str, Mapping[str, Any]], revision: str, warning: str = ""
) -> dict[str, Aspect]:
    """What the outlook means for each common condition."""
    match outlook:
        case Serving():
            aspects = _serving(outlook, revision)
        case Waiting():
            aspects = _waiting(outlook.cause, reconciling=True, stalled=False)
        case Blocked():
            aspects = _waiting(outlook.cause, reconciling=not outlook.stalled, stalled=outlook.stalled)
        case _:  # of what ends
            aspects = {type_: as_before(before, type_) for type_ in COMMON}
    if aspects[Type.VALIDATED].status == "True":
        aspects[Type.VALIDATED] = Aspect("True", Reason.VALID, warning)
    return aspects


def _serving(serving: Serving, revision: str) -> dict[str, Aspect]:
    rollout = serving.rollout
    return {
        Type.READY: told("True" if serving.ready else "False", serving.cause),
        Type.RECONCILING: (
            told("False" if serving.stalled else "True", rollout) if rollout else Aspect("False", Reason.ROLLED_OUT)
        ),
        Type.STALLED: told("True", rollout) if rollout and serving.stalled else Aspect("False", Reason.VALID),
        Type.VALIDATED: _validated(rollout),
        Type.PROGRESSING: (
            told("False" if serving.failing else "True", rollout)
            if rollout
            else Aspect("True", Reason.ROLLED_OUT, f"all replicas are of revision {revision}")
        ),
    }


def _waiting(cause: Cause, *, reconciling: bool, stalled: bool) -> dict[str, Aspect]:
    return {
        Type.READY: told("False", cause),
        Type.RECONCILING: told("True" if reconciling else "False", cause),
        Type.STALLED: told("True", cause) if stalled else Aspect("False", Reason.VALID),
        Type.VALIDATED: _validated(cause),
        Type.PROGRESSING: told("False" if stalled else "True", cause),
    }


def _validated(cause: Cause | None) -> Aspect:
    return told("False", cause) if cause and cause.reason in INVALID else Aspect("True", Reason.VALID)
