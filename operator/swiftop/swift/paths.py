"""Where everything lies inside a training pod.

One module for both sides: the command names these paths, and the volumes are mounted there. Only /tmp and the
output and cache volumes are writable; the root file system is read-only.
"""

from __future__ import annotations

from dataclasses import dataclass

from swiftop.api.v1alpha1.base import CustomResource
from swiftop.api.v1alpha1.hub import AdapterSource, DatasetSource, ModelSource, NamedDataset
from swiftop.api.v1alpha1.refs import ClaimPath
from swiftop.api.v1alpha1.workload import Cache, Output

RUNNER_DIR = "/swiftop/runner"
RUNNER = f"{RUNNER_DIR}/runner.pyz"
OUTPUT_DIR = "/swiftop/output"
CACHE_DIR = "/swiftop/cache"
FILES_DIR = "/swiftop/files"
CA_BUNDLE = "/swiftop/ca.crt"
ADAPTERS_DIR = "/swiftop/adapters"
CONFIG_MAP_DATASETS_DIR = "/swiftop/datasets"
CLAIM_DATASETS_DIR = "/data"
CLAIM_MODELS_DIR = "/models"
WORK_DIR = "/tmp"  # noqa: S108 - an emptyDir of the pod, nobody else's
EPHEMERAL_CACHE_DIR = f"{WORK_DIR}/cache"


@dataclass(frozen=True, slots=True)
class Identity:
    """Which object it is: what its output directory and its id at SwanLab are derived from."""

    name: str
    uid: str
    namespace: str = "default"


def identity_of(resource: CustomResource) -> Identity:
    """Of an object of the API server."""
    meta = resource.metadata
    return Identity(meta.name, meta.uid, meta.namespace)


def join(root: str, path: str) -> str:
    """``path`` below ``root``, without empty parts."""
    return "/".join([root, *(part for part in path.split("/") if part not in ("", "."))])


def output_dir(output: Output, identity: Identity) -> str:
    """Directory of one object. Its UID is in it, so that a later one of the same name never meets these results."""
    claim = output.persistent_volume_claim
    return join(join(OUTPUT_DIR, claim.path if claim else ""), f"{identity.name}-{identity.uid[:8]}")


def cache_dir(cache: Cache | None) -> str:
    """Directory on the cache claim; without a claim one that ends with the pod."""
    if cache is None:
        return EPHEMERAL_CACHE_DIR
    return join(CACHE_DIR, cache.persistent_volume_claim.path)


def cache_env(cache: Cache | None) -> dict[str, str]:
    """Where ms-swift and the hubs' clients keep models, datasets and tokenized data."""
    directory = cache_dir(cache)
    return {"MODELSCOPE_CACHE": join(directory, "modelscope"), "HF_HOME": join(directory, "huggingface")}


def model_path(model: ModelSource) -> str:
    """What ``--model`` gets: a hub id or a folder. ms-swift reads the model's type from the last part of the name."""
    return _claim(CLAIM_MODELS_DIR, model.persistent_volume_claim) if model.persistent_volume_claim else model.id or ""


def adapter_path(adapter: AdapterSource) -> str:
    """What ``--adapters`` gets: a hub id or a folder."""
    claim = adapter.persistent_volume_claim
    return _claim(CLAIM_MODELS_DIR, claim) if claim else adapter.id or ""


def dataset_path(source: NamedDataset) -> str:
    """Hub id or path of a dataset, without subsets and sample; of one that is uploaded first, whose it is."""
    if source.config_map is not None:
        return f"{CONFIG_MAP_DATASETS_DIR}/{source.config_map.name}/{source.config_map.key}"
    if source.persistent_volume_claim is not None:
        return _claim(CLAIM_DATASETS_DIR, source.persistent_volume_claim)
    if isinstance(source, DatasetSource) and source.upload_ref is not None:
        return f"datasetupload/{source.upload_ref.name}"
    return source.id or ""


def file_path(basename: str) -> str:
    """Path of a file of ``spec.files``."""
    return f"{FILES_DIR}/{basename}"


def _claim(root: str, claim: ClaimPath) -> str:
    return join(f"{root}/{claim.claim_name}", claim.path)
