"""The 7B sample on a real GPU: ``python -m tests.bench.gpu_run [--only NAME …] [--gpus N] [--directory DIR]``.

Needs NVIDIA GPUs of 80 GB, one or more, 40 GB of disk, and in this Python ms-swift 4.6 with its torch, and swanlab; no
cluster and no network. ``manifests/samples/sftrun-7b.yaml`` is rendered as the operator renders it and run by the
runner's zip file on a random model of the same shape, with generated chats and a SwanLab server on this machine. Of the
sample only these change: where model, data and output lie, SwanLab's address, the number of steps, and with ``--gpus``
that of GPUs.

- ``sample``: seconds per step, memory, and whether checkpoints and metrics arrive;
- ``stop``: SIGTERM in the middle, and the second execution that goes on from the checkpoint;
- ``memory``: more than the GPU holds;
- ``variants``: precisions, tuners, DeepSpeed and missing packages on a tiny model, several at a time.

Each has its time, so that one that hangs leaves some for the others; what is found is printed and written into
``figures.json`` at once. Exits 1 when one of them does not end as it should.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swiftop.runner import causes
from swiftop.runner.train import checkpoints
from tests.bench.gpu_assets import CHATS, LARGE
from tests.bench.gpu_pods import KEY, Figures, Object, Pod, Site, follow, installed, make_pod, outcome, stop_and_resume
from tests.bench.gpu_variants import NAMES, PLAIN, variants
from tests.runner.harness import free_port, wait_until

FAKES = Path(__file__).parents[1] / "fakes"
WARM_UP = 2  # steps that the mean leaves out
PACKAGES = ("ms-swift", "torch", "transformers", "peft", "deepspeed", "swanlab")


def sample(site: Site) -> Figures:
    """The sample to its last step."""
    pod = _large(site, "sample", site.steps)
    ended = follow(pod.start(), seconds=site.left(120 + 20 * site.steps))
    sizes = re.findall(r"Dataset Token Length: ([\d.]+)±.*size=(\d+)", ended.log)
    packed = 8 * 4 * site.gpus * float(sizes[-1][0]) if sizes else 0  # the sample's batch in tokens, nothing padded
    saved = [found.name for found in checkpoints.candidates(pod.output)]
    metrics = _metrics(site, pod)
    yield from outcome(ended, causes.MAX_STEPS).items()
    yield "seconds to the first step", ended.first_step
    yield "GPU memory reserved, GiB", ended.progress.get("memoryGiB")
    yield "runner, MiB", ended.runner_mib
    yield "packs", [f"{size} of {mean} tokens" for mean, size in sizes]
    yield "checkpoints", saved
    yield "metrics at SwanLab", metrics
    yield "as it should", ended.reason == causes.MAX_STEPS.reason and bool(saved) and "train/loss" in metrics
    speed = seconds_per_step(pod.steps())
    yield "seconds per step", speed
    yield "tokens per second", packed / speed


def stop(site: Site) -> Figures:
    """SIGTERM in the middle, and the sample again."""
    pod = _large(site, "stop", 4)
    yield from stop_and_resume(site, pod, processes=site.gpus, seconds=150)
    yield "steps logged", pod.steps()


def memory(site: Site) -> Figures:
    """A batch that no GPU holds: long samples, all activations kept, logits of the whole vocabulary."""
    greedy = {**PLAIN, "gradientCheckpointing": False, "perDeviceBatchSize": 64}
    pod = _large(site, "memory", 2, **greedy)
    yield from outcome(follow(pod.start(), seconds=site.left(150)), causes.CUDA_OUT_OF_MEMORY).items()


def _large(site: Site, name: str, steps: int, **training: Any) -> Pod:
    """The sample with so few steps that each is logged and some are saved."""
    return make_pod(
        site, name, model=LARGE, dataset=CHATS, resources={"gpus": site.gpus}, checkpoints={"saveSteps": 5},
        training={"maxSteps": steps, "loggingSteps": 1, **training},
    )  # fmt: skip


def seconds_per_step(steps: list[tuple[int, float]]) -> float:
    """Mean without the first steps, which wait for kernels to be chosen and memory to be taken."""
    (first, begun), (last, ended) = steps[WARM_UP - 1], steps[-1]
    return (ended - begun) / (last - first)


def _metrics(site: Site, pod: Pod) -> list[str]:
    """Names of the metrics that SwanLab has of this run, and the state that it was left in."""
    with urllib.request.urlopen(f"{site.swanlab}/_recorded", timeout=10) as response:
        record = [entry for entry in json.load(response) if entry.get("run") == pod.environ["SWANLAB_RUN_ID"]]
    text = json.dumps([entry.get("values", []) for entry in record])
    states = [f"state {entry['state']}" for entry in record if "state" in entry]
    return [*sorted(set(re.findall(r'"(train/[^"]+)"', text))), *states]


@contextmanager
def fake_swanlab() -> Iterator[str]:
    """The tests' SwanLab server, on this machine."""
    port, digest = free_port(), hashlib.sha256(KEY.encode()).hexdigest()
    command = [sys.executable, str(FAKES / "swanlab_server.py"), "--port", str(port), "--key-sha256", digest]
    with subprocess.Popen(command) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda: _answers(f"{url}/_recorded"), what="the SwanLab server")
            yield url
        finally:
            server.kill()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@dataclass(frozen=True)
class Scenario:
    """What is looked at, and the longest that it may take."""

    find: Callable[[Site], Figures]
    seconds: float


SCENARIOS = {
    "variants": Scenario(variants, 180),
    "sample": Scenario(sample, 420),
    "stop": Scenario(stop, 300),
    "memory": Scenario(memory, 150),
}


def run(site: Site, chosen: list[str]) -> Object:
    """One scenario after another; figures are on disk as soon as they are there."""
    figures: Object = {"machine": machine()}
    for name in chosen:
        print(f"== {name}", flush=True)
        figures[name] = {}
        for key, value in _found(site, SCENARIOS[name]):
            figures[name][key] = value
            for line in _lines({key: value}):
                print(line, flush=True)
            (site.root / "figures.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False))
    return figures


def _found(site: Site, scenario: Scenario) -> Figures:
    try:
        yield from scenario.find(replace(site, until=time.monotonic() + site.left(scenario.seconds)))
    except Exception:  # the others may still tell something
        yield "error", traceback.format_exc()
        yield "as it should", False


def _lines(figures: Object, indent: str = "  ") -> Iterator[str]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from (f"{indent}{name}", *_lines(value, f"{indent}  "))
        elif value not in (None, "", []):
            text = f"{value:.1f}" if isinstance(value, float) else str(value)
            yield f"{indent}{name}: " + text.replace("\n", f"\n{indent}  ")


def cards() -> list[str]:
    """The GPUs of this machine."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip().splitlines()


def machine() -> Object:
    """The cards and what runs on them."""
    found = {"GPUs": cards(), **{name: installed(name) for name in PACKAGES}}
    found["flash-attn"] = installed("flash-attn") or "none: its stand-in on torch's own kernels"
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    """Run the scenarios and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--variants", nargs="+", choices=NAMES, default=(), metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--steps", type=int, default=12, help="of the sample")
    parser.add_argument("--gpus", type=int, default=1, help="of the large model's runs, one process each")
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="for everything; the last ones get what is left"
    )
    parser.add_argument("--directory", type=Path, help="an empty folder to work in, which stays")
    options = parser.parse_args()
    until = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as scratch, fake_swanlab() as url:
        root = (options.directory or Path(scratch)).resolve()
        tiny = ["--tiny"] if options.only == ["variants"] else []
        command = [sys.executable, "-m", "tests.bench.gpu_assets", "--out", str(root / "assets"), *tiny]
        subprocess.run(command, check=True)
        site = Site(
            root, url, None if installed("flash-attn") else root / "assets" / "site", visible=len(cards()),
            gpus=options.gpus, steps=options.steps, variants=tuple(options.variants), until=until,
        )  # fmt: skip
        figures = run(site, options.only)
    sys.exit(not all(figures[name]["as it should"] for name in options.only))


if __name__ == "__main__":
    main()
