"""``make bench``: every benchmark, one after another."""

from __future__ import annotations

import subprocess
import sys

BENCHES = ("runner_cost", "operator_burst")

for bench in BENCHES:
    print(f"== {bench}", flush=True)
    subprocess.run([sys.executable, "-m", f"tests.bench.{bench}"], check=True)
