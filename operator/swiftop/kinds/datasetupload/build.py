"""The pod of a DatasetUpload. It has no volume of its own: what it makes is on the hub."""

from __future__ import annotations

from swiftop.api.v1alpha1.datasetupload import DatasetUploadSpec, UploadSource
from swiftop.kinds.datasetupload.prepare import Prepared
from swiftop.runner.protocol import CLIENT_TOKENS, Plan, UploadSettings
from swiftop.runner.typed_json import to_json
from swiftop.swift import paths, secrets
from swiftop.swift.cache import cache_keys
from swiftop.swift.secrets import SecretVar
from swiftop.workload.meta import plan_owner
from swiftop.workload.pods import Pod
from swiftop.workload.volumes import Volumes

_GRACE_SECONDS = 30  # nothing is saved at a stop
_RECORD_DIR = f"{paths.WORK_DIR}/upload"  # of the pod: nothing outlives it


def pod(prepared: Prepared, attempt: int) -> Pod:
    """The pod of one attempt."""
    spec = prepared.spec
    return Pod(
        owner=prepared.upload,
        spec=spec,
        attempt=attempt,
        plan=_plan(prepared, attempt),
        volumes=_volumes(prepared),
        env=paths.cache_env(spec.cache),
        secrets=secret_vars(spec),
        grace_seconds=_GRACE_SECONDS,
    )


def secret_vars(spec: DatasetUploadSpec) -> tuple[SecretVar, ...]:
    """The token of the destination, without which nothing can be written, and that of the tokenizer's hub."""
    hub, credentials = spec.destination.hub, spec.credentials
    own = spec.destination.token_secret
    token = SecretVar(CLIENT_TOKENS[hub], own.name, own.key, optional=False) if own else None
    other = (spec.tokenizer.hub or hub) if spec.tokenizer else hub
    more = secrets.hub_tokens(credentials, {other}) if other != hub else []
    return (
        token or secrets.write_token(hub, credentials),
        *(found for found in more if found.name != CLIENT_TOKENS[hub]),
    )


def _plan(prepared: Prepared, attempt: int) -> Plan:
    spec = prepared.spec
    return Plan(
        program="upload",
        owner=plan_owner(prepared.upload),
        attempt=attempt,
        command=(),
        output_dir=_RECORD_DIR,
        settings=to_json(_settings(prepared.spec)),
        cache_dir=paths.cache_dir(spec.cache) if spec.cache else None,
        cache_keys=_cache_keys(spec) if spec.cache else (),
    )


def _cache_keys(spec: DatasetUploadSpec) -> tuple[str, ...]:
    """The tokenizer, which is some files of its model."""
    tokenizer = spec.tokenizer
    if tokenizer is None:
        return ()
    use_hf = ("true",) if (tokenizer.hub or spec.destination.hub) == "huggingface" else ()
    return cache_keys({"model": (tokenizer.model,), "use_hf": use_hf}, part="tokenizer")


def _settings(spec: DatasetUploadSpec) -> UploadSettings:
    destination, tokenizer = spec.destination, spec.tokenizer
    return UploadSettings(
        source=source_path(spec.source),
        hub=destination.hub,
        repo=destination.repo,
        path=destination.path,
        token_env=CLIENT_TOKENS[destination.hub],
        visibility=destination.visibility,
        revision=destination.revision or "",
        commit_message=destination.commit_message or "",
        overwrite=destination.overwrite,
        format=spec.format,
        columns=dict(spec.columns),
        max_bad_rows=spec.max_bad_rows,
        tokenizer=tokenizer.model if tokenizer else "",
        tokenizer_hub=(tokenizer.hub or destination.hub) if tokenizer else "",
        max_length=tokenizer.max_length if tokenizer else None,
    )


def source_path(source: UploadSource) -> str:
    """The file in the pod."""
    claim, config_map = source.persistent_volume_claim, source.config_map
    if claim is not None:
        return paths.join(f"{paths.CLAIM_DATASETS_DIR}/{claim.claim_name}", claim.path)
    return f"{paths.CONFIG_MAP_DATASETS_DIR}/{config_map.name}/{config_map.key}" if config_map else ""


def _volumes(prepared: Prepared) -> Volumes:
    spec = prepared.spec
    found = Volumes(prepared.upload, spec, runner_config_map=prepared.runner_config_map)
    claim, config_map = spec.source.persistent_volume_claim, spec.source.config_map
    if claim is not None:
        found.read_only_claim(claim.claim_name, paths.CLAIM_DATASETS_DIR)
    if config_map is not None:
        found.mount(found.config_map(config_map), f"{paths.CONFIG_MAP_DATASETS_DIR}/{config_map.name}")
    return found
