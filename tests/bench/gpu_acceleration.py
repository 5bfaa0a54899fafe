"""Off and Auto side by side on real GPUs: ``python -m tests.bench.gpu_acceleration [--only NAME …] [--steps N]``.

Needs what ``tests.bench.gpu_run`` needs, and liger-kernel; DeepSpeed for ``zero2``. The 7B sample is trained by the
runner's zip file on a random model of its shape, at the same effective batch and on the same packs in the same order:

- ``off``: the sample's own flags;
- ``auto``: its batch as ``globalBatchSize``, so that swiftop splits it and decides on checkpointing;
- ``explicit``: the sample as it is, with ``Auto`` by default: the fused layers alone, for GPUs with little memory;
- ``approximate``: as ``auto``, the frozen weights' products in 8 bits;
- ``two-off``, ``two`` and ``zero2``: the sample's batch over two GPUs;
- ``resume``: a run that begins with ``off`` is stopped and goes on with ``auto``, and the other way round.

``off`` has the tests' stand-in for flash-attn, where the package is not installed, all others have none. Runs of one
GPU each take the GPUs of the machine in turn; ``off`` and ``auto`` have the same one. What is found is printed at once.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from swiftop.runner import causes
from swiftop.runner.train import checkpoints
from tests.bench.gpu_assets import CHATS, LARGE
from tests.bench.gpu_pods import Ended, Object, Pod, Site, follow, installed, make_pod
from tests.bench.gpu_run import WARM_UP, cards, machine

PARAMETERS = 7.07e9  # of the linear layers, lm_head among them: 2 flops each forward, 2 back through a frozen weight
PEAK = 989e12  # bf16 flops per second of an H100 and of an H200, as NVIDIA states them
SPLIT_BY_SWIFTOP: Object = {
    "perDeviceBatchSize": None, "gradientAccumulationSteps": None, "gradientCheckpointing": None, "globalBatchSize": 32,
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A way to train the sample."""

    training: Object
    gpus: int = 1
    card: int = 0  # of those with one GPU
    stand_in: bool = False
    spec: Object = field(default_factory=dict)
    needs: str = ""


OFF, AUTO = {"acceleration": "Off"}, {"acceleration": "Auto", **SPLIT_BY_SWIFTOP}
HALF = {"perDeviceBatchSize": 8, "gradientAccumulationSteps": 2}  # on each of two GPUs
VARIANTS = {
    "off": Variant(OFF, stand_in=True),
    "auto": Variant(AUTO),
    "explicit": Variant({}, card=1),
    "approximate": Variant({**AUTO, "acceleration": "Approximate"}, card=1),
    "two-off": Variant({**OFF, **HALF}, gpus=2, stand_in=True),
    "two": Variant(AUTO, gpus=2),
    "zero2": Variant({**AUTO, "deepspeed": "zero2"}, gpus=2, needs="deepspeed"),
}


def pod(site: Site, name: str, variant: Variant, *, steps: int, card: int = 0, **checkpoint: int) -> Pod:
    """The sample's pod; each step is logged."""
    made = make_pod(
        site, name, model=LARGE, dataset=CHATS, flash_attn=variant.stand_in, resources={"gpus": variant.gpus},
        training={"maxSteps": steps, "loggingSteps": 1, **variant.training}, tracking={"swanlab": None},
        checkpoints={"saveSteps": 1000, **checkpoint}, **variant.spec,
    )  # fmt: skip
    if variant.gpus == 1:
        made.environ["CUDA_VISIBLE_DEVICES"] = str(card)
    return made


def figures(made: Pod, ended: Ended, *, gpus: int) -> Object:
    """What the run shows; tokens are those of full packs, for nothing is padded."""
    lines = [json.loads(line) for line in (made.output / "logging.jsonl").read_text().splitlines()]
    logged = [line for line in lines if "loss" in line]
    times = [float(line["train_speed(s/it)"]) * (number + 1) for number, line in enumerate(logged)]
    seconds = [later - earlier for earlier, later in itertools.pairwise(times)][WARM_UP - 1 :]
    packs = re.findall(r"Dataset Token Length: ([\d.]+)±.*size=(\d+)", ended.log)
    tokens = 32 * float(packs[-1][0])
    speed = tokens / statistics.mean(seconds)
    return {
        "as it should": ended.reason == causes.MAX_STEPS.reason,
        "seconds per step": round(statistics.mean(seconds), 2),
        "tokens per second": round(speed),
        "of the median step": round(tokens / statistics.median(seconds)),
        "MFU, %": round(400 * PARAMETERS * speed / PEAK / gpus, 1),
        "GPU memory reserved, GiB": ended.progress.get("memoryGiB"),
        "seconds to the first step": ended.first_step,
        "losses": [round(float(line["loss"]), 4) for line in logged],
        "acceleration": ended.message.get("progress", {}).get("acceleration"),
        "said": re.findall(r"(?m)^.*(?:fused|swiftop.acceleration).*$", ended.log)[:12],
    }


def train(site: Site, name: str) -> Object:
    """One variant to its last step."""
    variant = VARIANTS[name]
    card = variant.card % site.visible
    made = pod(site, name, variant, steps=site.steps, card=card)
    ended = follow(made.start(), seconds=site.left(120 + 15 * site.steps))
    try:
        return figures(made, ended, gpus=variant.gpus)
    except Exception:
        return {"error": traceback.format_exc(), "reason": ended.reason, "log": ended.log[-6000:]}


def resume(site: Site, first: str, second: str, card: int) -> Object:
    """Begin with one variant, stop it after its second step, go on with the other from its checkpoint."""
    name = f"{first}-then-{second}"
    begun = pod(site, name, VARIANTS[first], steps=6, card=card)
    stopped = follow(begun.start(), seconds=site.left(200), stop_at=2)
    kept = checkpoints.find(begun.output, world_size=1, resumable=True)
    other = pod(site, f"{name}-on", VARIANTS[second], steps=6, card=card)
    here, there = str(other.output), str(begun.output)
    plan = replace(
        other.plan, owner=begun.plan.owner, output_dir=there, attempt=2,
        command=tuple(word.replace(here, there) for word in other.plan.command),
    )  # fmt: skip
    ended = follow(replace(other, plan=plan).start(), seconds=site.left(200))
    lines = [json.loads(line) for line in (begun.output / "logging.jsonl").read_text().splitlines()]
    return {
        "stopped": stopped.reason, "kept": kept.step if kept else None, "ended": ended.reason,
        "resumed": re.findall(r"swiftop: resuming from .*", ended.log),
        "losses": [round(float(line["loss"]), 4) for line in lines if "loss" in line],
        "acceleration": ended.message.get("progress", {}).get("acceleration"),
        "log": "" if ended.reason == causes.MAX_STEPS.reason else ended.log[-3000:],
    }  # fmt: skip


def show(name: str, find: Callable[[], Object]) -> None:
    """Print what is found, whole, as soon as it is there."""
    try:
        found = find()
    except Exception:
        found = {"error": traceback.format_exc()}
    print(f"== {name}\n" + "\n".join(f"  {key}: {value}" for key, value in found.items()), flush=True)


def run(site: Site, names: Sequence[str]) -> None:
    """Single GPUs side by side, then those that take all."""
    single = [name for name in names if name in VARIANTS and VARIANTS[name].gpus == 1]

    def row(card: int) -> None:
        for name in single:
            if VARIANTS[name].card % site.visible == card:
                show(name, lambda name=name: train(site, name))  # type: ignore[misc]
        if "resume" in names and card == 0:
            show("resume: off, then auto", lambda: resume(site, "off", "auto", card))
        if "resume" in names and card == min(1, site.visible - 1):
            show("resume: auto, then off", lambda: resume(site, "auto", "off", card))

    with ThreadPoolExecutor(site.visible) as pool:
        list(pool.map(row, range(site.visible)))
    for name in names:
        several = name in VARIANTS and 1 < VARIANTS[name].gpus <= site.visible
        if several and (not VARIANTS[name].needs or installed(VARIANTS[name].needs)):
            show(name, lambda name=name: train(site, name))  # type: ignore[misc]


def main() -> None:
    """Make the model once and train it in all ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*VARIANTS, "resume"], default=[*VARIANTS, "resume"])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=math.inf, help="for everything")
    parser.add_argument("--directory", type=Path, help="a folder that stays; a model in it is used again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = (options.directory or Path(scratch)).resolve()
        if not (root / "assets").exists():
            command = [sys.executable, "-m", "tests.bench.gpu_assets", "--out", str(root / "assets")]
            subprocess.run(command, check=True)
        stand_in = None if installed("flash-attn") else root / "assets" / "site"
        work = Path(tempfile.mkdtemp(dir=root))
        (work / "assets").symlink_to(root / "assets")
        machine()
        until = time.monotonic() + options.seconds
        run(Site(work, "", stand_in, visible=len(cards()), steps=options.steps, until=until), options.only)


if __name__ == "__main__":
    main()
