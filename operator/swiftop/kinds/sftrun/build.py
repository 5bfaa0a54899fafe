"""The pod of an SFTRun: one on each of its nodes."""

from __future__ import annotations

from swiftop.api.v1alpha1.hub import AdapterSource, ModelSource
from swiftop.api.v1alpha1.sftrun import FileSource, SFTRunSpec
from swiftop.batch.origin import SOURCE_DIR
from swiftop.kinds.sftrun.command import secret_vars
from swiftop.kinds.sftrun.plan import plan
from swiftop.kinds.sftrun.prepare import Prepared
from swiftop.kinds.sftrun.source import planned
from swiftop.swift import paths
from swiftop.workload.pods import Pod
from swiftop.workload.volumes import Volumes

# After SIGTERM ms-swift ends its step and saves. An adapter is written in seconds, all weights of a large model with
# their optimizer state in minutes; a pod that is done earlier ends earlier.
_GRACE_SECONDS_ADAPTER = 120
_GRACE_SECONDS_FULL = 600
_TOKENIZED = ("cached_dataset", "cached_val_dataset")


def pod(prepared: Prepared, attempt: int) -> Pod:
    """The pods of one attempt."""
    run, spec = prepared.run, prepared.spec
    told = plan(
        run,
        spec,
        attempt=attempt,
        rendered=prepared.rendered,
        resume_from=planned(spec, prepared.origin),
        datasets=prepared.datasets,
    )
    return Pod(
        owner=run,
        spec=spec,
        attempt=attempt,
        plan=told,
        volumes=_volumes(prepared),
        env=prepared.rendered.env,
        secrets=tuple(secret_vars(spec)),
        grace_seconds=_GRACE_SECONDS_FULL if spec.tuner.type == "full" else _GRACE_SECONDS_ADAPTER,
        # Without resuming a new pod would begin anew in silence.
        replaceable=spec.checkpoints.resumable,
    )


def _volumes(prepared: Prepared) -> Volumes:
    spec = prepared.spec
    found = Volumes(prepared.run, spec, runner_config_map=prepared.runner_config_map)
    models: list[ModelSource | AdapterSource] = [spec.model, *spec.model.adapters]
    for model in models:
        if model.persistent_volume_claim is not None:
            found.read_only_claim(model.persistent_volume_claim.claim_name, paths.CLAIM_MODELS_DIR)
    for dataset in (*spec.datasets, *spec.validation.datasets):
        found.dataset(dataset)
    for claim_name in _tokenized(spec):
        found.read_only_claim(claim_name, paths.CLAIM_DATASETS_DIR)
    for file in spec.files:
        _file(found, file)
    if prepared.origin is not None and spec.checkpoints.source is not None:
        found.read_only_claim(prepared.origin.claim_name, SOURCE_DIR)
    return found


def _tokenized(spec: SFTRunSpec) -> list[str]:
    """Claims of tokenized data, by the place where a claim of data is mounted: /data/<claimName>/path."""
    words = (word for arg in spec.extra_args if arg.name in _TOKENIZED for word in arg.words)
    below = f"{paths.CLAIM_DATASETS_DIR}/"
    return [word.removeprefix(below).split("/")[0] for word in words if word.startswith(below)]


def _file(found: Volumes, file: FileSource) -> None:
    path = paths.file_path(file.basename)
    if file.config_map is not None:
        found.mount(found.config_map(file.config_map), path, sub_path=file.config_map.key)
    if file.persistent_volume_claim is not None:
        claim = file.persistent_volume_claim
        found.mount(found.claim(claim.claim_name), path, sub_path=claim.path.rstrip("/"))
