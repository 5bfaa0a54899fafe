"""Children of an SFTRun: its volume, its headless Service and the Job of an attempt."""

from __future__ import annotations

from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.hub import AdapterSource, ModelSource
from swiftop.api.v1alpha1.sftrun import FileSource
from swiftop.batch.origin import SOURCE_DIR
from swiftop.kinds.sftrun.command import secret_vars
from swiftop.kinds.sftrun.plan import plan
from swiftop.kinds.sftrun.prepare import Prepared
from swiftop.kinds.sftrun.source import planned
from swiftop.model.verdict import Create
from swiftop.swift import paths
from swiftop.workload.claim import output_claim, ranks_service
from swiftop.workload.job import attempt_job
from swiftop.workload.pods import Pod
from swiftop.workload.volumes import Volumes

Object = dict[str, Any]

# After SIGTERM ms-swift ends its step and saves. An adapter is written in seconds, all weights of a large model with
# their optimizer state in minutes; a pod that is done earlier ends earlier.
_GRACE_SECONDS_ADAPTER = 120
_GRACE_SECONDS_FULL = 600


def build(prepared: Prepared, create: Create) -> list[Object]:
    """Children in the order in which they are made, the Job last."""
    run, spec = prepared.run, prepared.spec
    name, several = run.metadata.name, spec.resources.nodes > 1
    children = []
    if spec.output.volume is not None:
        children.append(output_claim(run, spec.output.volume, name=names.output_claim_name(name)))
    if several:
        children.append(ranks_service(run, name=names.service_name(name)))
    job = attempt_job(
        _pod(prepared, create),
        create,
        name=names.job_name(name, create.attempt),
        lifecycle=spec.lifecycle,
        digest=prepared.digest,
        ranks=spec.resources.nodes,
        # With several nodes one rank's end is the attempt's; without resuming a new pod would begin anew in silence.
        replace_pods=not several and spec.checkpoints.resume == "Auto",
    )
    return [*children, job]


def _pod(prepared: Prepared, create: Create) -> Pod:
    run, spec = prepared.run, prepared.spec
    told = plan(
        run,
        spec,
        attempt=create.attempt,
        rendered=prepared.rendered,
        resume_from=planned(spec, prepared.origin),
        datasets=prepared.datasets,
    )
    return Pod(
        owner=run,
        spec=spec,
        attempt=create.attempt,
        plan=told,
        volumes=_volumes(prepared),
        env=prepared.rendered.env,
        secrets=tuple(secret_vars(spec)),
        grace_seconds=_GRACE_SECONDS_FULL if spec.tuner.type == "full" else _GRACE_SECONDS_ADAPTER,
        subdomain=names.service_name(run.metadata.name) if spec.resources.nodes > 1 else "",
    )


def _volumes(prepared: Prepared) -> Volumes:
    spec, found = prepared.spec, Volumes()
    found.runner(prepared.runner_config_map)
    found.shared_memory(spec.resources.shared_memory)
    found.output(spec.output, claim_name=names.output_claim_name(prepared.run.metadata.name))
    found.cache(spec.cache)
    models: list[ModelSource | AdapterSource] = [spec.model, *spec.model.adapters]
    for model in models:
        if model.persistent_volume_claim is not None:
            found.read_only_claim(model.persistent_volume_claim.claim_name, paths.CLAIM_MODELS_DIR)
    for dataset in (*spec.datasets, *spec.validation.datasets):
        found.dataset(dataset)
    for file in spec.files:
        _file(found, file)
    if prepared.origin is not None and spec.checkpoints.source is not None:
        found.read_only_claim(prepared.origin.claim_name, SOURCE_DIR)
    return found


def _file(found: Volumes, file: FileSource) -> None:
    path = paths.file_path(file.basename)
    if file.config_map is not None:
        found.mount(found.config_map(file.config_map), path, sub_path=file.config_map.key)
    if file.persistent_volume_claim is not None:
        claim = file.persistent_volume_claim
        found.mount(found.claim(claim.claim_name), path, sub_path=claim.path.rstrip("/"))
