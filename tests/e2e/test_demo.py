"""The demo as a newcomer sees it: a real model learns a fact that stands in the training file alone."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from demo.__main__ import FACT, QUESTION
from tests.e2e.site import ROOT


@pytest.mark.cluster
def test_the_tuned_model_knows_the_fact_and_the_base_model_does_not(cluster: Any, operator: Any) -> None:
    """``python -m demo`` on the tests' cluster: its exit code is the comparison of both answers."""
    env = {**os.environ, "SWIFTOP_DEMO_CLUSTER": cluster.name, "COLUMNS": "300"}
    done = subprocess.run(
        [sys.executable, "-m", "demo"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answers = done.stdout.partition(QUESTION)[2]
    base, tuned = answers.partition("base:")[2].split("tuned:")
    assert FACT in tuned
    assert FACT not in base
