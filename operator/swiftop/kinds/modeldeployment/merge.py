"""The adapter of a run as a model: a ModelExport that is made for the deployment, and goes when nothing serves it.

sglang and lmdeploy get no adapters from ms-swift; and whatever the engine, who names a run as the model means what it
has learned. The export is named by the checkpoint: a newer one is another export, and the result of the old one stays
as long as a pod serves it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from swiftop import names
from swiftop.api.v1alpha1.modeldeployment import ModelDeployment
from swiftop.batch.conditions import ended
from swiftop.kinds.modeldeployment.source import Found, Resolved
from swiftop.model.conditions import by_type
from swiftop.model.facts import Cause
from swiftop.model.kind import Object
from swiftop.model.verdict import Blocked, Delete, Make, Phase, Waiting
from swiftop.reasons import ConditionType, Reason
from swiftop.workload.meta import child_labels, owner_references

# Of the pods that serve, what the pod that merges needs as well. A patch of theirs is made for them alone.
_SHARED = ("runtime", "credentials", "cache", "placement")


class Merged(NamedTuple):
    """What there is to serve, and what has to be done for it."""

    found: Resolved
    actions: tuple[Make | Delete, ...] = ()


def name_of(deployment: ModelDeployment, uid: str, place: str) -> str:
    """Name of the export of a checkpoint: UID of the run, claim and path."""
    meta = deployment.metadata
    digest = hashlib.sha256(f"{meta.uid} {uid} {place}".encode()).hexdigest()
    return names.merge_name(names.MODELDEPLOYMENT, meta.name, digest)


def child(deployment: ModelDeployment, adapter: Found) -> Object:
    """The ModelExport, which names the checkpoint by its step: a newer one has another."""
    spec, run = deployment.spec, adapter.ref.split("/")[1]
    step = adapter.path.rpartition("checkpoint-")[2]
    wire = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    shared = {member: wire[member] for member in _SHARED if wire.get(member)}
    if "podPatch" in shared.get("runtime", {}):
        shared["runtime"] = {name: value for name, value in shared["runtime"].items() if name != "podPatch"}
    asked = wire.get("merge") or {}
    made: Object = {
        "source": {"sftRunRef": {"name": run, "checkpoint": step}},
        "output": asked.get("output") or {"persistentVolumeClaim": {"claimName": adapter.claim_name}},
        **({"resources": asked["resources"]} if asked.get("resources") else {}),
        **shared,
    }
    meta = deployment.metadata
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.MODELEXPORT.kind,
        "metadata": {
            "name": name_of(deployment, adapter.uid, adapter.place),
            "namespace": meta.namespace,
            "labels": {**child_labels(deployment), names.LABEL_REVISION: _digest(made)},
            "ownerReferences": owner_references(deployment),
        },
        "spec": made,
    }


def _digest(spec: Object) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:10]


def merged(deployment: ModelDeployment, adapter: Found, exports: Iterable[Object]) -> Merged:
    """The model that an adapter is merged into, once it is there."""
    wanted = child(deployment, adapter)
    name = wanted["metadata"]["name"]
    known = next((one for one in exports if one["metadata"]["name"] == name), None)
    if known is None:
        return Merged(_waiting(f"ModelExport {name} is made, which merges the adapter"), (Make(wanted),))
    meta, status = known["metadata"], known.get("status") or {}
    if meta.get("deletionTimestamp"):
        return Merged(_waiting(f"an earlier ModelExport {name} is being deleted"))
    outdated = meta.get("labels", {}).get(names.LABEL_REVISION) != wanted["metadata"]["labels"][names.LABEL_REVISION]
    started, name = bool(status.get("startTime")), meta["name"]
    if outdated and (not started or _failed(status)):
        text = f"ModelExport {name} is made anew, as the spec has it now"
        return Merged(_waiting(text), (Delete(names.MODELEXPORT, name, meta["uid"]),))
    return Merged(_result(adapter, name, status))


def _result(adapter: Found, name: str, status: Mapping[str, Any]) -> Resolved:
    """What the export tells."""
    if not ended(status):
        return _waiting(f"ModelExport {name} merges the adapter: {_progress(status)}")
    if not _failed(status):
        return _unlike(adapter, name, status) or _found(adapter, status["artifact"])
    said = by_type(status)[ConditionType.SUCCEEDED]
    text = f"ModelExport {name}, which merges the adapter, has failed ({said['reason']}): {said['message']}"
    advice = f"fix what it names, then kubectl delete modelexport {name}, and it is made again"
    return Blocked(Cause(Reason.SOURCE_FAILED, text, advice), stalled=True)


def _unlike(adapter: Found, name: str, status: Mapping[str, Any]) -> Blocked | None:
    """What another checkpoint was merged into is another model: the export may have been edited before its start, or
    the run made again under its name. Its label tells neither."""
    source = (status.get("resolved") or {}).get("source") or {}
    made_of = tuple(source.get(member, "") for member in ("uid", "claimName", "path"))
    if not source or made_of == (adapter.uid, adapter.claim_name, adapter.path):
        return None
    text = f"ModelExport {name} was made of {made_of[1]}/{made_of[2]}, not of {adapter.place} of the run that is named"
    advice = f"kubectl delete modelexport {name}, and it is made again"
    return Blocked(Cause(Reason.SOURCE_UNUSABLE, text, advice), stalled=True)


def _failed(status: Mapping[str, Any]) -> bool:
    """Whether it has ended without a model."""
    said = by_type(status).get(ConditionType.SUCCEEDED, {})
    return ended(status) and (said["status"] == "False" or not (status.get("artifact") or {}).get("claimName"))


def _found(adapter: Found, artifact: Mapping[str, Any]) -> Found:
    return Found(
        ref=adapter.ref,
        uid=adapter.uid,
        claim_name=artifact["claimName"],
        path=artifact.get("path") or "",
        made_of=adapter.place,
        type=adapter.type,
        eval_loss=adapter.eval_loss,
    )


def presumed(deployment: ModelDeployment, adapter: Found) -> Found:
    """Where the model will lie, for a preview."""
    made = child(deployment, adapter)
    name, output = made["metadata"]["name"], made["spec"]["output"]
    claim = output.get("persistentVolumeClaim") or {}
    own = names.output_claim_name(names.MODELEXPORT, name)
    path = "/".join(part for part in (claim.get("path", ""), f"{name}-<uid>/model") if part)
    return _found(adapter, {"claimName": claim.get("claimName", own), "path": path})


def _waiting(text: str) -> Waiting:
    return Waiting(Phase.PENDING, Cause(Reason.MERGING, text, "wait; the deployment then starts by itself"))


def _progress(status: Mapping[str, Any]) -> str:
    """In the export's own words: how far it is, or what it waits for."""
    said = by_type(status).get(ConditionType.SUCCEEDED, {})
    shown = (status.get("display") or {}).get("progress")
    return str(shown or said.get("message") or status.get("state") or "it is new")


def unused(
    deployment: ModelDeployment, exports: Iterable[Object], used: Iterable[tuple[str, str]]
) -> tuple[Delete, ...]:
    """Exports whose result nothing serves any more; ``used`` has UID and place of what is or will be served."""
    kept = {name_of(deployment, uid, place) for uid, place in used}
    return tuple(
        Delete(names.MODELEXPORT, export["metadata"]["name"], export["metadata"]["uid"], unused=True)
        for export in exports
        if export["metadata"]["name"] not in kept and not export["metadata"].get("deletionTimestamp")
    )
