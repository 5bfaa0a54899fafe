"""SFTRun as a kind that ends."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.batch.kind import BatchKind, References
from swiftop.batch.situation import Policy, Words
from swiftop.kinds.sftrun import prepare, source, status, uploads
from swiftop.kinds.sftrun.build import build
from swiftop.kinds.sftrun.prepare import Prepared
from swiftop.model.kind import Object, Pinned, Reference
from swiftop.model.verdict import Blocked, Waiting
from swiftop.runner.protocol import TRAINING, BadPlan, TrainSettings, from_json, to_json
from swiftop.workload.job import pinned_of, plan_of

_WORDS = Words(
    thing="run",
    working="the training runs",
    preparing="the container runs: model and data are downloaded and loaded",
    finished="the training is finished",
    kept="checkpoints written so far are kept on the output",
)


def _policy(run: SFTRun) -> Policy:
    lifecycle = run.spec.lifecycle
    return Policy(
        suspend=run.spec.suspend,
        max_retries=lifecycle.max_retries,
        pending_deadline=lifecycle.pending_deadline_seconds,
        ranks=run.spec.resources.nodes,
        gpus=run.spec.resources.gpus,
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


def _pins(prepared: Prepared) -> Pinned:
    planned = source.planned(prepared.spec, prepared.origin)
    return Pinned(
        image=prepared.spec.runtime.image or "",
        swift_version=prepared.spec.runtime.swift_version or "",
        command=shlex.join(prepared.rendered.command),
        digest=prepared.digest,
        source=source.recorded(to_json(planned)),
        datasets=prepared.datasets,
    )


def _pinned(job: Object) -> Pinned | None:
    plan = plan_of(job)
    pinned = pinned_of(job, plan)
    if pinned is None or plan is None:
        return pinned
    try:
        settings = from_json(TrainSettings, plan.settings)
    except BadPlan:
        return pinned
    return replace(pinned, source=source.recorded(to_json(settings.resume_from)), datasets=settings.datasets)


KIND: BatchKind[SFTRun, Prepared, Defaults] = BatchKind(
    model=SFTRun,
    words=_WORDS,
    members=TRAINING,
    volatile=status.VOLATILE,
    policy=_policy,
    references_of=_references,
    source=_source,
    prepare_with=prepare.prepare,
    digest_with=prepare.digest,
    build_with=build,
    pins_of=_pins,
    pinned_from=_pinned,
    own=status.own,
    warnings_of=prepare.warnings,
    job_name=names.job_name,
    claim_name=names.output_claim_name,
    gpu_resource=lambda run: run.spec.resources.gpu_resource,
)
