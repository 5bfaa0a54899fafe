"""``make bench``: every benchmark, one after another. The demo comes last, since it leaves its cluster running."""

from __future__ import annotations

import subprocess
import sys

# What the demo measures: the time from apply to the first training step, split by phase.
BENCHES = (
    "tests.bench.runner_cost",
    "tests.bench.export_cost",
    "tests.bench.push_cost",
    "tests.bench.dataset_check",
    "tests.bench.ends_of_runs",
    "tests.bench.serve_cost",
    "tests.bench.rolling_update",
    "tests.bench.operator_burst",
    "tests.bench.operator_memory",
    "tests.bench.fairness",
    "tests.bench.operator_under_attack",
    "demo",
)

for bench in BENCHES:
    print(f"== {bench}", flush=True)
    subprocess.run([sys.executable, "-m", bench], check=True)
