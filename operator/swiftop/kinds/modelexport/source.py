"""What is exported: a checkpoint of a run, maybe one to come, a folder on a volume, or a model of a hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from swiftop import names
from swiftop.api.v1alpha1.hub import ModelSource
from swiftop.api.v1alpha1.modelexport import ModelExport, RunCheckpoint
from swiftop.batch.origin import SOURCE_DIR, Origin, at_rest, origin, unusable
from swiftop.model.conditions import by_type
from swiftop.model.facts import Cause
from swiftop.model.kind import Object, Reference
from swiftop.model.verdict import Blocked, Phase, Waiting
from swiftop.reasons import ConditionType, Reason
from swiftop.runner.protocol import ExportSettings
from swiftop.swift import paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the pod is given: the folder of the checkpoint and the model that it belongs to.

    ``path`` and ``claim_name`` are empty for a model of a hub that is exported as it is.
    """

    claim_name: str = ""
    path: str = ""
    uid: str = ""  # of the run
    model: str = ""  # hub id or folder; empty: the folder itself names it
    hub: str = ""
    revision: str = ""
    type: str = ""
    model_claim_name: str = ""

    @property
    def directory(self) -> str:
        """Folder of the checkpoint in the pod."""
        return paths.join(f"{SOURCE_DIR}/{self.claim_name}", self.path) if self.claim_name else ""

    def recorded(self) -> dict[str, str]:
        """``status.resolved.source``."""
        names_ = {"model_claim_name": "modelClaimName", "claim_name": "claimName"}
        return {names_.get(name, name): value for name, value in asdict(self).items() if value}


def pinned(source: Mapping[str, str]) -> Subject:
    """The same, read back from the status."""
    return Subject(
        claim_name=source.get("claimName", ""),
        path=source.get("path", ""),
        uid=source.get("uid", ""),
        model=source.get("model", ""),
        hub=source.get("hub", ""),
        revision=source.get("revision", ""),
        type=source.get("type", ""),
        model_claim_name=source.get("modelClaimName", ""),
    )


def planned(settings: ExportSettings) -> Subject:
    """The same, read back from the plan of a Job."""
    claim, _, path = settings.source.removeprefix(f"{SOURCE_DIR}/").partition("/")
    in_claims = f"{paths.CLAIM_MODELS_DIR}/"
    on_claim = settings.model.startswith(in_claims)
    return Subject(
        claim_name=claim if settings.source else "",
        path=path,
        uid=settings.uid,
        model=settings.model,
        hub=settings.hub,
        revision=settings.revision,
        type=settings.type,
        model_claim_name=settings.model.removeprefix(in_claims).partition("/")[0] if on_claim else "",
    )


def reference(export: ModelExport) -> Reference | None:
    """The run, if it is a run's checkpoint."""
    wanted = export.spec.source.sft_run_ref
    return Reference(names.SFTRUN, export.metadata.namespace, wanted.name) if wanted else None


def readiness(export: ModelExport, run: Object | None, previous: Mapping[str, Any]) -> Waiting | Blocked | None:
    """What the export waits for before it may start; None when the checkpoint is there."""
    wanted = export.spec.source.sft_run_ref
    if wanted is None:
        return None
    name = wanted.name
    if run is None:
        return _absent(export, name, previous)
    status = run.get("status") or {}
    if hopeless := _hopeless(wanted, run.get("spec") or {}, status):
        return hopeless
    if not _kept(wanted, status) and not at_rest(status):
        awaited = f"checkpoint of step {wanted.checkpoint}" if wanted.checkpoint.isdecimal() else "end"
        text = f"SFTRun {name} has not come to its {awaited}"
        return Waiting(Phase.PENDING, Cause(Reason.SOURCE_PENDING, text, "wait; the export then starts by itself"))
    return _unfit(wanted, status)


def _hopeless(wanted: RunCheckpoint, spec: Mapping[str, Any], status: Mapping[str, Any]) -> Blocked | None:
    """What the run's spec tells before its end; of a run that is over the store keeps its results alone."""
    name, fixed = wanted.name, bool(status.get("startTime"))
    if (spec.get("output") or {}).get("ephemeral"):
        return unusable(f"the output of SFTRun {name} is ephemeral: it ends with its pod", "name another run")
    extra = {arg.get("name", ""): arg.get("value") for arg in spec.get("extraArgs") or ()}
    if extra.get("save_strategy") == "no" and not status.get("checkpoint"):
        advice = "name another run" if fixed else f"remove save_strategy from extraArgs of SFTRun {name}"
        return unusable(f"SFTRun {name} saves no checkpoint: it is trained with save_strategy no", advice)
    validated = spec.get("validation") or any("val_dataset" in arg for arg in extra)
    if wanted.checkpoint == "best" and spec and not validated and not status.get("bestCheckpoint"):
        advice = "use checkpoint: last" if fixed else f"use checkpoint: last, or give SFTRun {name} a validation"
        return _no_best(name, "is", advice)
    return None


def _no_best(name: str, verb: str, advice: str) -> Blocked:
    text = f"SFTRun {name} has no best checkpoint: it {verb} trained without validation"
    return Blocked(Cause(Reason.NO_BEST_CHECKPOINT, text, advice), stalled=True)


def _absent(export: ModelExport, name: str, previous: Mapping[str, Any]) -> Blocked:
    """What the last status says of another name, before an edit, is not said of this one."""
    known = by_type(previous).get(ConditionType.SOURCE_READY, {})
    of_this_spec = known.get("observedGeneration") == export.metadata.generation
    if of_this_spec and known.get("reason") in (Reason.SOURCE_PENDING, Reason.SOURCE_DELETED):
        text = f"SFTRun {name} was deleted before this export could start"
        advice = "create it again, or name its checkpoint by source.persistentVolumeClaim"
        return Blocked(Cause(Reason.SOURCE_DELETED, text, advice), stalled=True)
    text = f"SFTRun {name} does not exist, and source.sftRunRef names it"
    return Blocked(Cause(Reason.SOURCE_MISSING, text, "create it, or fix the name in the spec"), stalled=False)


def _kept(wanted: RunCheckpoint, status: Mapping[str, Any]) -> bool:
    """Whether a step that is named is there before the run ends. It stays only if the run keeps so many."""
    newest = (status.get("checkpoint") or {}).get("step")
    return wanted.checkpoint.isdecimal() and newest is not None and int(wanted.checkpoint) <= newest


def _unfit(wanted: RunCheckpoint, status: Mapping[str, Any]) -> Blocked | None:
    name, newest = wanted.name, (status.get("checkpoint") or {}).get("step")
    if not status.get("output"):
        return unusable(f"the output of SFTRun {name} is not on a volume that outlives it", "name another run")
    if newest is None:
        return unusable(f"SFTRun {name} has no complete checkpoint", "name another run")
    if _kept(wanted, status):
        return None
    if wanted.checkpoint.isdecimal():
        text = f"SFTRun {name} has no checkpoint of step {wanted.checkpoint}, its newest is {newest}"
        return unusable(text, f"use a step up to {newest} that it saved, or last")
    return _without_step(wanted, status)


def _without_step(wanted: RunCheckpoint, status: Mapping[str, Any]) -> Blocked | None:
    """Of a run that failed nobody knows whether its last checkpoint is a good one: a person says so by its step."""
    name, newest = wanted.name, (status.get("checkpoint") or {}).get("step")
    if by_type(status).get(ConditionType.SUCCEEDED, {}).get("status") == "False":
        text = f"SFTRun {name} has failed"
        advice = f"name the step that you want in source.sftRunRef.checkpoint: its newest is {newest}"
        return Blocked(Cause(Reason.SOURCE_FAILED, text, advice), stalled=True)
    if wanted.checkpoint == "best" and not (status.get("bestCheckpoint") or {}).get("step"):
        return _no_best(name, "was", "use checkpoint: last")
    return None


def subject(export: ModelExport, run: Object | None) -> Subject:
    """What is exported, as spec and run tell it now."""
    source = export.spec.source
    if source.sft_run_ref is not None:
        return _of_run(source.sft_run_ref, run)
    if source.persistent_volume_claim is not None:
        claim = source.persistent_volume_claim
        return Subject(claim_name=claim.claim_name, path=claim.path, **_model(source.base, source.type))
    adapter = source.adapters[0] if source.adapters else None
    model = ModelSource(id=source.id, hub=source.hub, revision=source.revision, type=source.type)
    claimed = adapter.persistent_volume_claim if adapter else None
    if claimed is not None:
        return Subject(claim_name=claimed.claim_name, path=claimed.path, **_model(model, None))
    return Subject(**_model(model, None))


def _of_run(wanted: RunCheckpoint, run: Object | None) -> Subject:
    """The run is read live for an attempt; of one that is over the store does not know the model.

    What nobody knows yet stands in brackets, for ``swiftop preview`` alone: nothing is started without it.
    """
    found = origin(run) or Origin(names.output_claim_name(names.SFTRUN, wanted.name), f"{wanted.name}-<uid>", "")
    status = (run or {}).get("status") or {}
    steps = {"last": status.get("checkpoint"), "best": status.get("bestCheckpoint")}
    known = steps.get(wanted.checkpoint) if wanted.checkpoint in steps else {"step": wanted.checkpoint}
    path = paths.join(found.path, f"checkpoint-{(known or {}).get('step') or f'<{wanted.checkpoint}>'}")
    try:
        model = ModelSource.model_validate(((run or {}).get("spec") or {}).get("model"))
    except ValidationError:
        model = None
    return Subject(claim_name=found.claim_name, path=path, uid=found.uid, **_model(model, None))


def _model(model: ModelSource | None, type_: str | None) -> dict[str, str]:
    if model is None:
        return {"type": type_ or ""}
    claim = model.persistent_volume_claim
    return {
        "model": paths.model_path(model),
        "hub": model.hub or "",
        "revision": model.revision or "",
        "type": type_ or model.type or "",
        "model_claim_name": claim.claim_name if claim else "",
    }
