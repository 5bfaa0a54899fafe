"""Runs inside an environment with the real ms-swift: loads the datasets of command lines, as a training does.

Nothing of swiftop runs in here. All commands share one cache, as runs on one cache claim do. Input: a JSON object with
``env`` and ``commands``, a list of argument lists. Output, after a line `RESULTS`: a JSON list of {"train": […],
"validation": […]}, the last turn of each row, sorted; or of {"error": …}.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1] / "fakes"), str(Path(__file__).parent)]
tiny_model = importlib.import_module("tiny_model")
accept = importlib.import_module("accept")


def loaded(parse: Any, pipeline: Any, argv: Sequence[str]) -> dict[str, Any]:
    """Rows of one command."""
    try:
        args, remaining = parse(accept.argument_class()[0], list(argv))
        assert not remaining, remaining
        train, validation = pipeline._get_dataset(SimpleNamespace(args=args))
    except Exception:
        return {"error": traceback.format_exc(limit=-3)}
    return {"train": last_turns(train), "validation": last_turns(validation)}


def last_turns(dataset: Any) -> list[str]:
    """What a model would learn to say."""
    return sorted(row["messages"][-1]["content"] for row in dataset or ())


def modules() -> tuple[Any, Any, Any]:
    """The training pipeline, the registered datasets, and the module with the look-up that is made of them."""
    try:
        pipeline = importlib.import_module("swift.pipelines.train.sft").SwiftSft
        return (
            pipeline,
            importlib.import_module("swift.dataset"),
            importlib.import_module("swift.dataset.dataset_syntax"),
        )
    except ImportError:
        pipeline = importlib.import_module("swift.llm.train.sft").SwiftSft
        return (
            pipeline,
            importlib.import_module("swift.llm.dataset"),
            importlib.import_module("swift.llm.dataset.loader"),
        )


def main() -> None:
    """Read, load, print."""
    asked = json.load(sys.stdin)
    os.environ.update(asked["env"])
    tiny_model.write_model(Path("/tmp/models/tiny") / tiny_model.MODEL_NAME, tiny_model.conversations())
    pipeline, datasets, look_up = modules()
    parse, registered, results = accept.argument_class()[1], dict(datasets.DATASET_MAPPING), []
    for argv in asked["commands"]:
        results.append(loaded(parse, pipeline, argv))
        accept.forget_process_state()
        datasets.DATASET_MAPPING.clear()  # each command is a process of its own
        datasets.DATASET_MAPPING.update(registered)
        look_up._dataset_meta_mapping = None
    print("RESULTS")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
