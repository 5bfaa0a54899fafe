"""Whether an object that is there already may serve as a child, and what it means when it may not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftop import names
from swiftop.engine.blocked import BlockedError
from swiftop.model.facts import Cause
from swiftop.model.kind import Object
from swiftop.model.verdict import Blocked
from swiftop.observe.jobs import owner_uid
from swiftop.reasons import Reason

_FOREIGN_SECONDS = 30.0  # no watch tells that a foreign object is gone
_LEFTOVER_SECONDS = 2.0  # a child of an earlier object of the same name is about to be deleted


def name_conflict(known: Object) -> BlockedError:
    """The name of a child is in use: by an earlier object of this name that is being deleted, or by somebody else."""
    meta = known["metadata"]
    what = f"{known.get('kind', 'object')} {meta['name']}"
    if terminating(known) or (meta.get("labels") or {}).get(names.LABEL_MANAGED_BY) == names.MANAGED_BY:
        text = f"{what} of an earlier object of this name still exists"
        cause = Cause(Reason.NAME_CONFLICT, text, "delete it if it stays")
        return BlockedError(Blocked(cause, stalled=False), requeue_after=_LEFTOVER_SECONDS)
    text = f"{what} exists and is not swiftop's"
    cause = Cause(Reason.NAME_CONFLICT, text, "delete it, or give this object another name")
    return BlockedError(Blocked(cause, stalled=True), requeue_after=_FOREIGN_SECONDS)


def terminating(obj: Object) -> bool:
    """Whether an object is being deleted."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def owned(known: Object, child: Object, uid: str) -> bool:
    """By label, and not another object's child. A retained volume has no owner and passes to the next of its name."""
    labels = known["metadata"].get("labels") or {}
    wanted = child["metadata"]["labels"]
    keys = (names.LABEL_MANAGED_BY, names.LABEL_KIND, names.LABEL_NAME)
    return all(labels.get(key) == wanted[key] for key in keys) and owner_uid(known) in ("", uid)


def adopted_claim(known: Object, child: Object) -> Object:
    """The claim as it may be applied over one that exists.

    What was claimed cannot be changed, so a volume of an earlier object is taken as it is. Nor is it ever given an
    owner: it may hold the results of an earlier one that asked to retain them. It loses the one that it has when it is
    to be retained by now.
    """
    metadata = {name: value for name, value in child["metadata"].items() if name != "ownerReferences"}
    if kept := [owner for owner in child["metadata"].get("ownerReferences") or () if owner["uid"] in _owners(known)]:
        metadata["ownerReferences"] = kept
    spec = {key: known["spec"][key] for key in child["spec"] if key in known["spec"]}
    return {**child, "metadata": metadata, "spec": spec}


def as_wanted(known: Object, child: Object) -> bool:
    """Whether all that we want is there; what others added does not count, but for owners."""
    return _contains(known, child) and _owners(known) == _owners(child)


def in_line(known: Object, child: Object) -> bool:
    """Whether a child that may change is as it is wanted.

    The API server fills in defaults, and other controllers add what is theirs: what was not asked for does not count. A
    template of pods is compared by the digest of what it was made from alone: an operator of another version makes
    another one of the same, and its upgrade must not restart what serves. A selector counts whole, as it is applied
    (``mapType=atomic``): with a label more it finds no pod.
    """
    asked = child.get("spec") or {}
    if (known.get("spec") or {}).get("selector") != asked.get("selector"):
        return False
    spec = {member: value for member, value in asked.items() if member != "template"}
    # What is watched has the label of the selector; the store leaves it out.
    labels = {key: value for key, value in child["metadata"]["labels"].items() if key != names.LABEL_MANAGED_BY}
    annotations = child["metadata"].get("annotations") or {}
    compared = {key: value for key, value in annotations.items() if key != names.ANNOTATION_RESOLVED}
    meta = {"labels": labels, "annotations": compared}
    told = {"annotations": {}, **known["metadata"]}
    wanted = {
        "metadata": meta,
        **({"spec": spec} if spec else {}),
        **({"data": child["data"]} if "data" in child else {}),
    }
    return _contains({**known, "metadata": told}, wanted) and _owners(known) == _owners(child)


def _owners(obj: Object) -> list[str]:
    return [reference["uid"] for reference in obj["metadata"].get("ownerReferences") or ()]


def _contains(known: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(known, Mapping) and all(key in known and _contains(known[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list) and isinstance(known, list) and len(known) == len(wanted):
        return all(map(_contains, known, wanted))
    return bool(known == wanted)
