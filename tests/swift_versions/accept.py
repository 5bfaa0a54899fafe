"""Runs inside an environment with the real ms-swift: builds its argument object for each command line on stdin.

Nothing of swiftop runs in here, only tests/fakes and ms-swift. One process takes the whole list, because importing
ms-swift takes ten seconds and one argument object a few hundredths. The machine has no GPU, so one question is answered
in a GPU's place: whether bf16 is supported; and bitsandbytes, of which only the version is asked for, seems installed.
Everything else is ms-swift's own: parsing, `__post_init__`, the model's files, the DeepSpeed configuration.

Input: a JSON list of argument lists. Output, after a line `RESULTS`: a JSON list of {"error": …} or of what the object
resolved to, in our words and by the names of the flags that were given.
"""

from __future__ import annotations

import copy
import functools
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence, Sized
from pathlib import Path
from typing import Any

# By its folder: some library ships a package called `tests`, which would win over ours.
sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
tiny_model = importlib.import_module("tiny_model")

# The paths of a pod, moved below the one folder that is writable here.
MODELS = {"tiny": "bfloat16", "tiny-fp16": "float16", "tiny-fp32": "float32"}  # claim: type of the weights
ADAPTER = Path("/tmp/models/tiny/adapter/adapter_config.json")
DEEPSPEED = {"zero_optimization": {"stage": 1}, "train_micro_batch_size_per_gpu": "auto", "train_batch_size": "auto"}
FILES = {"ds.json": json.dumps(DEEPSPEED), "prompt.txt": "Be brief.", "plugin.py": ""}


def argument_class() -> tuple[Any, Callable[..., Any]]:
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


def pretend_bitsandbytes() -> None:
    """An installed package without content."""
    metadata = Path("/tmp/installed/bitsandbytes-0.48.0.dist-info/METADATA")
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: bitsandbytes\nVersion: 0.48.0\n")
    sys.path.append("/tmp/installed")


def share_what_stays() -> None:
    """What all command lines have in common is most of the time of each: the parser, and the versions of packages."""
    metadata: Any = importlib.import_module("importlib.metadata")
    utils: Any = importlib.import_module("swift.utils.utils")
    metadata.version = functools.cache(metadata.version)
    parser_class = utils.HfArgumentParser

    @functools.cache
    def built(cls: Any) -> tuple[Any, list[tuple[Any, Any]]]:
        parser = parser_class([cls])
        return parser, [(action, action.default) for action in parser._actions if isinstance(action.default, Sized)]

    def parser_of(classes: Sequence[Any]) -> Any:
        parser, defaults = built(*classes)
        for action, default in defaults:
            action.default = copy.deepcopy(default)  # a list that belongs to one argument object
        return parser

    utils.HfArgumentParser = parser_of


def forget_process_state() -> None:
    """accelerate keeps one state per process: the next argument object starts from none, as the first did."""
    state = importlib.import_module("accelerate.state")
    state.AcceleratorState._reset_state(reset_partial_state=True)
    for name in [n for n in os.environ if n.startswith("ACCELERATE_")]:
        del os.environ[name]
    importlib.import_module("transformers.integrations.deepspeed").unset_hf_deepspeed_config()


def resolve(cls: Any, parse: Callable[..., Any], argv: Sequence[str]) -> dict[str, Any]:
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
    zero, quantization = (args.deepspeed or {}).get("zero_optimization", {}), args.get_quantization_config()
    flags = [word[2:].split("=")[0] for word in argv if word.startswith("--")]
    return {
        **{flag: getattr(args, flag, "no such attribute") for flag in flags},
        "quantization": quantization and type(quantization).__name__,
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
    ADAPTER.parent.mkdir()
    ADAPTER.write_text("{}")
    for name, text in FILES.items():
        file = Path("/tmp/swiftop/files") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    cls, parse = argument_class()
    pretend_bf16()
    pretend_bitsandbytes()
    share_what_stays()
    results = [resolve(cls, parse, argv) for argv in commands]
    print("RESULTS")
    print(json.dumps(results, default=str))


if __name__ == "__main__":
    main()
