"""Runs inside an environment with torch, peft and Triton, whose interpreter runs the kernels on the CPU.

Output, after a line ``RESULTS``: a JSON object with what each case gave, by name.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

assert "triton" not in sys.modules
os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "operator"), str(ROOT)]

import json  # noqa: E402
import logging  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import torch  # noqa: E402

from swiftop.acceleration import hardware  # noqa: E402
from tests.acceleration import distributed, kernel_cases, model_cases  # noqa: E402


def main() -> None:
    """All cases. First the one that forks, which no process can that has been through a backward pass."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    torch.set_num_threads(1)
    hardware.on_gpu = lambda tensor: tensor is not None
    hardware.why_no_kernels = lambda: None
    cases: dict[str, Callable[[], Any]] = {**distributed.CASES, **kernel_cases.CASES, **model_cases.CASES}
    results = {}
    for name, case in cases.items():
        began = time.process_time()
        results[name] = case()
        print(f"{name}: {time.process_time() - began:.1f} s", file=sys.stderr)
    print("RESULTS")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
