"""Runs inside an environment with the real ms-swift: builds its arguments of `swift deploy` for each line on stdin.

As accept.py does for training. Nothing is loaded and no engine is needed: an engine's own arguments are what ms-swift
would start it with. Input: a JSON list of argument lists. Output, after a line `RESULTS`: a JSON list of {"error": ...}
or of what the object resolved to, by the names of the flags that were given.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "fakes"))
tiny_model = importlib.import_module("tiny_model")

ENGINES = ("vllm", "sglang", "lmdeploy")
# As a ModelExport leaves them: what a prompt was made by in the training.
ARGUMENTS = {"swift_version": "4.6.0", "model_type": "qwen2", "template": "qwen2_5", "system": "Answer in rhymes."}
ADAPTER = {"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"], "base_model_name_or_path": ""}


def argument_class() -> tuple[Any, Any]:
    """``DeployArguments``, and the function that parses for it."""
    try:
        cls = importlib.import_module("swift.arguments").DeployArguments
    except ImportError:
        cls = importlib.import_module("swift.llm").DeployArguments
    return cls, importlib.import_module("swift.utils").parse_args


def folders(argv: Sequence[str]) -> None:
    """The tiny model, or an adapter, wherever a command line expects one."""
    for word in argv:
        name, _, path = word.rpartition("=")
        if not path.startswith("/tmp/") or Path(path).exists():
            continue
        if name:
            Path(path).mkdir(parents=True)
            (Path(path) / "adapter_config.json").write_text(json.dumps(ADAPTER))
        else:
            tiny_model.write_model(Path(path), tiny_model.conversations(), dtype="bfloat16")
            if path.endswith("/model"):
                (Path(path) / "args.json").write_text(json.dumps(ARGUMENTS))


def resolve(cls: Any, parse: Any, argv: Sequence[str]) -> dict[str, Any]:
    """One argument object, by the flags that were given, and what its engine would be started with."""
    try:
        args, remaining = parse(cls, list(argv))
    except SystemExit as error:
        return {"error": f"exit {error.code}"}
    except Exception:
        return {"error": traceback.format_exc(limit=-3)}
    if remaining:
        return {"error": f"remaining_argv: {remaining}"}
    flags = [word[2:].split("=")[0] for word in argv if word.startswith("--")]
    engine = args.infer_backend
    started = getattr(args, f"get_{engine}_engine_kwargs")() if engine in ENGINES else {}
    return {
        **{flag: getattr(args, flag, "no such attribute") for flag in flags},
        "named": getattr(args, "adapter_mapping", {}),
        "unnamed": args.adapters,
        "prompt": [args.template, args.system],
        "engine": {name: value for name, value in started.items() if isinstance(value, (str, int, float))},
    }


def main() -> None:
    """Read, resolve, print."""
    commands = json.load(sys.stdin)
    for argv in commands:
        folders(argv)
    cls, parse = argument_class()
    results = [resolve(cls, parse, argv) for argv in commands]
    print("RESULTS")
    print(json.dumps(results, default=str))


if __name__ == "__main__":
    main()
