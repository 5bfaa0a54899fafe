"""The pod of a ModelExport."""

from __future__ import annotations

from swiftop.api.v1alpha1.modelexport import ModelExportSpec
from swiftop.api.v1alpha1.publish import PushTarget
from swiftop.api.v1alpha1.quantization import CalibrationSource
from swiftop.batch.origin import SOURCE_DIR
from swiftop.kinds.modelexport.command import full_dir, hub_adapter, loaded, partial_dir, quantized_dir
from swiftop.kinds.modelexport.prepare import Prepared
from swiftop.kinds.modelexport.source import Subject
from swiftop.runner.protocol import CLIENT_TOKENS, NVIDIA, ExportSettings, ExportTarget, Plan, Quantize
from swiftop.runner.typed_json import to_json
from swiftop.swift import paths, secrets
from swiftop.swift.cache import cache_keys
from swiftop.swift.paths import Identity, identity_of
from swiftop.swift.secrets import SecretVar
from swiftop.workload.meta import plan_owner
from swiftop.workload.pods import Pod
from swiftop.workload.volumes import Volumes

_GRACE_SECONDS = 30  # nothing is saved at a stop: a step that was not completed begins anew
_MIN_FREE_BYTES = 512 * 1024 * 1024


def pod(prepared: Prepared, attempt: int) -> Pod:
    """The pod of one attempt."""
    spec = prepared.spec
    env = dict(paths.cache_env(spec.cache))
    if not spec.resources.gpus:
        env["CUDA_VISIBLE_DEVICES"] = ""  # a GPU that the node shows to every container is not this pod's
    return Pod(
        owner=prepared.export,
        spec=spec,
        attempt=attempt,
        plan=_plan(prepared, attempt),
        volumes=_volumes(prepared),
        env=env,
        secrets=tuple(secret_vars(spec, prepared.subject)),
        grace_seconds=_GRACE_SECONDS,
        fetches=bool(cache_keys(loaded(spec, prepared.subject))),
    )


def secret_vars(spec: ModelExportSpec, found: Subject) -> list[SecretVar]:
    """Tokens of the hubs that are read from, and those of the targets, without which nothing is started."""
    hub = found.hub or "modelscope"
    read = {hub} if found.model and not found.model.startswith("/") else set[str]()
    read |= _hubs_of_rows(spec, found)
    wanted = secrets.hub_tokens(spec.credentials, read)
    by_name = {secret.name: secret for secret in wanted}
    for number, target in enumerate(spec.push):
        own, name = target.token_secret, token_env(target, number)
        token = SecretVar(name, own.name, own.key, optional=False) if own else None
        by_name[name] = token or secrets.write_token(target.hub, spec.credentials)
    return list(by_name.values())


def token_env(target: PushTarget, number: int) -> str:
    """Variable of the token of a target: one that has a Secret of its own does not read with it."""
    return f"SWIFTOP_PUSH_TOKEN_{number}" if target.token_secret else CLIENT_TOKENS[target.hub]


def _plan(prepared: Prepared, attempt: int) -> Plan:
    export, spec, found = prepared.export, prepared.spec, prepared.subject
    identity = identity_of(export)
    settings = ExportSettings(
        source=found.directory,
        model=found.model,
        partial=partial_dir(spec, identity),
        hub=found.hub,
        revision=found.revision,
        type=found.type,
        adapter=hub_adapter(spec) if not found.directory else "",
        uid=found.uid,
        merge=spec.merge,
        dtype=spec.dtype or "",
        verify=spec.verify == "Auto",
        bake_template=spec.bake_template,
        quantize=_quantize(prepared, identity),
        targets=tuple(_target(target, number) for number, target in enumerate(spec.push)),
        card=prepared.card,
    )
    return Plan(
        program="export",
        owner=plan_owner(export),
        attempt=attempt,
        command=prepared.command,
        output_dir=paths.output_dir(spec.output, identity),
        settings=to_json(settings),
        swift_version=spec.runtime.swift_version,
        gpus=spec.resources.gpus,
        gpu_resource=spec.resources.gpu_resource or NVIDIA,
        cache_dir=paths.cache_dir(spec.cache) if spec.cache else None,
        cache_keys=cache_keys(loaded(spec, found)) if spec.cache else (),
        min_free_bytes=_MIN_FREE_BYTES,
    )


def _quantize(prepared: Prepared, identity: Identity) -> Quantize | None:
    spec, wanted = prepared.spec, prepared.spec.quantization
    if wanted is None:
        return None
    return Quantize(
        command=prepared.quantize,
        source=full_dir(spec, prepared.subject, identity),
        partial=quantized_dir(spec, identity),
        method=wanted.method,
        bits=wanted.bits,
        group_size=wanted.group_size,
        data_type=wanted.quant_type or "",
        token_env=tuple(sorted(CLIENT_TOKENS[hub] for hub in _hubs_of_rows(spec, prepared.subject))),
    )


def _target(target: PushTarget, number: int) -> ExportTarget:
    return ExportTarget(
        hub=target.hub,
        repo=target.repo,
        token_env=token_env(target, number),
        visibility=target.visibility,
        revision=target.revision or "",
        commit_message=target.commit_message or "",
        overwrite=target.overwrite,
    )


def _volumes(prepared: Prepared) -> Volumes:
    source = prepared.subject
    found = Volumes(prepared.export, prepared.spec, runner_config_map=prepared.runner_config_map)
    if source.claim_name:
        found.read_only_claim(source.claim_name, SOURCE_DIR)
    if source.model_claim_name:
        found.read_only_claim(source.model_claim_name, paths.CLAIM_MODELS_DIR)
    for dataset in _calibration(prepared.spec):
        found.dataset(dataset)
    return found


def _hubs_of_rows(spec: ModelExportSpec, found: Subject) -> set[str]:
    return {dataset.hub or found.hub or "modelscope" for dataset in _calibration(spec) if dataset.id}


def _calibration(spec: ModelExportSpec) -> tuple[CalibrationSource, ...]:
    return spec.quantization.datasets if spec.quantization is not None else ()
