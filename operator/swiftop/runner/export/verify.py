"""Task: is the exported model what it should be? A tampered or broken one is refused as ``VerificationFailed``.

Always: configuration and tokenizer load, index and shards fit, every tensor has the right type and finite numbers, and
none that the model needs is missing. Then, by what the request names: every tensor of a converted checkpoint equals its
source after the cast; of a merged adapter every weight (of a large model a choice) equals base plus scale times B·A up
to rounding, and a model that fits in memory runs one forward pass against base plus adapter in float32.

Request: ``{artifact, dtype?, checkpoint? | base?, adapters?, hub?, revision?, forwardLimitBytes?, samples?}``;
checkpoint, base and adapters are folders or ids of the hub.
Result: ``{method, dtype, tensors, compared, forward?, adapterKept?, notes}``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Optional

import torch
import transformers

from .. import causes, origin, task
from . import folder, forward, limits, lora, sampling, weights
from .meter import Meter
from .tensors import Change, Converted, Differs, Expected, Merged, Reader, check_finite, each

FORWARD_LIMIT = 8 * weights.GIB
_ROOM = weights.GIB  # libraries and activations beside the weights


def work(request: Mapping[str, Any], progress: task.Progress) -> Mapping[str, Any]:
    """Verify."""
    threads = min(torch.get_num_threads(), limits.processors() or torch.get_num_threads())
    torch.set_num_threads(1)  # blocks that fit in the cache are done sooner than threads have agreed on them
    try:
        return _verify(request, progress, threads)
    except (Differs, weights.Damaged) as error:
        raise task.Refused(causes.VERIFICATION_FAILED, str(error)) from error


def _verify(request: Mapping[str, Any], progress: task.Progress, threads: int) -> dict[str, Any]:
    artifact = Reader(Path(request["artifact"]))
    if not artifact.tensors:
        raise Differs(folder.why_without_weights(artifact.path))
    notes: list[str] = []
    quantized = check_folder(artifact.path, adapter=artifact.stem == weights.ADAPTER)
    if quantized and request.get("base"):  # or nothing of it would be compared
        raise Differs("config.json says that it is quantized, and a merge is in full precision")
    if artifact.stem == weights.MODEL and not quantized:
        _check_complete(artifact, notes)
    expected = _expected(request, artifact)
    code = _check_types(request, artifact, expected, quantized)
    meter = Meter(progress, "Verifying", _bytes(artifact))
    for tensor, value in each(artifact):
        check_finite(tensor.name, value)
        if expected is not None:
            expected.check(tensor.name, value)
        meter.add(tensor.bytes)
    artifact.close()
    result: dict[str, Any] = {"method": "structure", "dtype": weights.WORDS.get(code, ""), "notes": notes}
    result.update(tensors=len(artifact.tensors), compared=getattr(expected, "compared", 0))
    if isinstance(expected, Converted):
        _check_all_there(artifact, expected.source)
        result["method"] = "equal"
    elif isinstance(expected, Merged):
        expected.close()
        torch.set_num_threads(threads)
        result.update(_merged(artifact, expected, notes, progress))
    return result


def check_folder(path: Path, *, adapter: bool) -> bool:
    """Configuration and tokenizer. Returns whether the model is quantized."""
    if adapter:
        folder.read_json(path / folder.ADAPTER_CONFIG)
        return False
    config = folder.read_json(path / folder.CONFIG)
    _loads("config.json", transformers.AutoConfig, path)
    if folder.has_tokenizer(path):
        _loads("the tokenizer", transformers.AutoTokenizer, path)
    return "quantization_config" in config


def _loads(what: str, cls: Any, path: Path) -> None:
    try:
        cls.from_pretrained(path, trust_remote_code=True)
    except Exception as error:
        raise Differs(f"{what} cannot be loaded: {type(error).__name__}: {error}") from error


def _check_complete(artifact: Reader, notes: list[str]) -> None:
    try:
        needed = forward.names_of_weights(artifact.path)
    except Exception as error:
        notes.append(f"which weights the model needs is not known: {type(error).__name__}")
        return
    missing = sorted(needed - set(lora.place(needed, artifact.tensors).values()))
    if missing and len(missing) > len(needed) // 2:
        notes.append("which weights the model needs is not known: the files have other names")
    elif missing:
        raise Differs(f"tensor {missing[0]} is missing" + (f", and {len(missing) - 1} more" if missing[1:] else ""))


def _expected(request: Mapping[str, Any], artifact: Reader) -> Optional[Expected]:
    if request.get("checkpoint"):
        return Converted(Reader(_origin(request, "checkpoint")))
    if not request.get("base"):
        return None
    base = Reader(_origin(request, "base"))
    adapters = [_adapter(origin.folder_of(path, request), artifact) for path in request.get("adapters") or ()]
    merged = Merged(base, lora.place(base.tensors, artifact.tensors), adapters)
    if _bytes(artifact) > _limit(request):
        changed = {name for adapter in adapters for name in adapter.names}
        count = int(request.get("samples") or sampling.COUNT)
        merged.chosen = sampling.choose(changed, artifact.tensors.keys() - changed, count=count)
    return merged


def _origin(request: Mapping[str, Any], name: str) -> Path:
    return origin.folder_of(str(request[name]), request, revision=str(request.get("revision") or ""))


def _adapter(path: Path, artifact: Reader) -> Change:
    reader = Reader(path)
    if not reader.tensors:
        raise Differs(folder.why_without_weights(path))
    adapter = lora.read(folder.read_json(path / folder.ADAPTER_CONFIG), reader.tensors)
    return Change.of(reader, adapter, artifact.tensors)


def _check_types(request: Mapping[str, Any], artifact: Reader, expected: Any, quantized: bool) -> str:
    """Every tensor has the wanted type, but for those that a 16-bit source keeps in 32 bits; config.json says it."""
    found = weights.main_type(artifact.tensors.values()) or ""
    code = weights.CODES.get(str(request.get("dtype") or ""), found)
    source = getattr(expected, "source", getattr(expected, "base", None))
    precise = weights.kept_precise(source.tensors) if source is not None else weights.kept_precise(artifact.tensors)
    for tensor in () if quantized else artifact.tensors.values():
        if tensor.dtype in weights.FLOATS and tensor.dtype != code and tensor.name not in precise:
            raise Differs(f"tensor {tensor.name} is {tensor.dtype}, not {code}")
    if artifact.stem == weights.MODEL and not quantized:
        told = folder.type_of(folder.read_json(artifact.path / folder.CONFIG))
        if told and weights.CODES.get(told) != code:
            raise Differs(f"config.json says {told}, the weights are {weights.WORDS.get(code, code)}")
    return code


def _check_all_there(artifact: Reader, source: Reader) -> None:
    if missing := sorted(source.tensors.keys() - artifact.tensors.keys()):
        raise Differs(f"tensor {missing[0]} of the checkpoint is missing")


def _merged(artifact: Reader, expected: Merged, notes: list[str], progress: task.Progress) -> dict[str, Any]:
    notes += [f"{count} weights not compared one by one: {why}" for why, count in expected.left.items()]
    result: dict[str, Any] = {"method": "sampled" if expected.chosen is not None else "tensors"}
    if expected.added:
        result["adapterKept"] = round(expected.applied / expected.added, 4)
        if expected.applied < 0.9 * expected.added:
            notes.append(f"rounding loses {1 - expected.applied / expected.added:.0%} of the adapter: use float32")
    needed, free = sum(4 * one.elements for one in artifact.tensors.values()) + _ROOM, limits.memory()
    if expected.chosen is not None or (free is not None and needed > free):
        if expected.chosen is None and free is not None:
            notes.append(f"no forward pass: {needed / weights.GIB:.1f} GiB are needed, {free / weights.GIB:.1f} free")
        if tied := _changed_tie(artifact, expected):
            raise Differs(tied)
        _check_compared(expected)
        return result
    progress({"phase": "VerifyingForward"})
    paths = [adapter.reader.path for adapter in expected.adapters]
    dtype = weights.WORDS[weights.main_type(artifact.tensors.values()) or "F32"]
    try:
        compared = forward.compare(artifact.path, expected.base.path, paths, dtype)
    except forward.CannotRun as error:
        notes.append(f"no forward pass: {error}")
        _check_compared(expected)
        return result
    except Differs as error:
        raise Differs("; ".join(filter(None, (str(error), _changed_tie(artifact, expected))))) from error
    return {**result, "method": "forward", "forward": asdict(compared)}


def _check_compared(expected: Merged) -> None:
    """Without a forward pass, tensors are all that a result could be called verified by."""
    if not expected.compared:
        raise Differs(f"nothing of it could be compared with the base: {expected.base.path} has no such safetensors")


def _changed_tie(artifact: Reader, expected: Merged) -> Optional[str]:
    """A merge changes a tensor that input and output share for both, an adapter for the one that it names."""
    with contextlib.suppress(Exception):  # a model that cannot be made here has been told of already
        shared = forward.shared_weights(artifact.path)
        for adapter in expected.adapters:
            config = folder.read_json(adapter.reader.path / folder.ADAPTER_CONFIG)
            changed = sorted(shared & adapter.names)
            if changed and not config.get("ensure_weight_tying"):
                return (
                    f"the adapter changes {changed[0]}, which the model shares between input and output: merged, it "
                    "changes both; serve the adapter unmerged, or train without it among the target modules"
                )
    return None


def _bytes(reader: Reader) -> int:
    return sum(tensor.bytes for tensor in reader.tensors.values())


def _limit(request: Mapping[str, Any]) -> int:
    return int(FORWARD_LIMIT if request.get("forwardLimitBytes") is None else request["forwardLimitBytes"])


if __name__ == "__main__":
    raise SystemExit(task.main(work))
