"""Conditions as the API conventions have them: the whole list each time, every type from the first write on.

``lastTransitionTime`` moves only when a status changes, so that an unchanged object gives an unchanged list, and an
unchanged list no write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from swiftop.model.facts import Cause
from swiftop.model.text import printable
from swiftop.reasons import Reason

_MESSAGE_CHARACTERS = 4096


class Aspect(NamedTuple):
    """Content of one condition."""

    status: str
    reason: str
    message: str = ""


Aspects = Mapping[str, Aspect]
"""By condition type."""


def by_type(status: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Conditions of a status by type."""
    return {condition["type"]: condition for condition in status.get("conditions") or ()}


def told(status: str, cause: Cause) -> Aspect:
    """Aspect of a cause: its message says what to do about it, too."""
    text = f"{cause.message}: {cause.suggestion}" if cause.suggestion else cause.message
    return Aspect(status, cause.reason, text[:_MESSAGE_CHARACTERS])


def as_before(before: Mapping[str, Mapping[str, Any]], type_: str) -> Aspect:
    """What the last status said."""
    known = before.get(type_)
    return Aspect(known["status"], known["reason"], known["message"]) if known else Aspect("Unknown", Reason.PENDING)


def written(
    aspects: Aspects,
    types: Iterable[str],
    *,
    before: Mapping[str, Mapping[str, Any]],
    generation: int,
    now: str,
) -> list[dict[str, Any]]:
    """The condition list, in the order of ``types``."""
    return [_condition(type_, aspects[type_], before.get(type_), generation, now) for type_ in types]


def _condition(
    type_: str, aspect: Aspect, before: Mapping[str, Any] | None, generation: int, now: str
) -> dict[str, Any]:
    same = before is not None and before["status"] == aspect.status
    return {
        "type": str(type_),
        "status": aspect.status,
        "reason": str(aspect.reason),
        "message": printable(aspect.message[:_MESSAGE_CHARACTERS]),  # it may quote anybody's words
        "observedGeneration": generation,
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and same else now,
    }


def acknowledged(conditions: Iterable[Mapping[str, Any]], generation: int) -> list[dict[str, Any]]:
    """The same conditions for a newer generation of the spec, which changed nothing any more."""
    return [{**condition, "observedGeneration": generation} for condition in conditions]
