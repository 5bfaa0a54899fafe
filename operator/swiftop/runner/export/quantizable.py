"""Task: can this pod quantize this model? Packages that are missing are told in seconds, not after the merge.

Request: ``{method, folder?}``; with a folder the model in it has to be one that is not quantized yet.
Result: ``{packages}``, the versions that were found.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import causes, image, task
from . import folder, weights

# Modules that ms-swift imports for a method (QuantEngine in its quant.py, the quantizers of transformers and optimum),
# and the package that brings each; of several in one line any is enough.
_MODULES: Mapping[str, Sequence[Sequence[tuple[str, str]]]] = {
    "awq": ((("awq", "autoawq"),),),
    "gptq": ((("optimum.gptq", "optimum"),), (("gptqmodel", "gptqmodel"), ("auto_gptq", "auto-gptq"))),
    "gptq_v2": ((("optimum.gptq", "optimum"),), (("gptqmodel", "gptqmodel"),)),
    "bnb": ((("bitsandbytes", "bitsandbytes"),), (("accelerate", "accelerate"),)),
    "fp8": ((("accelerate", "accelerate"),), (("triton", "triton"),)),
}
_FP8_CONFIG = "FineGrainedFP8Config"
_FP8_CAPABILITY = (8, 9)


def work(request: Mapping[str, Any], progress: task.Progress) -> Mapping[str, Any]:
    """Check packages, GPU and model."""
    progress({"phase": "CheckingQuantization"})
    method = str(request["method"])
    found: dict[str, str] = {}
    for alternatives in _MODULES[method]:
        found.update([_imported(method, alternatives)])
    if method == "fp8":
        _check_fp8()
    if request.get("folder"):
        check_plain(Path(request["folder"]))
    return {"packages": found}


def _imported(method: str, alternatives: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Package and version of the first that can be imported: one that is there may not fit torch or transformers."""
    problems = []
    for module, package in alternatives:
        try:
            importlib.import_module(module)
            return package, metadata.version(package)
        except Exception as error:
            problems.append(f"{package} ({type(error).__name__}: {_first_line(error)})")
    text = f"quantization with {method} needs {' or '.join(problems)}"
    raise task.Refused(image.PACKAGE_MISSING, text)


def _check_fp8() -> None:
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    if not hasattr(transformers, _FP8_CONFIG):
        text = f"quantization with fp8 needs a transformers with {_FP8_CONFIG}, not {transformers.__version__}"
        raise task.Refused(image.PACKAGE_MISSING, text)
    if not torch.cuda.is_available():
        return  # other accelerators; without any, transformers says so
    capability = torch.cuda.get_device_capability()
    if capability < _FP8_CAPABILITY:
        name = torch.cuda.get_device_name()
        text = f"fp8 needs a GPU of compute capability 8.9 or more, {name} has {capability[0]}.{capability[1]}"
        raise task.Refused(causes.QUANTIZATION_UNSUPPORTED, text)


def check_plain(path: Path) -> None:
    """A model that is quantized already cannot be quantized again: ms-swift would go on with the first method."""
    try:
        config = folder.read_json(path / folder.CONFIG) if (path / folder.CONFIG).is_file() else {}
    except weights.Damaged:
        return  # whoever loads it says so
    known = config.get("quantization_config")
    if known is not None:
        method = known.get("quant_method", "some method") if isinstance(known, dict) else "some method"
        text = f"the model is already quantized, by {method}: name the model in full precision as the source or base"
        raise task.Refused(causes.QUANTIZATION_UNSUPPORTED, text)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


if __name__ == "__main__":
    raise SystemExit(task.main(work))
