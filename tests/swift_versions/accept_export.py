"""Runs inside an environment with the real ms-swift: builds ``ExportArguments`` for each command line on stdin.

As accept.py does for ``sft``. Input: a JSON list of argument lists. Output, after a line ``RESULTS``: a JSON list of
{"error": …} or of what the object has of each flag that was given.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
accept = importlib.import_module("accept")
tiny_model = importlib.import_module("tiny_model")
MODEL = Path("/tmp/output/merged-0f3a1c9e/model.full") / tiny_model.MODEL_NAME


def argument_class() -> tuple[Any, Callable[..., Any]]:
    """``ExportArguments``, and the function that parses for it."""
    try:
        cls = importlib.import_module("swift.arguments").ExportArguments
    except ImportError:
        cls = importlib.import_module("swift.llm").ExportArguments
    return cls, importlib.import_module("swift.utils").parse_args


def resolve(cls: Any, parse: Callable[..., Any], argv: Sequence[str]) -> dict[str, Any]:
    """One argument object, by its flags."""
    try:
        args, remaining = parse(cls, list(argv))
    except SystemExit as error:
        return {"error": f"exit {error.code}"}
    except Exception:
        return {"error": traceback.format_exc(limit=-3)}
    if remaining:
        return {"error": f"remaining_argv: {remaining}"}
    flags = [word[2:].split("=")[0] for word in argv if word.startswith("--")]
    config = args.get_quantization_config()
    return {
        **{flag: _plain(getattr(args, flag)) for flag in flags},
        "merges": bool(args.merge_lora),
        "config": config and type(config).__name__,
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, list, type(None))) else str(value).replace("torch.", "")


def main() -> None:
    """Read, resolve, print."""
    commands = json.load(sys.stdin)
    tiny_model.write_model(MODEL, tiny_model.conversations(), dtype="bfloat16")
    # As a training leaves it: what it said of bnb must not win over the export.
    trained = {"quant_method": None, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
    (MODEL / "args.json").write_text(json.dumps({**trained, "torch_dtype": "bfloat16", "system": "Be brief."}))
    accept.pretend_bitsandbytes()
    cls, parse = argument_class()
    results = [resolve(cls, parse, argv) for argv in commands]
    print("RESULTS")
    print(json.dumps(results, default=str))


if __name__ == "__main__":
    main()
