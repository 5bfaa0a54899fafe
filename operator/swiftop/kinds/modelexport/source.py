"""What is exported: a checkpoint of a run, maybe one to come, a folder on a volume, or a model of a hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from swiftop import names
from swiftop.api.v1alpha1.hub import ModelSource
from swiftop.api.v1alpha1.modelexport import ModelExport
from swiftop.api.v1alpha1.refs import RunCheckpoint
from swiftop.batch.checkpoint import Reader, awaited, located
from swiftop.batch.origin import SOURCE_DIR
from swiftop.model.conditions import by_type
from swiftop.model.kind import Object, Reference
from swiftop.model.verdict import Blocked, Waiting
from swiftop.reasons import ConditionType
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
    # What the last status says of another name, before an edit, is not said of this one.
    said = by_type(previous).get(ConditionType.SOURCE_READY, {})
    known = said.get("reason", "") if said.get("observedGeneration") == export.metadata.generation else ""
    where = {"field": "source.sftRunRef", "instead": "source.persistentVolumeClaim"}
    return awaited(wanted, run, Reader(thing="export", known=known, **where))


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
    """The run is read live for an attempt; of one that is over the store does not know the model."""
    found = located(wanted, run)
    try:
        model = ModelSource.model_validate(((run or {}).get("spec") or {}).get("model"))
    except ValidationError:
        model = None
    return Subject(claim_name=found.claim_name, path=found.path, uid=found.uid, **_model(model, None))


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
