"""The demo as a newcomer sees it: a real model learns a fact that stands in the training file alone."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from typing import Any

import pytest

from demo.__main__ import BASE, COLUMNS, FACT, NAMESPACE, NEXT_QUESTION, QUESTION, RUN, TUNED
from tests.e2e.site import ROOT

LIMIT = 1500  # seconds; below the suite's own limit, which would leave the demo's processes behind


def run_demo(cluster: str) -> tuple[int, str, str]:
    """Exit code and output of ``python -m demo``; one that hangs ends with all that it started."""
    env = {**os.environ, "SWIFTOP_DEMO_CLUSTER": cluster, "COLUMNS": "300"}
    with subprocess.Popen(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            pytest.fail(f"the demo did not end within {LIMIT} s\n{out}{err}")
    return process.returncode, out, err


def answers(printed: str) -> list[str]:
    """Of base model and adapter."""
    return printed.partition(f"{BASE}:")[2].split(f"{TUNED}:")


def asked_again(told: str, cluster: str) -> list[str]:
    """What the command that the demo tells prints, with the same question."""
    variable, *command, question = shlex.split(told)
    assert (variable, question) == (f"SWIFTOP_DEMO_CLUSTER={cluster}", NEXT_QUESTION)
    done = subprocess.run(
        ["env", variable, *command, QUESTION], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=300
    )
    return answers(done.stdout)


@pytest.mark.cluster
def test_the_tuned_model_knows_the_fact_and_the_base_model_does_not(cluster: Any, operator: Any) -> None:
    """``python -m demo`` on the tests' cluster: its exit code is the comparison of both answers."""
    code, out, err = run_demo(cluster.name)
    try:
        assert code == 0, out + err
        *_, header, row, _empty, _still, ask, _look, _down = out.rstrip().splitlines()
        base, tuned = asked_again(ask.removeprefix("  ask again"), cluster.name)
    finally:
        operator.within(NAMESPACE).delete("modeldeployment", BASE)  # its pod would keep a core from the other tests
    assert FACT in tuned
    assert FACT not in base
    assert header.split() == list(COLUMNS)
    name, state, step, percent, loss, checkpoint = row.split()
    assert (name, state, step, percent) == (RUN, "Succeeded", "14/14", "(100%)")
    assert 0 < float(loss) < 1
    assert checkpoint.endswith("/checkpoint-14")
