"""The command of a deployment, for ms-swift's own parser: without port, host and key, which the guard alone has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from swiftop.api.v1alpha1.modeldeployment import ModelDeploymentSpec, ServedAdapter
from swiftop.kinds.modeldeployment.source import Found, reference_of
from swiftop.runner.serve.declared import rank_limit
from swiftop.swift.argv import Flags, passed, with_extra, words
from swiftop.swift.paths import CLAIM_MODELS_DIR, join
from swiftop.swift.releases import FlagTable

PROGRAM = "swift.cli.deploy"

# By engine, the flags of what each of them calls by another name.
_LENGTH = {
    "transformers": "max_model_len",
    "vllm": "vllm_max_model_len",
    "sglang": "sglang_context_length",
    "lmdeploy": "lmdeploy_session_len",
}
_PARALLEL = {"vllm": "vllm_tensor_parallel_size", "sglang": "sglang_tp_size", "lmdeploy": "lmdeploy_tp"}
_MEMORY = {
    "vllm": "vllm_gpu_memory_utilization",
    "sglang": "sglang_mem_fraction_static",
    "lmdeploy": "lmdeploy_cache_max_entry_count",
}
# Of the pod's memory, which vLLM takes for the GPU's where there is none: the rest is for the server's process.
SHARE_ON_CPU = "0.5"


def flags(
    spec: ModelDeploymentSpec, *, name: str, table: FlagTable, found: Mapping[str, Found], adapters: bool = True
) -> Flags:
    """Flags that the typed fields give; ``found`` has the sources by reference. Without ``adapters`` the pod adds them,
    as it finds them at its start."""
    model, engine, declared = spec.model, spec.engine, spec.adapters if adapters else ()
    source = found.get(reference_of(model))
    result: Flags = {"model": (model_path(spec, found),)}
    if type_ := model.type or (source.type if source else ""):
        result["model_type"] = (type_,)
    if model.hub == "huggingface":
        result["use_hf"] = ("true",)
    if declared:
        result["adapters"] = tuple(f"{one.name}={adapter_path(one, found)}" for one in declared)
    result["infer_backend"] = (table.release.transformers_engine if engine == "transformers" else engine,)
    result["served_model_name"] = (name,)
    if engine == "transformers":
        # Requests of several names in one batch fail, and one bad request fails all of its batch.
        result["max_batch_size"] = ("1",)
    if engine == "vllm" and (rank := largest_rank(declared, found)):
        result["vllm_max_lora_rank"] = (str(rank),)
    if spec.max_model_length is not None:
        result[_LENGTH[engine]] = (str(spec.max_model_length),)
    if engine in _PARALLEL and (spec.tensor_parallel_size or spec.resources.gpus) > 1:
        result[_PARALLEL[engine]] = (str(spec.tensor_parallel_size or spec.resources.gpus),)
    if spec.gpu_memory_utilization is not None and engine in _MEMORY:
        result[_MEMORY[engine]] = (spec.gpu_memory_utilization,)
    elif engine == "vllm" and not spec.resources.gpus:
        result[_MEMORY[engine]] = (SHARE_ON_CPU,)
    return {**result, **passed(spec)}


def command(typed: Flags, spec: ModelDeploymentSpec) -> tuple[str, ...]:
    """All words."""
    return ("python", "-m", PROGRAM, *words(with_extra(typed, spec.engine_args, merged=())))


def model_path(spec: ModelDeploymentSpec, found: Mapping[str, Found]) -> str:
    """Hub id or folder of the model."""
    model = spec.model
    if ref := reference_of(model):
        return found[ref].directory
    claim = model.persistent_volume_claim
    return join(f"{CLAIM_MODELS_DIR}/{claim.claim_name}", claim.path) if claim else model.id or ""


def adapter_path(adapter: ServedAdapter, found: Mapping[str, Found]) -> str:
    """Hub id or folder of an adapter."""
    if ref := reference_of(adapter):
        return found[ref].directory
    claim = adapter.persistent_volume_claim
    return join(f"{CLAIM_MODELS_DIR}/{claim.claim_name}", claim.path) if claim else adapter.id or ""


def rank_of(adapter: ServedAdapter, found: Mapping[str, Found]) -> int | None:
    """Rank of an adapter as it is declared; None when only its own configuration tells it."""
    source = found.get(reference_of(adapter))
    return adapter.rank or (source.rank if source else None)


def largest_rank(adapters: Iterable[ServedAdapter], found: Mapping[str, Found]) -> int:
    """What vLLM has to be told before it loads any; 0 when a rank is not known here: the guard then reads them."""
    ranks = [rank_of(adapter, found) for adapter in adapters]
    known = [rank for rank in ranks if rank is not None]
    return rank_limit(max(known)) if known and len(known) == len(ranks) else 0


def known_rank(adapters: Iterable[ServedAdapter], found: Mapping[str, Found]) -> int:
    """The largest rank that is known here, 0 for none."""
    return max((rank_of(adapter, found) or 0 for adapter in adapters), default=0)


def remote(spec: ModelDeploymentSpec) -> bool:
    """Whether anything is downloaded from a hub."""
    return bool(spec.model.id) or any(adapter.id for adapter in spec.adapters)


def mounted_claims(spec: ModelDeploymentSpec) -> tuple[str, ...]:
    """Claims that the spec names itself."""
    claims = (spec.model.persistent_volume_claim, *(adapter.persistent_volume_claim for adapter in spec.adapters))
    return tuple(dict.fromkeys(claim.claim_name for claim in claims if claim is not None))
