"""Whether an object that is there already may serve as a run's child, and what it means when it may not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftop import names
from swiftop.model.facts import Cause
from swiftop.model.verdict import Blocked
from swiftop.observe.jobs import owner_uid
from swiftop.reasons import Reason

Object = dict[str, Any]

_LOOK_AGAIN = 30.0  # no watch tells that a foreign object is gone
_LEFTOVER_SECONDS = 2.0  # a child of an earlier run of the same name is about to be deleted


def taken(known: Object) -> Blocked:
    """The name of a child is in use: by an earlier run of this name that is being deleted, or by somebody else."""
    meta = known["metadata"]
    what = f"{known.get('kind', 'object')} {meta['name']}"
    if leaving(known) or (meta.get("labels") or {}).get(names.LABEL_MANAGED_BY) == names.MANAGED_BY:
        cause = Cause(
            Reason.NAME_CONFLICT, f"{what} of an earlier run of this name still exists", "delete it if it stays"
        )
        return Blocked(cause, stalled=False, wake=_LEFTOVER_SECONDS)
    cause = Cause(
        Reason.NAME_CONFLICT, f"{what} exists and is not swiftop's", "delete it, or give the run another name"
    )
    return Blocked(cause, stalled=True, wake=_LOOK_AGAIN)


def leaving(obj: Object) -> bool:
    """Whether an object is being deleted."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def ours(known: Object, child: Object, uid: str) -> bool:
    """By label, and not some other object's child. A retained volume has no owner and passes to the next run."""
    labels = known["metadata"].get("labels") or {}
    wanted = child["metadata"]["labels"]
    keys = (names.LABEL_MANAGED_BY, names.LABEL_KIND, names.LABEL_NAME)
    return all(labels.get(key) == wanted[key] for key in keys) and owner_uid(known) in ("", uid)


def as_wanted(known: Object, child: Object) -> bool:
    """Whether all that we want is there; what others added does not count, but for owners."""
    return _contains(known, child) and _owners(known) == _owners(child)


def _owners(obj: Object) -> list[str]:
    return [reference["uid"] for reference in obj["metadata"].get("ownerReferences") or ()]


def _contains(known: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(known, Mapping) and all(key in known and _contains(known[key], wanted[key]) for key in wanted)
    return bool(known == wanted)
