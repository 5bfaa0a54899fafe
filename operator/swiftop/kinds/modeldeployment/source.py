"""What is served, of other objects' results: where they lie now, what is waited for, and what stays as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.modeldeployment import ModelDeployment, ServedAdapter, ServedModel
from swiftop.api.v1alpha1.refs import ExportReference, RunCheckpoint
from swiftop.batch.checkpoint import Reader, awaited, located
from swiftop.batch.conditions import ended
from swiftop.batch.origin import SOURCE_DIR, unusable
from swiftop.model.conditions import by_type
from swiftop.model.facts import Cause
from swiftop.model.kind import Object, Reference
from swiftop.model.text import printable
from swiftop.model.verdict import Blocked, Phase, Waiting
from swiftop.reasons import ConditionType, Reason
from swiftop.runner.report import number
from swiftop.swift import paths

_DEFAULT_RANK = 8  # ms-swift's own


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A result on a volume. ``type`` and ``rank`` are known of what was read live alone."""

    ref: str  # what the spec names
    uid: str  # of the object that wrote it
    claim_name: str
    path: str
    made_of: str = ""  # claim and path of the checkpoint that was merged for this deployment
    unmerged: bool = False  # an adapter that is to be a model
    type: str = ""  # of the model, in ms-swift's words
    rank: int | None = None  # of an adapter
    eval_loss: float | None = None  # of the checkpoint

    @property
    def directory(self) -> str:
        """Its folder in the pod."""
        return paths.join(f"{SOURCE_DIR}/{self.claim_name}", self.path)

    @property
    def place(self) -> str:
        """Claim and path."""
        return f"{self.claim_name}/{self.path}"

    def comes_of(self, other: Found) -> bool:
        """Whether this is that result, or was merged of it."""
        return self.identity == other.identity or (self.uid == other.uid and self.made_of == other.place)

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """Which result it is."""
        return self.ref, self.uid, self.claim_name, self.path

    def recorded(self) -> dict[str, Any]:
        """An item of ``status.resolved.sources``."""
        members = {
            **asdict(self), "claimName": self.claim_name, "evalLoss": self.eval_loss, "madeOf": self.made_of,
        }  # fmt: skip
        for name in ("claim_name", "eval_loss", "made_of", "unmerged"):
            del members[name]
        return {name: value for name, value in members.items() if value not in ("", None)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A reference of the spec."""

    to: RunCheckpoint | ExportReference
    field: str = ""  # in the user's spelling
    adapter: bool = False
    alone: bool = True  # the only thing that is served

    @property
    def ref(self) -> str:
        """What it names, as one word."""
        if isinstance(self.to, RunCheckpoint):
            return f"{names.SFTRUN.kind}/{self.to.name}/{self.to.checkpoint}"
        return f"{names.MODELEXPORT.kind}/{self.to.name}"

    def reference(self, namespace: str) -> Reference:
        """The object."""
        resource = names.SFTRUN if isinstance(self.to, RunCheckpoint) else names.MODELEXPORT
        return Reference(resource, namespace, self.to.name)


Resolved = Found | Waiting | Blocked


def wanted_of(deployment: ModelDeployment) -> tuple[Wanted, ...]:
    """References of the spec, each once."""
    found = {wanted.ref: wanted for wanted in _wanted(deployment)}
    return tuple(found.values())


def reference_of(source: ServedModel | ServedAdapter) -> str:
    """What a model or an adapter refers to; empty when it names its files itself."""
    to = source.sft_run_ref or source.export_ref
    return Wanted(to=to).ref if to is not None else ""


def _wanted(deployment: ModelDeployment) -> Iterator[Wanted]:
    spec = deployment.spec
    sources: list[tuple[str, bool, ServedModel | ServedAdapter]] = [("model", False, spec.model)]
    sources += [(f"adapters[{number}]", True, adapter) for number, adapter in enumerate(spec.adapters)]
    for field, adapter, source in sources:
        if source.sft_run_ref is not None:
            alone = not spec.adapters
            yield Wanted(to=source.sft_run_ref, field=f"{field}.sftRunRef", adapter=adapter, alone=alone)
        elif source.export_ref is not None:
            yield Wanted(to=source.export_ref, field=f"{field}.exportRef", adapter=adapter)


def pinned_by(status: Mapping[str, Any], made_with: str, adapters_with: str | None) -> dict[str, Found]:
    """What was resolved before, by reference: as the Deployment has it, whose write cannot be lost, and the ConfigMap
    of the adapters that its pods follow. Where that is gone, the status alone tells of these."""
    known = _read((status.get("resolved") or {}).get("sources"))
    made = _read(resolved_of(made_with).get("sources"))
    if adapters_with is not None:
        return {**made, **_read(resolved_of(adapters_with).get("sources"))}
    return {**known, **made}


def resolved_of(text: str) -> Mapping[str, Any]:
    """What a Deployment says that it was made with; empty for what is none: anybody may write it."""
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _read(sources: object) -> dict[str, Found]:
    found = {}
    for source in sources if isinstance(sources, list) else ():
        if not isinstance(source, dict):
            continue
        told = {name: source.get(name, "") for name in ("ref", "uid", "path", "type")}
        told["claim_name"], told["made_of"] = source.get("claimName", ""), source.get("madeOf", "")
        rank, loss = source.get("rank"), number(source.get("evalLoss"))
        if all(map(_is_text, told.values())) and told["ref"] and told["claim_name"]:
            found[told["ref"]] = Found(**told, rank=rank if isinstance(rank, int) else None, eval_loss=loss)
    return found


def _is_text(value: object) -> bool:
    """Nor half of a surrogate pair, which nothing can be written or named by."""
    return isinstance(value, str) and printable(value) == value


def resolve(wanted: Wanted, other: Object | None, pinned: Found | None, *, follow: bool, known: str) -> Resolved:
    """Where a result lies. What is served already goes on, whatever becomes of the object that it came from."""
    if pinned is not None and not follow:
        return pinned
    run = wanted.to if isinstance(wanted.to, RunCheckpoint) else None
    now = _of_run(wanted, run, other, known) if run else _of_export(wanted, wanted.to.name, other, known)
    if pinned is not None and not isinstance(now, Found):
        return pinned
    if pinned is not None and isinstance(now, Found) and pinned.comes_of(now):
        return replace(pinned, type=now.type or pinned.type, rank=now.rank or pinned.rank, eval_loss=now.eval_loss)
    return now


def presumed(wanted: Wanted, other: Object | None) -> Found:
    """Where a result will lie, for a preview: nothing is made of it. What nobody knows yet stands in brackets.

    A run that is not known either is taken for one that trains an adapter, as most do; beside adapters it cannot be.
    """
    if isinstance(wanted.to, RunCheckpoint):
        tuner = ((other or {}).get("spec") or {}).get("tuner") or {}
        adapter = tuner.get("type", "lora") != "full" and (other is not None or wanted.alone)
        return replace(_located(wanted, wanted.to, other), unmerged=adapter and not wanted.adapter)
    claim = names.output_claim_name(names.MODELEXPORT, wanted.to.name)
    return Found(ref=wanted.ref, uid="", claim_name=claim, path=f"{wanted.to.name}-<uid>/model")


def told(wanted: Wanted, other: Object | None, pinned: Found | None) -> Cause | None:
    """What is to be said of an object that the spec names, though its result is served."""
    if pinned is None:
        return None
    what = " ".join(wanted.ref.split("/")[:2])
    goes_on = f"what serves goes on from {pinned.claim_name}/{pinned.path}"
    if other is None:
        return Cause(Reason.SOURCE_DELETED, f"{what} was deleted: {goes_on}", "its volume has to stay")
    if other["metadata"]["uid"] != pinned.uid:
        return Cause(Reason.SOURCE_PENDING, f"{what} was made again, and its new result is not served: {goes_on}")
    return None


def _of_run(wanted: Wanted, checkpoint: RunCheckpoint, run: Object | None, known: str) -> Resolved:
    instead = wanted.field.replace("sftRunRef", "persistentVolumeClaim")
    reader = Reader(thing="deployment", field=wanted.field, instead=instead, known=known)
    spec = (run or {}).get("spec") or {}  # of a run that is over the store keeps the tuner alone
    tuner = spec.get("tuner") or {}
    whole = tuner.get("type", "lora") == "full"
    if run is not None and (unfit := _other_use(wanted, whole=whole)) is not None:
        return unfit
    if (missing := awaited(checkpoint, run, reader)) is not None:
        return missing
    rank = (tuner.get("rank") or _DEFAULT_RANK) if tuner.get("type", "lora") == "lora" and wanted.adapter else None
    type_ = (spec.get("model") or {}).get("type") or ""
    return replace(_located(wanted, checkpoint, run), type=type_, rank=rank, unmerged=not whole and not wanted.adapter)


def _other_use(wanted: Wanted, *, whole: bool) -> Blocked | None:
    """What the spec of a run tells before its end: a day of training would not make it fit."""
    if whole and wanted.adapter:
        text = f"SFTRun {wanted.to.name} trains the whole model, not an adapter"
        return unusable(text, "name it in spec.model.sftRunRef")
    if not whole and not wanted.adapter and not wanted.alone:
        text = f"SFTRun {wanted.to.name} trains an adapter: merged, it is another model than that of the adapters"
        return unusable(text, "name the model itself in spec.model, and this run in spec.adapters")
    return None


def _located(wanted: Wanted, checkpoint: RunCheckpoint, run: Object | None) -> Found:
    where = located(checkpoint, run)
    loss = _loss_of((run or {}).get("status") or {}, where.path)
    return Found(ref=wanted.ref, uid=where.uid, claim_name=where.claim_name, path=where.path, eval_loss=loss)


def _loss_of(status: Mapping[str, Any], path: str) -> float | None:
    """Known of the newest checkpoint and of the best one."""
    known = [status.get(name) or {} for name in ("checkpoint", "bestCheckpoint")]
    step = path.rpartition("checkpoint-")[2]
    return next((number(one.get("evalLoss")) for one in known if str(one.get("step")) == step), None)


def _of_export(wanted: Wanted, name: str, export: Object | None, known: str) -> Resolved:
    if export is None:
        return _absent(wanted, name, known)
    if (unfit := _unfit(wanted, name, export)) is not None:
        return unfit
    status = export["status"]
    source = (status.get("resolved") or {}).get("source") or {}
    return Found(
        ref=wanted.ref,
        uid=export["metadata"]["uid"],
        claim_name=status["artifact"]["claimName"],
        path=status["artifact"].get("path") or "",
        type=source.get("type") or "",
        eval_loss=number(status["artifact"].get("evalLoss")),
    )


def _unfit(wanted: Wanted, name: str, export: Object) -> Waiting | Blocked | None:
    """What keeps the result of an export from being served."""
    spec, status = export.get("spec") or {}, export.get("status") or {}
    if "source" in spec and spec.get("merge", True) == wanted.adapter:  # of what is over the store keeps no spec
        if wanted.adapter:
            return unusable(f"ModelExport {name} merges its adapter into a model", "name it in spec.model.exportRef")
        return unusable(f"ModelExport {name} exports an adapter, not a model", "name it in spec.adapters")
    if not ended(status):
        text = f"ModelExport {name} has not ended"
        return Waiting(Phase.PENDING, Cause(Reason.SOURCE_PENDING, text, "wait; the deployment then starts by itself"))
    if by_type(status)[ConditionType.SUCCEEDED]["status"] == "False":
        advice = f"see kubectl describe modelexport {name}; delete it and create it again"
        return Blocked(Cause(Reason.SOURCE_FAILED, f"ModelExport {name} has failed", advice), stalled=True)
    if not (status.get("artifact") or {}).get("claimName"):
        text = f"ModelExport {name} keeps no result on a volume"
        return unusable(text, f"name its repository by {wanted.field.replace('exportRef', 'id')}")
    return None


def _absent(wanted: Wanted, name: str, known: str) -> Blocked:
    if known in (Reason.SOURCE_PENDING, Reason.SOURCE_DELETED):
        text = f"ModelExport {name} was deleted before this deployment could start"
        return Blocked(Cause(Reason.SOURCE_DELETED, text, "create it again, or name another model"), stalled=True)
    text = f"ModelExport {name} does not exist, and {wanted.field} names it"
    return Blocked(Cause(Reason.SOURCE_MISSING, text, "create it, or fix the name in the spec"), stalled=False)
