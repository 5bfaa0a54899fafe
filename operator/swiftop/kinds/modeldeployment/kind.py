"""ModelDeployment as a kind that serves."""

from __future__ import annotations

from swiftop.api.v1alpha1.modeldeployment import ModelDeployment
from swiftop.kinds.modeldeployment import prepare, status
from swiftop.kinds.modeldeployment.build import objects
from swiftop.kinds.modeldeployment.prepare import Prepared
from swiftop.kinds.modeldeployment.source import wanted_of
from swiftop.kinds.modeldeployment.sources import sources
from swiftop.model.kind import Reference
from swiftop.runner.report import SERVING
from swiftop.serving.kind import ServingKind


def _references(deployment: ModelDeployment) -> tuple[Reference, ...]:
    namespace = deployment.metadata.namespace
    return tuple(dict.fromkeys(wanted.reference(namespace) for wanted in wanted_of(deployment)))


KIND: ServingKind[ModelDeployment, Prepared] = ServingKind(
    model=ModelDeployment,
    members=SERVING,
    volatile=status.VOLATILE,
    references_of=_references,
    sources=sources,
    prepare_with=prepare.prepare,
    objects_of=objects,
    before_of=lambda prepared: list(prepared.before),
    own=status.own,
    warnings_of=prepare.warnings,
)
