"""What the runner costs a training: ``python -m tests.bench.runner_cost [--pairs N] [--steps N]``.

Each pair is the same CPU training of the tiny model by real ms-swift in the trainer image, once bare and once under the
runner, in turns that alternate, so that what else the machine does falls on both. The figure is the ratio of the steps'
time (``train_runtime`` of logging.jsonl), beside the runner's own peak memory and processor time.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
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


def under_runner(directory: Path, assets: Path, command: list[str]) -> tuple[float, float, float]:
    """The training under the runner: seconds of its loop, the runner's peak MiB, the runner's CPU seconds."""
    bench = trainer(directory, assets)
    execution = bench.start(command)
    try:
        runner = wait_until(lambda: _runner_below(execution.process.pid), what="the runner")
        memory = processor = 0.0
        while execution.process.poll() is None:
            try:
                times = runner.cpu_times()
                memory = max(memory, runner.memory_info().rss / 2**20)
                processor = times.user + times.system
                execution.process.wait(timeout=0.5)
            except (psutil.NoSuchProcess, subprocess.TimeoutExpired):
                continue
        if execution.process.returncode:
            raise RuntimeError(execution.log[-2000:])
        return steps_seconds(lines(bench)), memory, processor
    finally:
        bench.close()


def _runner_below(pid: int) -> psutil.Process | None:
    below = psutil.Process(pid).children(recursive=True)
    return next((process for process in below if any(word.endswith("runner.pyz") for word in process.cmdline())), None)


def main() -> None:
    """Run the pairs and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args()
    command = sft(max_steps=options.steps, save_steps=options.steps)
    ratios, peaks, shares = [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        root.chmod(0o755)
        assets = root / "assets"
        assets.mkdir()
        make_assets(assets)
        for pair in range(options.pairs):
            first = bare(root / f"bare-{pair}", assets, command) if pair % 2 else None
            seconds, peak, processor = under_runner(root / f"runner-{pair}", assets, command)
            alone = first if first is not None else bare(root / f"bare-{pair}", assets, command)
            ratios.append(seconds / alone)
            peaks.append(peak)
            shares.append(100 * processor / seconds)
            print(f"pair {pair + 1}: bare {alone:.2f} s, under the runner {seconds:.2f} s", file=sys.stderr)
    print(
        f"step time, runner / bare: median {statistics.median(ratios):.4f}, all {sorted(round(r, 4) for r in ratios)}"
    )
    print(f"runner: peak {max(peaks):.1f} MiB, {statistics.median(shares):.2f} % of one core")


if __name__ == "__main__":
    main()
