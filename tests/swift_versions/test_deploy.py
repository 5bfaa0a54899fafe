"""Every command that a deployment renders is accepted by the real ms-swift's parser, and means what the spec says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swiftop.api.validate import problems
from swiftop.kinds.modeldeployment.command import PROGRAM
from swiftop.kinds.modeldeployment.kind import KIND
from swiftop.swift.releases import table
from tests.swift_versions.test_acceptance import ENVIRONMENTS, ready
from tests.unit.kinds.modeldeployment.deployments import deployment_of, world
from tests.unit.kinds.modeldeployment.test_command_of_seeds import SEEDS

TINY = {"persistentVolumeClaim": {"claimName": "models", "path": "Qwen2.5-0.5B-Instruct"}}
ADAPTERS = [{"name": "a", "persistentVolumeClaim": {"claimName": "adapters", "path": "a"}, "rank": 24}]
SIZED = {"maxModelLength": 64, "dtype": "float16", "system": "Be brief.", "template": "qwen2_5"}
PARALLEL = {"resources": {"gpus": 2}, "gpuMemoryUtilization": "0.5", **SIZED}

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "transformers": (
        {"engine": "transformers", "adapters": ADAPTERS, "resources": {"gpus": 0}, **SIZED},
        {"named": {"a": "/tmp/models/adapters/a"}, "unnamed": [], "max_batch_size": 1, "max_model_len": 64},
    ),
    "vllm": (
        {"engine": "vllm", "adapters": ADAPTERS, **PARALLEL},
        {
            "engine": {"max_model_len": 64, "tensor_parallel_size": 2, "gpu_memory_utilization": 0.5},
            "vllm_max_lora_rank": 32,
        },
    ),
    "sglang": (
        {"engine": "sglang", **PARALLEL},
        {"engine": {"context_length": 64, "tp_size": 2, "mem_fraction_static": 0.5}},
    ),
    "lmdeploy": (
        {"engine": "lmdeploy", **PARALLEL},
        {"engine": {"session_len": 64, "tp": 2, "cache_max_entry_count": 0.5}},
    ),
}


def arguments(version: str, spec: dict[str, Any], name: str = "served") -> list[str]:
    """The flags of a rendered command, its paths moved below /tmp; a hub's model is the tiny one."""
    runtime = {"runtime": {"swiftVersion": version, "image": "x/y:1"}}
    deployment = deployment_of({"model": TINY, **spec, **runtime}, name)
    assert problems(deployment) == ()
    words = KIND.prepare(deployment, world()).command
    words = words[words.index(PROGRAM) + 1 :]
    moved = [word.replace("=/", "=/tmp/", 1) if "=/" in word else word for word in words]
    return [_moved(word) for word in moved]


def _moved(word: str) -> str:
    if word == "Qwen/Qwen2.5-7B-Instruct":
        return f"/tmp/{word}"
    return f"/tmp{word}" if word.startswith(("/models/", "/swiftop/")) else word


def accepted(name: str, commands: list[list[str]]) -> list[dict[str, Any]]:
    output = ready(name).run("tests/swift_versions/accept_deploy.py", stdin=json.dumps(commands))
    results: list[dict[str, Any]] = json.loads(output.rpartition("RESULTS\n")[2])
    assert len(results) == len(commands)
    return results


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_command_is_accepted_and_means_what_the_spec_says(name: str) -> None:
    version = ENVIRONMENTS[name]
    # Whether flash-attn is installed is asked when the model is loaded.
    seeds = [arguments(version, seed.spec, "seed") for seed in SEEDS.values()]
    results = accepted(name, [*(arguments(version, spec) for spec, _ in CASES.values()), *seeds])
    assert [result["error"] for result in results if "error" in result] == []
    for (_, meant), result in zip(CASES.values(), results, strict=False):
        for member, value in meant.items():
            found = result[member]
            assert value == ({key: found[key] for key in value} if member == "engine" else found), member
    # What an export has merged keeps the prompt of its training, though its folder's name tells nothing.
    exported = [result for result in results if result["model"].endswith("/model")]
    assert [result["prompt"] for result in exported] == [["qwen2_5", "Answer in rhymes."]] * 3


def test_the_same_harness_sees_what_ms_swift_refuses() -> None:
    good = arguments("4.6", CASES["lmdeploy"][0])
    bad = [[*good, "--tp", "1"], [*good, "--session-len", "4096"], [*good, "--infer_backend", "tgi"]]
    results = accepted("4.6", bad)
    assert "remaining_argv" in results[0]["error"]
    assert "remaining_argv" in results[1]["error"]
    assert results[2]["error"] == "exit 2"
    assert "infer_backend" in table("4.6", "deploy").flags
