"""What the runner costs a training: ``python -m tests.bench.runner_cost [--pairs N] [--steps N]``.

Each pair is the same CPU training of the tiny model by real ms-swift in the trainer image, once bare and once under the
runner, in turns that alternate, so that what else the machine does falls on both. Printed are the ratio of the steps'
time (``train_runtime`` of logging.jsonl) with its spread, and, because half a percent is less than that spread, the
processor time of the runner while the steps ran: a training that leaves no core idle loses at most that. Steps of some
milliseconds that are each logged are the worst case.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.runner.harness import wait_until
from tests.runner.trainer import ENVIRON, enter, lines, make_assets, sft, trainer


def steps_seconds(log: list[dict[str, object]]) -> float:
    """Seconds that the training loop took."""
    return next(float(str(line["train_runtime"])) for line in log if "train_runtime" in line)


def bare(directory: Path, assets: Path, command: list[str]) -> float:
    """The training by itself."""
    bench = trainer(directory, assets)
    subprocess.run([*enter(directory, assets), *command], env=ENVIRON, check=True, capture_output=True)
    return steps_seconds(lines(bench))


@dataclass
class Cost:
    """The training under the runner: seconds of its loop, the runner's CPU seconds in that time, its peak MiB."""

    seconds: float = 0.0
    processor: float = 0.0
    peak: float = 0.0


def under_runner(directory: Path, assets: Path, command: list[str]) -> Cost:
    """Run it and look at the runner until both end."""
    bench = trainer(directory, assets)
    execution = bench.start(command)
    try:
        runner = wait_until(lambda: _runner_below(execution.process.pid), what="the runner")
        cost, before = Cost(), None
        while execution.process.poll() is None:
            try:
                times = runner.cpu_times()
                cost.peak = peak_mib(runner.pid)
                if before is None and (bench.output / "logging.jsonl").exists():
                    before = times.user + times.system
                cost.processor = times.user + times.system - (before or 0.0)
                execution.process.wait(timeout=0.2)
            except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError, subprocess.TimeoutExpired):
                continue
        if execution.process.returncode or before is None:
            raise RuntimeError(execution.log[-2000:])
        cost.seconds = steps_seconds(lines(bench))
        return cost
    finally:
        bench.close()


def peak_mib(pid: int) -> float:
    """The kernel's own high-water mark."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    if found is None:  # a process that has ended has no memory
        raise ProcessLookupError(pid)
    return int(found.group(1)) / 1024


def _runner_below(pid: int) -> psutil.Process | None:
    below = psutil.Process(pid).children(recursive=True)
    return next((process for process in below if any(word.endswith("runner.pyz") for word in process.cmdline())), None)


def main() -> None:
    """Run the pairs and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=1500)
    options = parser.parse_args()
    command = sft(max_steps=options.steps, save_steps=options.steps)
    ratios, costs = [], []
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        root.chmod(0o755)
        assets = root / "assets"
        assets.mkdir()
        make_assets(assets)
        for pair in range(options.pairs):
            first = bare(root / f"bare-{pair}", assets, command) if pair % 2 else None
            cost = under_runner(root / f"runner-{pair}", assets, command)
            alone = first if first is not None else bare(root / f"bare-{pair}", assets, command)
            ratios.append(cost.seconds / alone)
            costs.append(cost)
            print(f"pair {pair + 1}: bare {alone:.2f} s, under the runner {cost.seconds:.2f} s", file=sys.stderr)
    report(ratios, costs, options.steps)


def report(ratios: list[float], costs: list[Cost], steps: int) -> None:
    """Print the figures."""
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(f"step time, runner / bare: median {statistics.median(ratios):.3f}, {spread} in {len(ratios)} pairs")
    step = 1000 * statistics.median(cost.seconds for cost in costs) / steps
    own = 1000 * statistics.median(cost.processor for cost in costs) / steps
    print(f"the runner's processor time: {own:.3f} ms of one core in a step of {step:.1f} ms, {100 * own / step:.2f} %")
    print(f"the runner's peak memory (VmHWM): {max(cost.peak for cost in costs):.1f} MiB")


if __name__ == "__main__":
    main()
