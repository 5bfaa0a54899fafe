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


def names() -> dict[str, list[str]]:
    """Tuner types, trainer callbacks (3.x has no flag for them) and datasets that the release knows."""
    try:
        base = importlib.import_module("swift.arguments.base_args.base_args")
        callbacks = importlib.import_module("swift.callbacks.mapping").callbacks_map
    except ImportError:
        base = importlib.import_module("swift.llm.argument.base_args.base_args")
        callbacks = {}
    return {"tuners": sorted(base.get_supported_tuners()), "callbacks": sorted(callbacks), "datasets": datasets()}


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
    """Table of one command of the environment's release. Tuners, callbacks and datasets belong to training alone."""
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
    return {**tables[0], "transformers": every, "flags": flags}


def render(table: dict[str, Any]) -> str:
    """One flag a line, sorted: a new release reads as a diff of lines."""
    head = {k: v for k, v in table.items() if k != "flags"}
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in head.items()]
    flags = [f"  {json.dumps(n)}: {json.dumps(table['flags'][n], sort_keys=True)}" for n in sorted(table["flags"])]
    return "{\n" + ",\n".join(lines) + ',\n"flags": {\n' + ",\n".join(flags) + "\n}\n}\n"


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
