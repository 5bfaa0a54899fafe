"""What the model card says of an export, as far as spec and run tell it; runner/export/card.py writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftop.api.v1alpha1.modelexport import ModelExport, ModelExportSpec
from swiftop.api.v1alpha1.quantization import ExportQuantization
from swiftop.kinds.modelexport.command import weights_type
from swiftop.kinds.modelexport.source import Subject
from swiftop.model.kind import Object

_HYPERPARAMETERS = ("tuner", "training")  # members of a run's spec
_TAGS = {"awq": ("awq",), "gptq": ("gptq",), "gptq_v2": ("gptq",), "bnb": ("bitsandbytes",), "fp8": ("fp8",)}
_INTERNAL = ("image", "tracker")  # members of a card that name hosts, of which a registry's may be a secret
_RESULTS = ("step", "epoch", "loss", "evalLoss")


def card(export: ModelExport, found: Subject, spec: ModelExportSpec, run: Object | None) -> dict[str, Any]:
    """Members of a ``Card`` in camelCase; nothing of a file or folder, which means nothing on a hub.

    One card serves all targets: once one of them is public, it tells no system prompt and nothing of the platform.
    """
    trained, status = (run or {}).get("spec") or {}, (run or {}).get("status") or {}
    resolved = status.get("resolved") or {}
    uploads = {known.get("upload"): known for known in resolved.get("datasets") or ()}
    quantized, calibrated = spec.quantization, spec.quantization.datasets if spec.quantization else ()
    calibration = [data.model_dump(mode="json", by_alias=True, exclude_none=True) for data in calibrated]
    content: dict[str, Any] = {
        "name": export.metadata.name,
        "base": _base(found),
        "datasets": [
            source for data in trained.get("datasets") or () if (source := _dataset(data, uploads, found.hub))
        ],
        "adapter": not spec.merge,
        "dtype": weights_type(spec),
        "quantization": _quantization(quantized) if quantized else "",
        "calibration": [source for data in calibration if (source := _dataset(data, {}, found.hub))],
        "tags": [*_TAGS[quantized.method], f"{quantized.bits or 8}-bit"] if quantized else [],
        "hyperparameters": _flat({name: trained[name] for name in _HYPERPARAMETERS if name in trained}),
        "swiftVersion": resolved.get("swiftVersion") or spec.runtime.swift_version or "",
        "image": resolved.get("image") or "",
        "tracker": (status.get("tracking") or {}).get("url") or "",
        "result": {name: value for name in _RESULTS if (value := (status.get("progress") or {}).get(name)) is not None},
        "lineage": _lineage(found, run),
    }
    if any(target.visibility == "public" for target in spec.push):
        content |= dict.fromkeys(_INTERNAL, "")
        content["hyperparameters"].pop("training.system", None)
    return {name: value for name, value in content.items() if value not in ("", [], {}, None)}


def _quantization(wanted: ExportQuantization) -> str:
    """In words: awq, 4 bits, groups of 128."""
    bits = f"{wanted.bits} bits" if wanted.bits else ""
    group = "one group per column" if wanted.group_size == -1 else f"groups of {wanted.group_size or 128}"
    return ", ".join(filter(None, (wanted.method, bits, wanted.quant_type, group if wanted.datasets else "")))


def _base(found: Subject) -> dict[str, str]:
    if not found.model or found.model.startswith("/"):
        return {}
    return {"name": found.model.partition(":")[0], "revision": found.revision, "hub": found.hub or "modelscope"}


def _dataset(data: Mapping[str, Any], uploads: Mapping[Any, Mapping[str, Any]], hub: str) -> dict[str, str] | None:
    """A dataset of a hub; one that was uploaded first as the run has pinned it."""
    upload = uploads.get((data.get("uploadRef") or {}).get("name"))
    known = {**upload, "id": upload.get("repo")} if upload else data
    if not known.get("id"):
        return None
    source = {"name": str(known["id"]), "hub": str(known.get("hub") or hub or "modelscope")}
    return {**source, "revision": str(known["revision"])} if known.get("revision") else source


def _flat(members: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """``training.maxLength`` and so on; a long text, as a system prompt, is cut."""
    flat: dict[str, Any] = {}
    for name, value in members.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{path}{name}.")
        else:
            flat[f"{path}{name}"] = value[:200] if isinstance(value, str) else value
    return flat


def _lineage(found: Subject, run: Object | None) -> list[str]:
    if run is None:
        return []
    meta = run["metadata"]
    step = found.path.rpartition("checkpoint-")[2]
    return [f"SFTRun {meta['namespace']}/{meta['name']}, checkpoint of step {step}"]
