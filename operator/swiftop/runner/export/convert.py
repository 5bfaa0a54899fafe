"""Task: a full-tuned checkpoint, or an adapter, becomes a clean folder with the model alone, in the wanted type.

ms-swift exits with 0 and writes nothing for such a checkpoint. Here one tensor at a time is read, converted and
written, so that memory does not grow with the model.

Request: ``{checkpoint, output, dtype?, base?, baseName?, hub?, revision?, shardBytes?}``. Without ``dtype`` that of
``base``, without it that of the checkpoint; both are folders, or ids of the hub. ``baseName`` replaces the path of the
base model in an adapter.
Result: ``{dtype, tensors, converted, bytes, shards}``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from .. import causes, origin, task
from . import folder, weights
from .meter import Meter
from .tensors import TORCH, Reader
from .weights import Tensor

_PIECE = 1 << 24  # bytes written at once


def work(request: Mapping[str, Any], progress: task.Progress) -> Mapping[str, Any]:
    """Convert."""
    path, output = _origin(request, "checkpoint"), Path(request["output"])
    try:
        source = Reader(path)
        code, precise = _target(request, source.tensors)
    except weights.Damaged as error:
        raise task.Refused(causes.WEIGHTS_MISSING, f"{path} cannot be exported: {error}") from error
    if not source.tensors:
        raise task.Refused(causes.WEIGHTS_MISSING, folder.why_without_weights(path))
    output.mkdir(parents=True, exist_ok=True)
    wanted = [tensor if tensor.name in precise else tensor.as_type(code) for tensor in source.tensors.values()]
    shards = weights.plan(wanted, limit=int(request.get("shardBytes") or weights.SHARD), stem=source.stem)
    meter = Meter(progress, "Converting", sum(tensor.bytes for tensor in wanted))
    for shard in shards:
        _write(output / shard[0].file, shard, source, meter)
    if len(shards) > 1:
        (output / f"{source.stem}.safetensors.index.json").write_text(weights.index_of(shards), encoding="utf-8")
    try:
        _copy_rest(path, output, weights.WORDS[code], str(request.get("baseName") or ""))
    except weights.Damaged as error:
        raise task.Refused(causes.WEIGHTS_MISSING, f"{path} cannot be exported: {error}") from error
    return {
        "dtype": weights.WORDS[code],
        "tensors": len(wanted),
        "converted": sum(source.tensors[tensor.name].dtype != tensor.dtype for tensor in wanted),
        "bytes": sum(tensor.bytes for tensor in wanted),
        "shards": len(shards),
    }


def _origin(request: Mapping[str, Any], name: str) -> Path:
    return origin.folder_of(str(request[name]), request, revision=str(request.get("revision") or ""))


def _target(request: Mapping[str, Any], found: Mapping[str, Tensor]) -> tuple[str, frozenset[str]]:
    """The type to convert to, and the tensors that keep theirs."""
    base = weights.read_folder(_origin(request, "base")) if request.get("base") else {}
    code = weights.CODES.get(str(request.get("dtype") or ""))
    code = code or weights.main_type(base.values()) or weights.main_type(found.values()) or "F32"
    precise = weights.kept_precise(base) | weights.kept_precise(found)
    return ("F32" if code == "F64" else code), precise


def _write(path: Path, shard: list[Tensor], source: Reader, meter: Meter) -> None:
    with path.open("wb") as file:
        weights.write_header(file, shard)
        for tensor in shard:
            value = source.get(tensor.name)
            _append(file, value.to(TORCH.get(tensor.dtype, value.dtype)))
            meter.add(tensor.bytes)
    path.chmod(0o644)


def _append(file: BinaryIO, value: Any) -> None:
    """The bytes of a tensor, without a second copy of them."""
    flat = value.contiguous().reshape(-1).view(torch.uint8)
    for start in range(0, len(flat), _PIECE):
        file.write(memoryview(flat[start : start + _PIECE].numpy()))


def _copy_rest(source: Path, output: Path, dtype: str, base_name: str) -> None:
    adapter = folder.stem_of(source) == weights.ADAPTER
    for name in folder.accompanying(source, adapter=adapter):
        target = output / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights.within(source, name), target)
    if (source / folder.ARGUMENTS).is_file():  # of which the last step leaves what a prompt is made by
        shutil.copyfile(weights.within(source, folder.ARGUMENTS), output / folder.ARGUMENTS)
    if adapter:
        config = folder.read_json(source / folder.ADAPTER_CONFIG)
        known = base_name or str(config.get("base_model_name_or_path") or "")
        if known.startswith("/"):  # a folder of this pod means nothing to anybody else
            known = known.rstrip("/").rpartition("/")[2]
        _write_json(output / folder.ADAPTER_CONFIG, {**config, "base_model_name_or_path": known})
    else:
        config = folder.read_json(source / folder.CONFIG)
        _write_json(output / folder.CONFIG, folder.with_type(config, dtype))


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(task.main(work))
