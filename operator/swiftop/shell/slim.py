"""What the store keeps of an object: the parts that somebody reads.

Most objects of a cluster are over: they are read no more but for their results, by those who use them, and there may be
tens of thousands. Of an active object a few large parts are dropped that no decision reads; of one that is over only
its identity and its results stay. Whoever needs more of such an object reads it live.

The dicts that are made here are new, and their keys are the strings of this module: those of a decoded document are
made anew for each document, and would be half of all that is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from swiftop import names

Object = dict[str, Any]

# Parts of a Job and a pod that no decision reads and that make most of their size: a thousand pod templates would
# otherwise stay in memory twice. The Job's template is never compared: it is immutable after creation.
_DROPPED_SPEC = {
    names.JOB.kind: frozenset({"template", "podFailurePolicy"}),
    names.POD.kind: frozenset(
        {"volumes", "tolerations", "affinity", "securityContext", "containers", "initContainers"}
    ),
}
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"  # kubectl's copy of the whole object

_IDENTITY = ("namespace", "name", "uid", "generation", "resourceVersion", "creationTimestamp", "deletionTimestamp")
# Of the status of an object that is over: its end, and what others use of it.
_RESULTS = (
    "observedGeneration", "state", "startTime", "completionTime", "attempts",
    "output", "checkpoint", "bestCheckpoint", "artifact", "targets", "repo", "path", "commit", "url",
)  # fmt: skip
_SUMMARY = "Succeeded"
_END = {type_: {"type": type_, "status": "True"} for type_ in ("Complete", "Failed")}  # of a Job
_LIMITS = ("activeDeadlineSeconds", "ttlSecondsAfterFinished")


def active(resource: names.Resource, obj: Object) -> Object:
    """``obj`` without what nobody reads."""
    meta = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    annotations = meta.get("annotations")
    if annotations and _LAST_APPLIED in annotations:
        meta["annotations"] = {k: v for k, v in annotations.items() if k != _LAST_APPLIED}
    kept = {**obj, "metadata": meta}
    dropped = _DROPPED_SPEC.get(resource.kind)
    if dropped and "spec" in obj:
        kept["spec"] = {k: v for k, v in obj["spec"].items() if k not in dropped}
    return kept


def over(resource: names.Resource, obj: Object) -> Object:
    """Identity and results of an object that has ended for good."""
    status = obj["status"]
    kept = _identity(resource, obj)
    kept["status"] = {key: status[key] for key in _RESULTS if key in status}
    kept["status"]["conditions"] = [c for c in status.get("conditions") or () if c["type"] == _SUMMARY]
    lifecycle = (obj.get("spec") or {}).get("lifecycle")
    if lifecycle:  # when its Job is to go
        kept["spec"] = {"lifecycle": lifecycle}
    return kept


def child_of_over(resource: names.Resource, obj: Object) -> Object:
    """Identity of what was made for an object that has ended for good, and whose it is."""
    kept = _identity(resource, obj)
    owners = obj["metadata"].get("ownerReferences") or ()
    kept["metadata"]["ownerReferences"] = [
        {"uid": owner["uid"], "controller": True} for owner in owners if owner.get("controller")
    ]
    if resource is names.JOB:  # whether it still holds GPUs, and when it is to go
        conditions = (obj.get("status") or {}).get("conditions") or ()
        ends = [_END[c["type"]] for c in conditions if c["type"] in _END and c.get("status") == "True"]
        kept["status"] = {"conditions": ends}
        kept["spec"] = {key: obj["spec"][key] for key in _LIMITS if key in (obj.get("spec") or {})}
    return kept


def _identity(resource: names.Resource, obj: Object) -> Object:
    given = obj["metadata"]
    meta = {key: given[key] for key in _IDENTITY if key in given}
    meta["namespace"] = sys.intern(meta["namespace"])
    meta["labels"] = _shared(given.get("labels") or {})
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta}


def _shared(labels: Mapping[str, str]) -> dict[str, str]:
    """The same labels. Their keys repeat from object to object, and so do the shorter values."""
    return {sys.intern(key): sys.intern(value) for key, value in labels.items()}
