"""The demo as a newcomer sees it: a real model learns a fact that stands in the training file alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from demo.__main__ import BASE, COLUMNS, FACT, NAMESPACE, QUESTION, RUN, TUNED
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


@pytest.mark.cluster
def test_the_tuned_model_knows_the_fact_and_the_base_model_does_not(cluster: Any, operator: Any) -> None:
    """``python -m demo`` on the tests' cluster: its exit code is the comparison of both answers."""
    code, out, err = run_demo(cluster.name)
    operator.within(NAMESPACE).delete("modeldeployment", BASE)  # its pod would keep a core from the other tests
    assert code == 0, out + err
    base, tuned = out.partition(QUESTION)[2].partition(f"{BASE}:")[2].split(f"{TUNED}:")
    assert FACT in tuned
    assert FACT not in base
    header, row = (line.split() for line in out.rstrip().splitlines()[-2:])  # the run is the last thing that it shows
    assert header == list(COLUMNS)
    name, state, step, percent, loss, checkpoint = row
    assert (name, state, step, percent) == (RUN, "Succeeded", "14/14", "(100%)")
    assert 0 < float(loss) < 1
    assert checkpoint.endswith("/checkpoint-14")
