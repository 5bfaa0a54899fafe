"""SFTRun as a kind that ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.batch.kind import BatchKind, References
from swiftop.batch.situation import Words
from swiftop.kinds.sftrun import notes, prepare, source, status, uploads
from swiftop.kinds.sftrun.build import pod
from swiftop.kinds.sftrun.prepare import Prepared
from swiftop.model.kind import Pinned, Reference
from swiftop.model.verdict import Blocked, Waiting
from swiftop.runner.protocol import TrainSettings
from swiftop.runner.report import TRAINING
from swiftop.runner.typed_json import from_json

_WORDS = Words(
    thing="run",
    working="the training runs",
    preparing="the container runs: model and data are downloaded and loaded",
    finished="the training is finished",
    kept="checkpoints written so far are kept on the output",
)


def _references(run: SFTRun) -> tuple[Reference, ...]:
    found = source.reference(run)
    return (*((found,) if found else ()), *(uploads.reference(run, name) for name in uploads.named(run.spec)))


def _source(run: SFTRun, references: References, previous: Mapping[str, Any]) -> Waiting | Blocked | None:
    """Of several things that it waits for, the one that needs a person most."""
    found = source.reference(run)
    first = source.readiness(run, references.get(found)) if found else None
    waits = [*([first] if first else []), *uploads.readiness(run, references, previous)]
    return min(waits, key=_patience, default=None)


def _patience(wait: Waiting | Blocked) -> int:
    if isinstance(wait, Waiting):
        return 2
    return 0 if wait.stalled else 1


def _with_sources(pinned: Pinned, settings: Mapping[str, Any]) -> Pinned:
    known = from_json(TrainSettings, settings)
    return replace(pinned, source=source.recorded(known.resume_from), datasets=known.datasets)


KIND: BatchKind[SFTRun, Prepared] = BatchKind(
    model=SFTRun,
    words=_WORDS,
    members=TRAINING,
    volatile=status.VOLATILE,
    references_of=_references,
    source=_source,
    prepare_with=prepare.prepare,
    pod=pod,
    own=status.own,
    explained=status.explained,
    notes_of=notes.notes,
    warnings_of=prepare.warnings,
    pinned_with=_with_sources,
)
