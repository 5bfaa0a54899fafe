"""The plan is read once, strictly where it matters."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swiftop.runner.plan import BadPlan, fill, parse

MINIMAL: dict[str, Any] = {
    "version": 1,
    "run": {"namespace": "ns", "name": "demo", "uid": "u-1", "attempt": 2},
    "command": ["python", "-m", "swift.cli.sft"],
    "outputDir": "/swiftop/output/demo-u",
}


def test_a_minimal_plan_has_defaults() -> None:
    plan = parse(json.dumps(MINIMAL))
    assert (plan.name, plan.attempt, plan.world_size, plan.elastic, plan.resume) == ("demo", 2, 1, False, True)
    assert (plan.port, plan.progress_interval, plan.finish_timeout, plan.logging_steps) == (8080, 15, 300, 1)


def test_a_full_plan() -> None:
    more = {
        "swiftVersion": "4.6", "resume": "Never", "requiredEnv": ["A"], "secretEnv": ["B"], "swanlab": {"host": "http://s"},
        "gpus": 8, "nodes": 2, "masterAddr": "m", "cacheDir": "/c", "stallSeconds": 60, "loggingSteps": 5, "unknown": 1,
        "maxSteps": 9, "minFreeBytes": 1, "port": 1, "progressIntervalSeconds": 2, "finishTimeoutSeconds": 3,
    }  # fmt: skip
    command = ["python", "-m", "torch.distributed.run", "--nproc_per_node=8", "--nnodes", "2", "-m", "swift.cli.sft"]
    plan = parse(json.dumps({**MINIMAL, **more, "command": command}))
    assert (plan.world_size, plan.elastic, plan.resume, plan.swanlab_host) == (16, True, False, "http://s")
    assert (plan.required_env, plan.secret_env, plan.stall_seconds, plan.max_steps) == (("A",), ("B",), 60, 9)


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "{}", json.dumps({**MINIMAL, "version": 2}), json.dumps({**MINIMAL, "run": {}})]
)
def test_a_bad_plan_is_refused(text: str | None) -> None:
    with pytest.raises(BadPlan):
        parse(text)


def test_placeholders_are_filled() -> None:
    command = ("--node_rank", "$(NODE_RANK)", "--master_addr", "$(MASTER_ADDR)", "x$(NODE_RANK)")
    assert fill(command, rank=3, master_addr="a.b") == ("--node_rank", "3", "--master_addr", "a.b", "x$(NODE_RANK)")
