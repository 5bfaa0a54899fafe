"""Task: is the quantized model what it should be, as far as files can tell? A wrong one is ``VerificationFailed``.

Always: configuration and tokenizer load; config.json says the wanted method, bits and group size; index and shards fit;
every tensor can be read and its plain numbers are finite; no weight of the verified model is missing, and some are
quantized. Tensors that are not quantized equal those of the verified model after the cast; awq scales those inside its
blocks, so that only the others are compared. Weights of fp8 and bnb equal it up to the rounding of their number format.
Those of awq and gptq have their size checked only: they are chosen by data, and no single one has a right value.

Request: ``{artifact, source, method, bits?, groupSize?, dataType?}``, source being the folder of the verified model.
Result: ``{tensors, compared, quantized, notes}``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .. import causes, task
from . import dequantize, folder, weights
from .meter import Meter
from .tensors import TORCH, Differs, Reader, check_finite, each
from .verify import check_folder

_METHODS = {"awq": "awq", "gptq": "gptq", "gptq_v2": "gptq", "bnb": "bitsandbytes", "fp8": "fp8"}  # of transformers
_GROUP = 128  # ms-swift's default
_BLOCK = re.compile(r"\.\d+\.")  # of a tensor's name: one of the blocks that follow each other
_PACKED = ("awq", "gptq", "gptq_v2")


def work(request: Mapping[str, Any], progress: task.Progress) -> Mapping[str, Any]:
    """Verify."""
    torch.set_num_threads(1)  # as in verify
    try:
        return _verify(request, progress)
    except (Differs, weights.Damaged) as error:
        raise task.Refused(causes.VERIFICATION_FAILED, f"the quantized model: {error}") from error


def _verify(request: Mapping[str, Any], progress: task.Progress) -> dict[str, Any]:
    artifact, source = Reader(Path(request["artifact"])), Reader(Path(request["source"]))
    if not artifact.tensors:
        raise Differs(folder.why_without_weights(artifact.path))
    check_folder(artifact.path, adapter=False)
    check_config(folder.read_json(artifact.path / folder.CONFIG).get("quantization_config"), request)
    checked = _Checked(artifact, source, str(request["method"]), request)
    meter = Meter(progress, "VerifyingQuantized", sum(tensor.bytes for tensor in artifact.tensors.values()))
    for tensor, value in each(artifact):
        check_finite(tensor.name, value)
        meter.add(tensor.bytes)
    checked.compare()
    artifact.close()
    source.close()
    return {
        "tensors": len(artifact.tensors),
        "compared": checked.compared,
        "quantized": checked.quantized,
        "notes": checked.notes,
    }


def check_config(known: Any, request: Mapping[str, Any]) -> None:
    """What engines go by. Raises ``Differs``."""
    if not isinstance(known, dict):
        raise Differs("config.json has no quantization_config")
    method = str(request["method"])
    _same("quant_method", str(known.get("quant_method")).rpartition(".")[2].lower(), _METHODS[method])
    if method in _PACKED:
        _same("bits", known.get("bits", known.get("w_bit")), request["bits"])
        _same("group_size", known.get("group_size", known.get("q_group_size")), request.get("groupSize") or _GROUP)
    if method == "gptq_v2":
        _same("checkpoint_format", known.get("checkpoint_format"), "gptq_v2")
    if method == "bnb":
        _same(f"load_in_{request['bits']}bit", known.get(f"load_in_{request['bits']}bit"), True)
        if request.get("dataType"):
            _same("bnb_4bit_quant_type", known.get("bnb_4bit_quant_type"), request["dataType"])


def _same(name: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise Differs(f"quantization_config in config.json says {name} {found}, not {wanted}")


@dataclass
class _Checked:
    """The tensors of the verified model, one after the other."""

    artifact: Reader
    source: Reader
    method: str
    request: Mapping[str, Any]
    compared: int = 0
    quantized: int = 0
    notes: list[str] = field(default_factory=list)

    def compare(self) -> None:
        """Raises ``Differs``."""
        missing = [name for name in self.source.tensors if not self._check(name)]
        if missing and len(missing) > len(self.source.tensors) // 2:
            self.notes.append("not compared with the verified model: the files have other names")
        elif missing:
            raise Differs(f"tensor {missing[0]} is missing" + (f", and {len(missing) - 1} more" if missing[1:] else ""))
        elif not self.quantized:
            raise Differs("no weight is quantized")

    def _check(self, name: str) -> bool:
        """One tensor; False when it is not there in any form."""
        found = self.artifact.tensors
        if self.method in _PACKED and (packed := f"{name.removesuffix('.weight')}.qweight") in found:
            shape = self.source.tensors[name].shape
            group = int(self.request.get("groupSize") or _GROUP)
            dequantize.check_packed(packed, shape, found, bits=int(self.request["bits"]), group=group)
            self.quantized += 1
            return True
        if name not in found:
            return False
        if found[name].dtype in weights.FLOATS:
            self._equal(name)
            return True
        wanted = self.source.get(name)
        if self.method == "fp8":
            dequantize.check_fp8(name, self.artifact, wanted)
        elif self.method == "bnb":
            dequantize.check_bnb(name, self.artifact, wanted)
        else:
            raise Differs(f"tensor {name} is {found[name].dtype}")
        self.quantized += 1
        self.compared += 1
        return True

    def _equal(self, name: str) -> None:
        if self.method == "awq" and _BLOCK.search(name):
            return
        value, source = self.artifact.get(name), self.source.get(name)
        if value.shape != source.shape:
            raise Differs(f"tensor {name} has the shape {list(value.shape)}, it was {list(source.shape)}")
        if value.dtype not in TORCH.values() or not torch.equal(value, source.to(value.dtype)):
            raise Differs(f"tensor {name} is not quantized, but is not that of the verified model")
        self.compared += 1


if __name__ == "__main__":
    raise SystemExit(task.main(work))
