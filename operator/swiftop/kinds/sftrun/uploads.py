"""``uploadRef``: datasets that a DatasetUpload puts on a hub, at the very commit that it made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.hub import DatasetSource
from swiftop.api.v1alpha1.sftrun import SFTRun, SFTRunSpec
from swiftop.batch.conditions import ended
from swiftop.batch.origin import unusable
from swiftop.model.conditions import by_type
from swiftop.model.facts import Cause
from swiftop.model.kind import Object, Reference
from swiftop.model.verdict import Blocked, Phase, Waiting
from swiftop.reasons import ConditionType, Reason
from swiftop.runner.protocol import UploadedDataset

References = Mapping[Reference, Object | None]

_COMMIT = re.compile("[0-9a-f]{6,64}")  # told by a pod: a branch or a tag would move


def named(spec: SFTRunSpec) -> tuple[str, ...]:
    """DatasetUploads that a spec refers to, each once."""
    datasets = (*spec.datasets, *spec.validation.datasets)
    return tuple(dict.fromkeys(source.upload_ref.name for source in datasets if source.upload_ref))


def reference(run: SFTRun, name: str) -> Reference:
    """A DatasetUpload of the run's namespace."""
    return Reference(names.DATASETUPLOAD, run.metadata.namespace, name)


def readiness(run: SFTRun, references: References, previous: Mapping[str, Any]) -> Iterator[Waiting | Blocked]:
    """What of its uploads the run waits for before it may start; nothing when all are done."""
    for name in named(run.spec):
        upload = references.get(reference(run, name))
        waits = _absent(run, name, previous) if upload is None else _unfinished(name, upload)
        if waits is not None:
            yield waits


def _absent(run: SFTRun, name: str, previous: Mapping[str, Any]) -> Blocked:
    """What is missing is told before what has not ended: whoever waited for an end has seen all of them."""
    known = by_type(previous).get(ConditionType.DEPENDENCIES_READY, {})
    of_this_spec = known.get("observedGeneration") == run.metadata.generation
    if of_this_spec and known.get("reason") in (Reason.SOURCE_PENDING, Reason.SOURCE_DELETED):
        text = f"DatasetUpload {name} was deleted before this run could start"
        advice = "create it again, or name the dataset by its id and revision"
        return Blocked(Cause(Reason.SOURCE_DELETED, text, advice), stalled=True)
    text = f"DatasetUpload {name} does not exist, and uploadRef names it"
    return Blocked(Cause(Reason.SOURCE_MISSING, text, "create it, or fix the name in the spec"), stalled=False)


def _unfinished(name: str, upload: Object) -> Waiting | Blocked | None:
    status = upload.get("status") or {}
    if not ended(status):
        return Waiting(Phase.PENDING, _pending(name, upload))
    summary = by_type(status)[ConditionType.SUCCEEDED]
    if summary["status"] != "True":
        text = f"DatasetUpload {name} has failed ({summary.get('reason')})"
        advice = "see its status; fix it and apply it again after deleting it, or under a new name that uploadRef names"
        return Blocked(Cause(Reason.SOURCE_FAILED, text, advice), stalled=True)
    if not _COMMIT.fullmatch(str(status.get("commit") or "")):
        advice = "name the dataset by its id and revision"
        return unusable(f"DatasetUpload {name} does not say which commit it made", advice)
    return None


def _pending(name: str, upload: Object) -> Cause:
    if (upload.get("spec") or {}).get("suspend"):
        text = f"DatasetUpload {name} is suspended"
        return Cause(Reason.SOURCE_PENDING, text, "set its spec.suspend to false; the run then starts by itself")
    text = f"DatasetUpload {name} has not finished"
    return Cause(Reason.SOURCE_PENDING, text, "wait; the run then starts by itself")


def uploaded(run: SFTRun, references: References) -> tuple[UploadedDataset, ...]:
    """What the uploads put where. They are read live for an attempt; of one that is over the store knows the end alone.

    What nobody knows yet stands in brackets, for ``swiftop preview`` alone: nothing is started without it.
    """
    return tuple(_uploaded(name, references.get(reference(run, name)) or {}) for name in named(run.spec))


def _uploaded(name: str, upload: Object) -> UploadedDataset:
    destination = (upload.get("spec") or {}).get("destination") or {}
    return UploadedDataset(
        upload=name,
        hub=destination.get("hub") or "",
        repo=destination.get("repo") or f"<repo of DatasetUpload {name}>",
        revision=(upload.get("status") or {}).get("commit") or "<commit>",
    )


def with_uploads(spec: SFTRunSpec, found: tuple[UploadedDataset, ...]) -> SFTRunSpec:
    """The spec with a dataset of a hub, at its revision, in place of each reference."""
    known = {dataset.upload: dataset for dataset in found}

    def resolved(sources: tuple[DatasetSource, ...]) -> tuple[DatasetSource, ...]:
        return tuple(_resolved(source, known) for source in sources)

    validation = spec.validation.model_copy(update={"datasets": resolved(spec.validation.datasets)})
    return spec.model_copy(update={"datasets": resolved(spec.datasets), "validation": validation})


def _resolved(source: DatasetSource, known: Mapping[str, UploadedDataset]) -> DatasetSource:
    if source.upload_ref is None:
        return source
    found = known[source.upload_ref.name]
    return source.model_copy(
        update={"upload_ref": None, "id": found.repo, "hub": found.hub or None, "revision": found.revision}
    )
