"""Runs inside an environment with the real ms-swift: its arguments, with the acceleration's plugin, for each command.

The machine has no GPU: that there is one, and how much memory it has, is answered in its place. Input: a JSON list of
[GiB, flags that the spec gives, argument list]. Output, after a line `RESULTS`: for each the report, what ms-swift's
trainer is told, and what stands in its own arguments.
"""

from __future__ import annotations

import importlib
import io
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests/swift_versions"))
sys.path.append(str(ROOT / "operator"))
accept = importlib.import_module("accept")
plugin = importlib.import_module("swiftop.acceleration.plugin")
gpu = importlib.import_module("swiftop.acceleration.gpu")
TOLD = (
    "per_device_train_batch_size", "gradient_accumulation_steps", "gradient_checkpointing", "logging_nan_inf_filter",
    "dataloader_prefetch_factor", "use_liger_kernel",
)  # fmt: skip
ENTRY = "/tmp/entry.py"


def resolve(gib: float, fixed: list[str], argv: list[str]) -> dict[str, Any]:
    """One command; the plugin is installed for it alone."""
    factory: Any = importlib.import_module("swift.trainers").TrainerFactory
    trainer: Any = importlib.import_module("transformers").Trainer
    kept, begin = factory.get_training_args, trainer.__init__
    report = Path("/tmp/report.json")
    report.unlink(missing_ok=True)
    wanted = {"mode": "Auto", "fixed": fixed, "report": str(report), "entry": ENTRY}
    os.environ[plugin.VARIABLE] = json.dumps(wanted)
    for name, value in {"total_gib": gib, "free_gib": gib, "unsuited": ""}.items():
        setattr(gpu, name, lambda value=value: value)
    vars(plugin)["_no_kernels"] = lambda: None
    lines = io.StringIO()
    logging.getLogger("swiftop.acceleration").handlers[:] = [logging.StreamHandler(lines)]
    plugin.install()
    cls, parse = accept.argument_class()
    try:
        args, _ = parse(cls, [*argv, "--external_plugins", ENTRY])
    finally:
        accept.forget_process_state()
        factory.get_training_args, trainer.__init__ = kept, begin
    return {
        "report": json.loads(report.read_text()),
        "told": {name: getattr(args.training_args, name) for name in TOLD},
        "own": {name: getattr(args, name) for name in TOLD},
        "plugins": args.external_plugins,
        "log": lines.getvalue(),
    }


def main() -> None:
    """Read, resolve, print."""
    commands = json.load(sys.stdin)
    tiny = accept.tiny_model
    tiny.write_model(Path("/tmp/models/tiny") / tiny.MODEL_NAME, tiny.conversations(), dtype="bfloat16")
    Path(ENTRY).write_text("")
    accept.pretend_bf16()
    results = [resolve(*command) for command in commands]
    print("RESULTS")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
