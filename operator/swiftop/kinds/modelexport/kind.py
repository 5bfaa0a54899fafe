"""ModelExport as a kind that ends."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.modelexport import ModelExport
from swiftop.batch.kind import BatchKind, References
from swiftop.batch.origin import SOURCE_DIR
from swiftop.batch.situation import Policy, Words
from swiftop.kinds.modelexport import prepare, source, status
from swiftop.kinds.modelexport.build import build, claim_name, job_name
from swiftop.kinds.modelexport.prepare import Prepared
from swiftop.model.kind import Object, Pinned, Reference
from swiftop.model.verdict import Blocked, Waiting
from swiftop.runner.protocol import EXPORTING, BadPlan, ExportSettings, from_json
from swiftop.workload.job import pinned_of, plan_of

_WORDS = Words(
    thing="export",
    program="export",
    working="the model is exported",
    preparing="the container runs: the model is loaded",
    finished="the model is exported",
    kept="what was completed stays on the output",
)


def _policy(export: ModelExport) -> Policy:
    lifecycle = export.spec.lifecycle
    return Policy(
        suspend=export.spec.suspend,
        max_retries=lifecycle.max_retries,
        pending_deadline=lifecycle.pending_deadline_seconds,
        gpus=export.spec.resources.gpus,
    )


def _references(export: ModelExport) -> tuple[Reference, ...]:
    found = source.reference(export)
    return (found,) if found else ()


def _source(export: ModelExport, references: References, previous: Mapping[str, Any]) -> Waiting | Blocked | None:
    found = source.reference(export)
    return source.readiness(export, references.get(found), previous) if found else None


def _pins(prepared: Prepared) -> Pinned:
    return Pinned(
        image=prepared.spec.runtime.image or "",
        swift_version=prepared.spec.runtime.swift_version or "",
        command=shlex.join(prepared.command),
        digest=prepared.digest,
        source=prepared.subject.recorded(),
    )


def _pinned(job: Object) -> Pinned | None:
    plan = plan_of(job)
    pinned = pinned_of(job, plan)
    if pinned is None or plan is None:
        return pinned
    try:
        settings = from_json(ExportSettings, plan.settings)
    except BadPlan:
        return pinned
    claim, _, path = settings.source.removeprefix(f"{SOURCE_DIR}/").partition("/")
    model_claim = settings.model.removeprefix("/models/").partition("/")[0] if settings.model.startswith("/") else ""
    found = source.Subject(
        claim_name=claim if settings.source else "",
        path=path,
        uid=settings.uid,
        model=settings.model,
        hub=settings.hub,
        revision=settings.revision,
        type=settings.type,
        model_claim_name=model_claim,
    )
    return replace(pinned, source=found.recorded())


KIND: BatchKind[ModelExport, Prepared, Defaults] = BatchKind(
    model=ModelExport,
    words=_WORDS,
    members=EXPORTING,
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
    job_name=job_name,
    claim_name=claim_name,
    gpu_resource=lambda export: export.spec.resources.gpu_resource,
)
