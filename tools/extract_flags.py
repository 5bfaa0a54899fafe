"""Write the flag table of one ms-swift release, read from the release's own argument parser.

    python tools/extract_flags.py extract --command sft > one.json      # inside an environment that has ms-swift
    python tools/extract_flags.py merge one.json [two.json] > operator/swiftop/swift/flags/4.6.sft.json

The table is what ``swift sft`` (or export, or deploy) accepts: ms-swift builds its command line with transformers'
``HfArgumentParser`` over the dataclass of the command, so the parser's actions are the truth, choices and list flags
included. Part of the fields belong to transformers' ``TrainingArguments`` and change with its version: ``merge`` joins
the tables of several transformers versions and marks what only one of them has.

Needs nothing but the release itself and Python 3.9; tests/swift_versions compares the checked-in tables with the
parsers of the real wheels.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

TYPES = {"string_to_bool": "bool", "int": "int", "float": "float", "str": "str", "loads": "json"}


CLASSES = {  # of ms-swift 4 and 3
    "sft": ("SftArguments", "TrainArguments"),
    "export": ("ExportArguments", "ExportArguments"),
    "deploy": ("DeployArguments", "DeployArguments"),
}


def argument_class(command: str) -> Any:
    """The dataclass that is the command line of ``swift <command>``."""
    four, three = CLASSES[command]
    try:
        return getattr(importlib.import_module("swift.arguments"), four)
    except ImportError:
        return getattr(importlib.import_module("swift.llm"), three)


def build_parser(command: str) -> Any:
    """Build the parser as ``swift.utils.parse_args`` does: 4.x reads ``Union[str, dict]`` as a JSON object."""
    from transformers import HfArgumentParser  # noqa: PLC0415 - only there in an environment with ms-swift

    utils = importlib.import_module("swift.utils.utils")
    patch = getattr(utils, "_patch_get_type_hints", None)
    cls = argument_class(command)
    if patch is None:
        return HfArgumentParser([cls])
    with patch():
        return HfArgumentParser([cls])


def describe(action: argparse.Action) -> dict[str, Any]:
    """One row: type, and only where they say something, choices, list and default."""
    choices = list(action.choices) if action.choices else []
    kind = TYPES.get(getattr(action.type, "__name__", ""), "")
    row: dict[str, Any] = {"type": kind or (type(choices[0]).__name__ if choices else "str")}
    if choices:
        row["choices"] = choices
    if action.nargs in ("+", "*"):
        row["list"] = True
    default = getattr(action.default, "value", action.default)
    if default not in (None, []) and default is not argparse.SUPPRESS:
        row["default"] = default
    return row


STRATEGIES = (("swift.loss_scale", "ALL_BASE_STRATEGY"), ("swift.plugin.loss_scale.loss_scale", "ALL_BASE_STRATEGY"))
# Of each flag that names something a release has registered, and module and mapping in ms-swift 4,
# in ms-swift 3, and under an older name there. The parser knows none of them and takes any word.
REGISTRIES = {
    "agent_template": (("swift.agent_template", "agent_template_map"), ("swift.plugin", "agent_templates")),
    "callbacks": (("swift.callbacks.mapping", "callbacks_map"),),
    "eval_metric": (("swift.metrics", "eval_metrics_map"),),
    "loss_scale": (("swift.loss_scale", "loss_scale_map"), ("swift.plugin.loss_scale.loss_scale", "loss_scale_map")),
    "loss_type": (
        ("swift.loss", "loss_map"),
        ("swift.plugin.loss", "loss_mapping"),
        ("swift.plugin.loss", "LOSS_MAPPING"),
    ),
    "lr_scheduler_type": (("transformers.trainer_utils", "SchedulerType"),),
    "metric": (("swift.plugin.metric", "metric_mapping"), ("swift.plugin.metric", "METRIC_MAPPING")),
    "model_type": (("swift.model", "MODEL_MAPPING"), ("swift.llm", "MODEL_MAPPING")),
    "optimizer": (("swift.optimizers", "optimizers_map"), ("swift.plugin.optimizer", "optimizers_map")),
    "template": (("swift.template", "TEMPLATE_MAPPING"), ("swift.llm", "TEMPLATE_MAPPING")),
}


def names() -> dict[str, Any]:
    """What the release knows by name: tuner types, datasets, and what flags refer to."""
    try:
        base = importlib.import_module("swift.arguments.base_args.base_args")
    except ImportError:
        base = importlib.import_module("swift.llm.argument.base_args.base_args")
    found = {flag: registered(places) for flag, places in REGISTRIES.items()}
    return {
        "tuners": sorted(base.get_supported_tuners()),
        "datasets": datasets(),
        # What may stand alone, or before a loss scale; ms-swift 3.7 has no such words.
        "strategies": list(mapping(STRATEGIES)),
        "registries": {flag: words for flag, words in found.items() if words},
    }


def registered(places: Sequence[tuple[str, str]]) -> list[str]:
    """Names in the first of these mappings that the release has."""
    return sorted(str(getattr(name, "value", name)) for name in mapping(places))


def mapping(places: Sequence[tuple[str, str]]) -> Iterable[Any]:
    """The first of these that the release has; empty when it has none."""
    for module, name in places:
        try:
            return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
        except (ImportError, AttributeError):
            continue
    return ()


def datasets() -> list[str]:
    """Ids of datasets that the release does not read as it reads an unknown one: by own code, columns or splits."""
    try:
        module = importlib.import_module("swift.dataset")
    except ImportError:
        module = importlib.import_module("swift.llm.dataset")
    plain = _way(module.DatasetMeta())
    metas = [meta for meta in module.DATASET_MAPPING.values() if _way(meta) != plain]
    return sorted({id_ for meta in metas for id_ in (meta.ms_dataset_id, meta.hf_dataset_id) if id_})


def _way(meta: Any) -> tuple[Any, ...]:
    read = meta.preprocess_func
    parts = [(part.subset, part.split, part.preprocess_func) for part in meta.subsets]
    loader = getattr(meta, "loader", None) or meta.load_function
    return type(read), vars(read) if type(read).__name__ == "AutoPreprocessor" else read, parts, meta.split, loader


def extract(command: str) -> dict[str, Any]:
    """Table of one command of the environment's release. What it knows by name stands in the one of training."""
    flags: dict[str, Any] = {}
    for action in build_parser(command)._actions:
        options = [o[2:] for o in action.option_strings if o.startswith("--") and "-" not in o[2:]]
        if not options or action.dest == "help":
            continue
        if action.nargs == 0:  # store_false twin of a true-by-default bool, `--no_x`
            flags.setdefault(action.dest, {}).setdefault("aliases", []).extend(options)
            continue
        row = flags.setdefault(action.dest, {})
        row.update(describe(action))
        aliases = [o for o in options if o != action.dest]
        if aliases:
            row.setdefault("aliases", []).extend(aliases)
    return {
        "release": version("ms-swift"),
        "transformers": [version("transformers")],
        **(names() if command == "sft" else {}),
        "flags": flags,
    }


def merge(tables: list[dict[str, Any]]) -> dict[str, Any]:
    """Union of the tables of one release; a flag that not all have names the transformers versions that do."""
    every = [t["transformers"][0] for t in tables]
    flags: dict[str, Any] = {}
    for table in tables:
        for name, row in table["flags"].items():
            known = flags.setdefault(name, {**row, "transformers": []})
            known["transformers"].append(table["transformers"][0])
    for row in flags.values():
        if row["transformers"] == every:
            del row["transformers"]
    merged = {**tables[0], "transformers": every, "flags": flags}
    if "registries" in merged:  # schedulers are those of transformers
        found = [table["registries"] for table in tables]
        merged["registries"] = {flag: sorted({word for r in found for word in r[flag]}) for flag in found[0]}
    return merged


def render(table: dict[str, Any]) -> str:
    """One flag a line, sorted: a new release reads as a diff of lines."""
    head = {k: v for k, v in table.items() if k != "flags"}
    lines = [f"{json.dumps(k)}: {_lines(v) if k == 'registries' else json.dumps(v)}" for k, v in head.items()]
    flags = [f"  {json.dumps(n)}: {json.dumps(table['flags'][n], sort_keys=True)}" for n in sorted(table["flags"])]
    return "{\n" + ",\n".join(lines) + ',\n"flags": {\n' + ",\n".join(flags) + "\n}\n}\n"


def _lines(registries: dict[str, list[str]]) -> str:
    rows = ",\n".join(f"  {json.dumps(flag)}: {json.dumps(words)}" for flag, words in registries.items())
    return "{\n" + rows + "\n}"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("extract", help="print the table of this environment's release")
    one.add_argument("--command", dest="program", choices=CLASSES, default="sft", help="of which `swift` command")
    joined = commands.add_parser("merge", help="join tables of one release under several transformers versions")
    joined.add_argument("tables", nargs="+", type=Path)
    args = parser.parse_args()
    if args.command == "extract":
        table = extract(args.program)
    else:
        table = merge([json.loads(path.read_text("utf-8")) for path in args.tables])
    sys.stdout.write(render(table))


if __name__ == "__main__":
    main()
