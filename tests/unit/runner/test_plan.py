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
    assert (plan.port, plan.progress_interval, plan.finish_timeout, plan.logging_steps) == (8080, 15, 300, 5)
    assert (plan.gpu_resource, plan.silent_evaluation) == ("nvidia.com/gpu", False)


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


@pytest.mark.parametrize(
    ("words", "asked", "expected"),
    [
        ("", None, 5),  # the default of ms-swift 3.7, 3.12 and 4.6
        ("", 2, 2),
        ("--logging_steps 20", None, 20),
        ("--logging_strategy epoch", 2, None),
        ("--logging_strategy steps --logging_steps 3", None, 3),
    ],
)
def test_how_often_ms_swift_logs(words: str, asked: int | None, expected: int | None) -> None:
    plan = parse(json.dumps({**MINIMAL, "command": words.split(), "loggingSteps": asked}))
    assert plan.logging_steps == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--streaming true", False),
        ("--val_dataset a", False),
        ("--streaming true --val_dataset a", True),
        ("--disable_tqdm true --split_dataset_ratio 0.05", True),
        ("--disable_tqdm true --split_dataset_ratio 0.0", False),
        ("--disable_tqdm true --split_dataset_ratio=0.5", True),
        ("--disable_tqdm false --val_dataset a", False),
        ("--eval_use_evalscope true", True),
    ],
)
def test_evaluations_without_a_bar(words: str, expected: bool) -> None:
    assert parse(json.dumps({**MINIMAL, "command": words.split()})).silent_evaluation is expected


def test_placeholders_are_filled() -> None:
    command = ("--node_rank", "$(NODE_RANK)", "--master_addr", "$(MASTER_ADDR)", "x$(NODE_RANK)")
    assert fill(command, rank=3, master_addr="a.b") == ("--node_rank", "3", "--master_addr", "a.b", "x$(NODE_RANK)")
