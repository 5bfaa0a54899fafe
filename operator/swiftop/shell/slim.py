"""What the store keeps of an object: the parts that somebody reads.

Most objects of a cluster are over: they are read no more but for their results, by those who use them, and there may be
tens of thousands. Of an active owner a few large parts are dropped, of an active child only what is read stays, and
of what is over only its identity and its results. Whoever needs more of such an object reads it live.

The dicts that are made here are new, and their keys are the strings of this module: those of a decoded document are
made anew for each document, and would be half of all that is kept.
"""

from __future__ import annotations

import sys
from typing import Any

from swiftop import names
from swiftop.model.bounds import bounded

Object = dict[str, Any]

# What is read of the spec of an active child: without the rest, a thousand pod templates are not in memory twice. The
# Job's template is never compared: it is immutable after creation.
_SPEC: dict[names.Resource, tuple[str, ...]] = {
    names.JOB: ("activeDeadlineSeconds", "ttlSecondsAfterFinished", "suspend"),
    names.POD: ("nodeName", "hostNetwork"),
    names.PVC: (),
    # Of a Deployment all but the template: it is compared by the digest of what it was made from.
    names.DEPLOYMENT: ("replicas", "selector", "strategy", "progressDeadlineSeconds", "revisionHistoryLimit"),
    names.CONFIG_MAP: (),
}
_ANNOTATIONS = (
    names.ANNOTATION_GENERATION, names.ANNOTATION_DIGEST, names.ANNOTATION_RETRIES, names.ANNOTATION_RETRY_OF,
    names.ANNOTATION_GPU_SECONDS, names.ANNOTATION_RESOLVED, names.ANNOTATION_WITHDRAWN,
    names.ANNOTATION_INDEX,
)  # fmt: skip
_MOST_DEVICES = 16  # kinds of them that a container of ours asks for
_AMOUNTS = ("cpu", "memory", "ephemeral-storage")
_LARGEST_DATA = 1 << 18  # characters of a ConfigMap; the adapters of some revisions are a few thousand
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"  # kubectl's copy of the whole object
# Members of our own objects' specs that are parts of pods: together their values may be of any size.
_FREE = (("placement", "affinity"), ("runtime", "podPatch"))

_IDENTITY = ("namespace", "name", "uid", "resourceVersion", "deletionTimestamp", "labels", "ownerReferences")
_OWNER_IDENTITY = (*_IDENTITY[:-1], "generation", "creationTimestamp")
_CHILD = (*_OWNER_IDENTITY, "ownerReferences", "annotations")
_LABELS = (names.LABEL_KIND, names.LABEL_NAME, names.LABEL_UID, names.LABEL_ATTEMPT, names.LABEL_REVISION)
# Of the status of an object that is over: its end (of the conditions the summary), and what others use of it.
_RESULTS = (
    "observedGeneration", "state", "startTime", "completionTime", "attempts",
    "conditions", "output", "checkpoint", "bestCheckpoint", "artifact", "targets", "commit", "url", "resolved",
)  # fmt: skip
_SUMMARY = "Succeeded"
# Of a Job: whether it still holds GPUs, and when it is to go. The same few lists for all of them.
_ENDS = {type_: [{"type": type_, "status": "True"}] for type_ in ("Complete", "Failed")}
_LIMITS = ("activeDeadlineSeconds", "ttlSecondsAfterFinished")


def active(resource: names.Resource, obj: Object) -> Object:
    """``obj`` without what nobody reads."""
    if resource in _SPEC:
        return _active_child(resource, obj)
    if resource.group == names.GROUP:
        return {**obj, **_active_owner(obj)}
    meta = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    annotations = meta.get("annotations")
    if annotations and _LAST_APPLIED in annotations:
        meta["annotations"] = {k: v for k, v in annotations.items() if k != _LAST_APPLIED}
    return {**obj, "metadata": meta}


def _active_owner(obj: Object) -> Object:
    """All of the spec, as far as it is within its bounds, and the metadata that is read."""
    meta, spec = obj["metadata"], obj.get("spec")
    kept: Object = {"metadata": _read_of(meta)}
    if isinstance(spec, dict):
        kept["spec"] = {**spec, **_free(spec)}
    return kept


def _free(spec: Object) -> Object:
    groups = {}
    for group, member in _FREE:
        part = spec.get(group)
        if isinstance(part, dict) and part.get(member):
            groups[group] = {**part, member: bounded(part[member])}
    return groups


def _read_of(meta: Object) -> Object:
    """Of labels and annotations our own: people may hang megabytes on an object."""
    parts = {**meta, "ownerReferences": _controllers(meta)}
    for member, known in (("labels", _LABELS), ("annotations", _ANNOTATIONS)):
        given = meta.get(member) or {}
        parts[member] = {key: given[key] for key in known if key in given}
    return {key: parts[key] for key in _CHILD if parts.get(key) not in (None, [], {})}


def _active_child(resource: names.Resource, obj: Object) -> Object:
    """Only what is known to be read: in their own namespace, people may hang megabytes on a pod."""
    meta, spec = obj["metadata"], obj.get("spec") or {}
    kept: Object = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": _read_of(meta),
        "spec": {key: spec[key] for key in _SPEC[resource] if key in spec},
    }
    if resource is names.POD and not spec.get("nodeName"):
        kept["spec"] |= _asked(spec)
    if resource is names.CONFIG_MAP:
        kept["data"] = _bounded(obj.get("data") or {})
    if "status" in obj and resource is not names.PVC:  # Kubernetes itself writes it
        kept["status"] = obj["status"]
    return kept


def _asked(spec: Object) -> Object:
    """What the main container asks for, as long as the scheduler looks for it: the name of its GPUs is among that."""
    main: dict[str, Any] = next((one for one in spec.get("containers") or () if one.get("name") == names.CONTAINER), {})
    given = main.get("resources") or {}
    devices = {sys.intern(name): amount for name, amount in (given.get("limits") or {}).items() if "/" in name}
    amounts = {name: amount for name, amount in (given.get("requests") or {}).items() if name in _AMOUNTS}
    kept = {"limits": devices if len(devices) <= _MOST_DEVICES else {}, "requests": amounts}
    resources = {member: content for member, content in kept.items() if content}
    return {"containers": [{"name": names.CONTAINER, "resources": resources}]} if resources else {}


def _bounded(data: Object) -> Object:
    """Of texts that are larger than any of ours nothing is kept: they are not as they should be, whatever they are."""
    return data if sum(map(len, data.values())) <= _LARGEST_DATA else {}


def _controllers(meta: Object) -> list[Object]:
    """There is one at most, and the other owners are read live."""
    return [
        {"uid": owner["uid"], "controller": True}
        for owner in meta.get("ownerReferences") or ()
        if owner.get("controller")
    ]


def over(resource: names.Resource, obj: Object) -> Object:
    """Identity and results of an object that has ended for good."""
    meta, status = _read_of(obj["metadata"]), obj["status"]
    summary = [condition for condition in status.get("conditions") or () if condition["type"] == _SUMMARY]
    results = {**status, "conditions": summary, "resolved": None}
    if meta.get("ownerReferences") and (source := (status.get("resolved") or {}).get("source")):
        results["resolved"] = {"source": source}  # of what it was made, for the object that had it made
    kept: Object = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": _compact({key: value for key, value in meta.items() if key != "annotations"}),
        "status": {key: _compact(results[key]) for key in _RESULTS if results.get(key) is not None},
    }
    if spec := _spec_of_over(obj.get("spec") or {}):
        kept["spec"] = _compact(spec)
    return kept


def _spec_of_over(spec: Object) -> Object:
    """When it is to go, and what the result of a training is: an adapter, of which rank, or a whole model."""
    tuner = spec.get("tuner") or {}
    told = {key: tuner[key] for key in ("type", "rank") if key in tuner}
    found = {"lifecycle": spec.get("lifecycle"), "tuner": told}
    return {key: value for key, value in found.items() if value}


def child_of_over(resource: names.Resource, obj: Object) -> Object:
    """Identity of what was made for an object that has ended for good, and whose it is."""
    meta = obj["metadata"]
    given = meta.get("labels") or {}
    # Values that all children of one owner have in common are one string in memory.
    labels = {key: sys.intern(given[key]) for key in _LABELS if key in given}
    parts = {
        **meta,
        "namespace": sys.intern(meta["namespace"]),
        "labels": labels,
        "ownerReferences": _controllers(meta),
    }
    kept: Object = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {key: parts[key] for key in _IDENTITY if key in parts},
    }
    if resource is names.JOB:
        kept |= _end_of(obj)
    return kept


def _end_of(job: Object) -> Object:
    held = (c["type"] for c in (job.get("status") or {}).get("conditions") or () if c.get("status") == "True")
    end = next((_ENDS[type_] for type_ in held if type_ in _ENDS), None)
    limits = {key: job["spec"][key] for key in _LIMITS if key in (job.get("spec") or {})}
    return {"spec": limits, **({"status": {"conditions": end}} if end else {})}


def _compact(value: Any) -> Any:
    """An equal value; keys of dicts repeat from object to object."""
    if isinstance(value, dict):
        return {sys.intern(key): _compact(inner) for key, inner in value.items()}
    return [_compact(item) for item in value] if isinstance(value, list) else value
