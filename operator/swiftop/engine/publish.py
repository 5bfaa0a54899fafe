"""From a new status to what is written of it: when a change is worth a write, as which patch, and with which Event."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from swiftop.model.conditions import acknowledged as acknowledged_conditions
from swiftop.model.conditions import by_type
from swiftop.model.kind import Status
from swiftop.reasons import DEPENDENCIES, ConditionType, Reason

PROGRESS_SECONDS = 15.0
"""Progress of one object is written at most this often, and a message that is put in other words."""

NUMBERS_SECONDS = 60.0
"""A message in which only numbers differ, as those of a quota or of the scheduler, is written at most this often."""

# Reasons that only a person can end: worth a warning when they appear. A volume is mostly made a moment later.
_WARNINGS = (
    DEPENDENCIES
    | {
        Reason.CONTAINER_CONFIG_ERROR,
        Reason.INIT_CONTAINER_FAILED,
        Reason.NODE_LOST,
        Reason.POD_REFUSED,
        Reason.POD_SECURITY_VIOLATION,
        Reason.QUOTA_EXCEEDED,
    }
) - {Reason.VOLUME_PENDING, Reason.SOURCE_PENDING, Reason.MERGING}


def settled(
    previous: Mapping[str, Any], new: Status, *, volatile: Collection[str], since_write: float
) -> tuple[Status, float | None]:
    """``new``, or ``previous`` when nothing is to be written; with the seconds after which held-back news are due.

    Time alone is no news: GPU seconds are brought up to date only together with something else.
    """
    changed = [key for key in new.keys() | previous.keys() if new.get(key) != previous.get(key) and key != "gpuSeconds"]
    pause = min((_pause(key, previous, new, volatile) for key in changed), default=None)
    if pause is None:
        return dict(previous), None
    return (new, None) if since_write >= pause else (dict(previous), pause - since_write)


def _pause(key: str, previous: Mapping[str, Any], new: Mapping[str, Any], volatile: Collection[str]) -> float:
    """Seconds that must have passed since the last write, for a change of this member to be worth one."""
    if key in volatile:
        return PROGRESS_SECONDS
    if key != "conditions":
        return 0.0
    before, after = previous.get(key) or (), new.get(key) or ()
    if [{**c, "message": ""} for c in before] != [{**c, "message": ""} for c in after]:
        return 0.0
    return NUMBERS_SECONDS if _without_numbers(before) == _without_numbers(after) else PROGRESS_SECONDS


def _without_numbers(conditions: Iterable[Mapping[str, Any]]) -> list[str]:
    return [re.sub(r"\d+", "", condition["message"]) for condition in conditions]


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> Status:
    """JSON merge patch (RFC 7386) from one status to another: removed members as null, lists whole."""
    patch: Status = {key: None for key in old if key not in new}
    for key, value in new.items():
        if isinstance(value, Mapping) and isinstance(known := old.get(key), Mapping):
            if inner := merge_patch(known, value):
                patch[key] = inner
        elif key not in old or old[key] != value:
            patch[key] = value
    return patch


def acknowledged(status: Mapping[str, Any], generation: int) -> Status:
    """Status of an object that is over, for a newer generation of its spec."""
    listed = acknowledged_conditions(status.get("conditions") or (), generation)
    return {**status, "observedGeneration": generation, "conditions": listed}


def event_of(previous: Mapping[str, Any], new: Mapping[str, Any], *, summary: str) -> tuple[str, str, str] | None:
    """Kubernetes Event (type, reason, message) of a change of state; None when the change is not worth one.

    ``summary`` is the type of the condition that says how the object stands. What only a person can help is worth one
    even where the object stands as before, as what goes on serving while its new revision fails.
    """
    now, before = by_type(new), by_type(previous)
    known, stalled = now[summary], now[ConditionType.STALLED]
    told = stalled if stalled["status"] == "True" else known
    alarming = told is stalled or (known["reason"] in _WARNINGS and not _over(known))
    last = before.get(told["type"], {})
    if new["state"] == previous.get("state") and not (alarming and last.get("reason") != told["reason"]):
        return None
    return "Warning" if alarming else "Normal", told["reason"], told["message"] or str(new["state"])


def _over(summary: Mapping[str, Any]) -> bool:
    return bool(summary["type"] == ConditionType.SUCCEEDED and summary["status"] != "Unknown")
