"""A plan that no process can be given is refused before anything is made."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import pytest

from swiftop.errors import Invalid
from swiftop.runner.protocol import PLAN_VARIABLE, Owner, Plan
from swiftop.workload.pods import fitting

PLAN = Plan(
    program="train", owner=Owner("SFTRun", "team", "run", "uid"), attempt=1, command=("",), output_dir="/swiftop/output"
)


def starts(plan: Plan) -> bool:
    """Whether Linux takes it."""
    try:
        subprocess.run(["true"], env={PLAN_VARIABLE: plan.to_json(), "PATH": os.environ["PATH"]}, check=True)
    except OSError:
        return False
    return True


def test_the_largest_plan_starts_and_a_larger_one_is_refused() -> None:
    room = 128 * 1024 - len(f"{PLAN_VARIABLE}={PLAN.to_json()}") - 1
    text = "ü" * (room // 2) + "x" * (room % 2)
    largest, larger = replace(PLAN, command=(text,)), replace(PLAN, command=(text + "x",))
    assert (starts(largest), starts(larger)) == (True, False)
    assert fitting(largest) is largest
    with pytest.raises(Invalid) as caught:
        fitting(larger)
    (problem,) = caught.value.problems
    assert problem.path == "spec"
    assert "take 129 KiB, and a process is given 128 KiB at most" in problem.message
