"""Runs inside an environment with the real ms-swift: builds its argument object for each command line on stdin.

Nothing of swiftop runs in here, only tests/fakes and ms-swift. One process takes the whole list, because importing
ms-swift takes ten seconds and one argument object a few hundredths. The machine has no GPU, so one question is answered
in a GPU's place: whether bf16 is supported. Everything else is ms-swift's own: parsing, `__post_init__`, the model's
files, the DeepSpeed configuration.

Input: a JSON list of argument lists. Output, after a line `RESULTS`: a JSON list of {"error": …} or of what the object
resolved to.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path

# By its folder: some library ships a package called `tests`, which would win over ours.
sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
tiny_model = importlib.import_module("tiny_model")

# The paths of a pod, moved below the one folder that is writable here.
MODELS = {"tiny": "bfloat16", "tiny-fp16": "float16", "tiny-fp32": "float32"}  # claim: type of the weights
DEEPSPEED_FILE = Path("/tmp/swiftop/files/ds.json")
DEEPSPEED = {"zero_optimization": {"stage": 1}, "train_micro_batch_size_per_gpu": "auto", "train_batch_size": "auto"}


def argument_class():
    """``SftArguments`` of ms-swift 4, ``TrainArguments`` of 3, and the function that parses for it."""
    try:
        cls = importlib.import_module("swift.arguments").SftArguments
    except ImportError:
        cls = importlib.import_module("swift.llm").TrainArguments
    return cls, importlib.import_module("swift.utils").parse_args


def pretend_bf16() -> None:
    """Answer for the GPU that the run will have."""
    module = importlib.import_module("transformers.training_args")
    for name in ("is_torch_bf16_gpu_available", "is_torch_bf16_available"):
        if hasattr(module, name):
            setattr(module, name, lambda *_args, **_kwargs: True)


def forget_process_state() -> None:
    """accelerate keeps one state per process: the next argument object starts from none, as the first did."""
    state = importlib.import_module("accelerate.state")
    state.AcceleratorState._reset_state(reset_partial_state=True)
    for name in [n for n in os.environ if n.startswith("ACCELERATE_")]:
        del os.environ[name]
    importlib.import_module("transformers.integrations.deepspeed").unset_hf_deepspeed_config()


def resolve(cls, parse, argv):
    """One argument object, in the words of the spec."""
    try:
        args, remaining = parse(cls, list(argv))
    except SystemExit as error:
        return {"error": f"exit {error.code}"}
    except Exception:
        return {"error": traceback.format_exc(limit=-3)}
    finally:
        forget_process_state()
    if remaining:
        return {"error": f"remaining_argv: {remaining}"}
    zero = (args.deepspeed or {}).get("zero_optimization", {})
    return {
        "tuner": getattr(args, "tuner_type", None) or getattr(args, "train_type", None),
        "dtype": str(args.torch_dtype).replace("torch.", ""),
        "fp16": bool(args.training_args.fp16),
        "bf16": bool(args.training_args.bf16),
        "packing": args.packing,
        "flat": args.packing or args.padding_free,
        "zero": zero.get("stage"),
    }


def main() -> None:
    """Read, resolve, print."""
    commands = json.load(sys.stdin)
    for claim, dtype in MODELS.items():
        tiny_model.write_model(
            Path("/tmp/models") / claim / tiny_model.MODEL_NAME, tiny_model.conversations(), dtype=dtype
        )
    DEEPSPEED_FILE.parent.mkdir(parents=True)
    DEEPSPEED_FILE.write_text(json.dumps(DEEPSPEED))
    cls, parse = argument_class()
    pretend_bf16()
    results = [resolve(cls, parse, argv) for argv in commands]
    print("RESULTS")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
