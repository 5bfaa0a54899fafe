"""ModelExport as a kind that ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from swiftop.api.v1alpha1.modelexport import ModelExport
from swiftop.batch.kind import BatchKind, References
from swiftop.batch.situation import Words
from swiftop.kinds.modelexport import prepare, source, status
from swiftop.kinds.modelexport.build import pod
from swiftop.kinds.modelexport.prepare import Prepared
from swiftop.model.kind import Pinned, Reference
from swiftop.model.verdict import Blocked, Waiting
from swiftop.runner.protocol import ExportSettings
from swiftop.runner.report import EXPORTING
from swiftop.runner.typed_json import from_json

_WORDS = Words(
    thing="export",
    program="export",
    working="the model is exported",
    preparing="the container runs: the model is loaded",
    finished="the model is exported",
    kept="what was completed stays on the output",
    headway="it was done",
    steadier="run it where it is not taken away so soon (placement.priorityClassName, other nodes); then apply it with "
    "a new name",
)


def _references(export: ModelExport) -> tuple[Reference, ...]:
    found = source.reference(export)
    return (found,) if found else ()


def _source(export: ModelExport, references: References, previous: Mapping[str, Any]) -> Waiting | Blocked | None:
    found = source.reference(export)
    return source.readiness(export, references.get(found), previous) if found else None


def _with_source(pinned: Pinned, settings: Mapping[str, Any]) -> Pinned:
    return replace(pinned, source=source.planned(from_json(ExportSettings, settings)).recorded())


KIND: BatchKind[ModelExport, Prepared] = BatchKind(
    model=ModelExport,
    words=_WORDS,
    members=EXPORTING,
    volatile=status.VOLATILE,
    references_of=_references,
    source=_source,
    prepare_with=prepare.prepare,
    pod=pod,
    own=status.own,
    pinned_with=_with_source,
)
