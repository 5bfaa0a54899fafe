"""The 7B sample on a real GPU: ``python -m tests.bench.gpu_run [--only NAME …] [--directory DIR]``.

Needs one NVIDIA GPU of 80 GB, 40 GB of disk, and in this Python ms-swift 4.6 with its torch, and swanlab; no cluster
and no network. ``manifests/samples/sftrun-7b.yaml`` is rendered as the operator renders it and run by the runner's zip
file on a random model of the same shape, with generated chats and a SwanLab server on this machine. Of the sample only
these change: where model, data and output lie, SwanLab's address, and the number of steps.

- ``sample``: seconds per step, memory, and whether checkpoints and metrics arrive;
- ``stop``: SIGTERM in the middle, and the second execution that goes on from the checkpoint;
- ``memory``: more than the GPU holds;
- ``variants``: precisions, tuners and missing packages on a tiny model, several at a time.

Exits 1 when one of them does not end as it should.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftop.runner import causes, checkpoints
from swiftop.runner.causes import Cause
from swiftop.runner.classify import last_lines
from tests.bench.gpu_assets import CHATS, LARGE, TINY_BF16, TINY_CHATS, TINY_FLOAT32
from tests.bench.gpu_pods import KEY, Ended, Pod, Site, follow, installed, make_pod
from tests.runner.harness import free_port, wait_until

FAKES = Path(__file__).parents[1] / "fakes"
WARM_UP = 2  # steps that the mean leaves out
AT_A_TIME = 6  # tiny trainings; most of each is importing
Figures = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """A training of the tiny model, and how it has to end."""

    name: str
    training: dict[str, Any]
    model: str = TINY_BF16
    spec: dict[str, Any] = field(default_factory=dict)
    ends: Cause = causes.MAX_STEPS
    flash_attn: bool = True
    lacks: str = ""  # makes sense only where this package is not installed


PLAIN = {"packing": False, "attention": "sdpa"}
PACKED = {"packing": True, "attention": "flash_attn"}
FULL = {"tuner": {"type": "full"}}
# The device is there and CUDA does not work, as with a driver that is too old: ms-swift would train on the CPU.
NO_CUDA = {"runtime": {"env": [{"name": "CUDA_VISIBLE_DEVICES", "value": "-1"}]}}
NO_FLASH, NO_GPU = causes.FLASH_ATTENTION_MISSING, causes.GPU_MISSING
VARIANTS = (
    Variant("fp16", {**PLAIN, "precision": "fp16"}),
    Variant("fp32", {**PLAIN, "precision": "fp32"}),
    Variant("float32-as-bf16", {**PLAIN, "precision": "bf16"}, TINY_FLOAT32),
    Variant("float32-as-fp16", {**PLAIN, "precision": "fp16"}, TINY_FLOAT32),
    Variant("float32-as-it-is", {**PLAIN, "precision": None}, TINY_FLOAT32),
    Variant("full-bf16", {**PLAIN, "precision": "bf16"}, spec=FULL),
    Variant("full-fp16", {**PLAIN, "precision": "fp16"}, spec=FULL),
    Variant("full-fp32", {**PLAIN, "precision": "fp32"}, spec=FULL),
    Variant("packed-fp16", {**PACKED, "precision": "fp16"}),
    Variant("packed-float32-as-it-is", {**PACKED, "precision": None}, TINY_FLOAT32),
    Variant("padding-free", {**PACKED, "packing": False, "paddingFree": True}),
    Variant("no-flash-attn", PACKED, ends=NO_FLASH, flash_attn=False, lacks="flash-attn"),
    Variant("no-flash-attn-3", {**PACKED, "attention": "flash_attention_3"}, ends=NO_FLASH, lacks="flash-attn-3"),
    Variant("no-deepspeed", {**PLAIN, "deepspeed": "zero2"}, ends=causes.DEEPSPEED_MISSING, lacks="deepspeed"),
    Variant("too-few-gpus", PLAIN, spec={"resources": {"gpus": 16}}, ends=NO_GPU),
    Variant("no-cuda", PLAIN, spec=NO_CUDA, ends=NO_GPU),
    Variant("no-cuda-fp16", {**PLAIN, "precision": "fp16"}, spec=NO_CUDA, ends=NO_GPU),
)


def sample(site: Site, steps: int) -> Figures:
    """The sample to its last step."""
    pod = _large(site, "sample", steps)
    ended = follow(pod.start(), seconds=420)
    speed = seconds_per_step(pod.steps())
    sizes = re.findall(r"Dataset Token Length: ([\d.]+)±.*size=(\d+)", ended.log)
    packed = 8 * 4 * site.gpus * float(sizes[-1][0]) if sizes else 0  # the sample's batch in tokens, nothing padded
    metrics = _metrics(site, pod)
    saved = [found.name for found in checkpoints.candidates(pod.output)]
    return {
        **_outcome(ended, causes.MAX_STEPS),
        "seconds to the first step": ended.first_step,
        "seconds per step": speed,
        "tokens per second": packed / speed,
        "packs": [f"{size} of {mean} tokens" for mean, size in sizes],
        "GPU memory reserved, GiB": ended.progress.get("memoryGiB"),
        "runner, MiB": ended.runner_mib,
        "checkpoints": saved,
        "metrics at SwanLab": metrics,
        "as it should": ended.reason == causes.MAX_STEPS.reason and bool(saved) and "train/loss" in metrics,
    }


def stop(site: Site, _: int) -> Figures:
    """SIGTERM after the second step, then the same pod again."""
    pod = _large(site, "stop", 4)
    first = follow(pod.start(), seconds=180, stop_at=2)
    kept = checkpoints.find(pod.output, world_size=site.gpus, resumable=True)
    second = follow(pod.start(), seconds=180)
    resumed = re.findall(r"swiftop: resuming from .*", second.log)
    good = (first.code, second.reason) == (causes.EXIT_INTERRUPTED, causes.MAX_STEPS.reason)
    return {
        "first": _outcome(first, causes.INTERRUPTED),
        "seconds from SIGTERM to the end": first.stopping,
        "checkpoint": kept.step if kept else None,
        "second": _outcome(second, causes.MAX_STEPS),
        "resumed": resumed,
        "seconds to its first step": second.first_step,
        "steps logged": pod.steps(),
        "as it should": good and kept is not None and bool(resumed),
    }


def memory(site: Site, _: int) -> Figures:
    """A batch that no GPU holds: long samples, all activations kept, logits of the whole vocabulary."""
    greedy = {**PLAIN, "gradientCheckpointing": False, "perDeviceBatchSize": 64}
    pod = _large(site, "memory", 2, **greedy)
    ended = follow(pod.start(), seconds=150)
    return _outcome(ended, causes.CUDA_OUT_OF_MEMORY)


def variants(site: Site, _: int) -> Figures:
    """All variants, some at a time."""
    chosen = [variant for variant in VARIANTS if not (variant.lacks and installed(variant.lacks))]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        results = dict(zip((v.name for v in chosen), pool.map(lambda v: _variant(site, v), chosen), strict=True))
    return {**results, "as it should": all(result["as it should"] for result in results.values())}


def _variant(site: Site, variant: Variant) -> Figures:
    return _outcome(follow(tiny_pod(site, variant).start(), seconds=150), variant.ends)


def tiny_pod(site: Site, variant: Variant) -> Pod:
    """Three steps of the tiny model."""
    training = {
        "maxLength": 512, "perDeviceBatchSize": 4, "gradientAccumulationSteps": 1, "maxSteps": 3, "loggingSteps": 1,
        **variant.training,
    }  # fmt: skip
    return make_pod(
        site, variant.name, model=variant.model, dataset=TINY_CHATS, flash_attn=variant.flash_attn,
        training=training, tracking={"swanlab": None}, **variant.spec,
    )  # fmt: skip


def _large(site: Site, name: str, steps: int, **training: Any) -> Pod:
    """The sample with so few steps that each is logged and some are saved."""
    return make_pod(
        site, name, model=LARGE, dataset=CHATS, resources={"gpus": site.gpus}, checkpoints={"saveSteps": 5},
        training={"maxSteps": steps, "loggingSteps": 1, **training},
    )  # fmt: skip


def _outcome(ended: Ended, cause: Cause) -> Figures:
    good = (ended.code, ended.reason) == (cause.exit_code, cause.reason)
    return {
        "reason": ended.reason,
        "exit code": ended.code,
        "message": ended.message.get("message"),
        "suggestion": ended.message.get("suggestion"),
        "seconds": ended.seconds,
        "log": None if good else last_lines(ended.log),
        "as it should": good,
    }


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


SCENARIOS: dict[str, Callable[[Site, int], Figures]] = {
    "variants": variants, "sample": sample, "stop": stop, "memory": memory,
}  # fmt: skip


def run(root: Path, chosen: list[str], *, steps: int, gpus: int) -> Figures:
    """Make what is needed, then one scenario after another; figures are on disk as soon as they are there."""
    tiny = ["--tiny"] if chosen == ["variants"] else []
    command = [sys.executable, "-m", "tests.bench.gpu_assets", "--out", str(root / "assets"), *tiny]
    subprocess.run(command, check=True)
    figures: Figures = {"machine": machine()}
    flash_attn = None if installed("flash-attn") else root / "assets" / "site"
    with fake_swanlab() as url:
        for name in chosen:
            try:
                figures[name] = SCENARIOS[name](Site(root, url, flash_attn, gpus), steps)
            except Exception:  # the others may still tell something
                figures[name] = {"as it should": False, "error": traceback.format_exc()}
            print("\n".join([f"== {name}", *_lines(figures[name])]), flush=True)
            (root / "figures.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False))
    return figures


def _lines(figures: Figures, indent: str = "  ") -> Iterator[str]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from (f"{indent}{name}", *_lines(value, f"{indent}  "))
        elif value not in (None, "", []):
            text = f"{value:.1f}" if isinstance(value, float) else str(value)
            yield f"{indent}{name}: " + text.replace("\n", f"\n{indent}  ")


def machine() -> Figures:
    """The card and what runs on it."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    found = {"GPU": subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()}
    found |= {name: installed(name) for name in ("ms-swift", "torch", "transformers", "peft", "swanlab")}
    found["flash-attn"] = installed("flash-attn") or "none: its stand-in on torch's own kernels"
    print(json.dumps(found), flush=True)
    return found


def main() -> None:
    """Run the scenarios and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--steps", type=int, default=12, help="of the sample")
    parser.add_argument("--gpus", type=int, default=1, help="of the large model's runs, one process each")
    parser.add_argument("--directory", type=Path, help="an empty folder to work in, which stays")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = (options.directory or Path(scratch)).resolve()
        figures = run(root, options.only, steps=options.steps, gpus=options.gpus)
    sys.exit(not all(figures[name]["as it should"] for name in options.only))


if __name__ == "__main__":
    main()
