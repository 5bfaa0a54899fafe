"""The commands of the engines' own servers, whole."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from swiftop.api.validate import problems
from swiftop.errors import Invalid
from swiftop.kinds.modeldeployment.kind import KIND
from swiftop.workload.job import plan_of
from tests.unit.kinds.modeldeployment.deployments import children_of, minimal, world

GPU = {"resources": {"gpus": 2}, "server": "Native", "gpuMemoryUtilization": "0.5", "maxModelLength": 4096}
ADAPTERS = [
    {"name": "mine", "sftRunRef": {"name": "mh-sft-7b-lora"}},
    {"name": "hub", "id": "me/code", "rank": 24},
]


def native_of(**spec: Any) -> str:
    """The command as one line."""
    deployment = minimal(**spec)
    assert problems(deployment) == ()
    return shlex.join(KIND.prepare(deployment, world()).native)


MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "vllm": (
        {"engine": "vllm", **GPU, "adapters": ADAPTERS, "dtype": "bfloat16", "servedModelName": "base"},
        f"python -m vllm.entrypoints.openai.api_server --model {MODEL} --served-model-name base "
        "--enable-lora --max-loras 4 --max-cpu-loras 8 --max-lora-rank 32 --dtype bfloat16 --max-model-len 4096 "
        "--tensor-parallel-size 2 --gpu-memory-utilization 0.5 --trust-remote-code --uvicorn-log-level warning "
        "--max-log-len 0",
    ),
    "a rank that only the adapter tells": (
        {"engine": "vllm", "server": "Auto", "resources": {"gpus": 1}, "adapters": [{"name": "hub", "id": "me/code"}]},
        f"python -m vllm.entrypoints.openai.api_server --model {MODEL} --served-model-name served --enable-lora "
        "--max-loras 1 --trust-remote-code --uvicorn-log-level warning --max-log-len 0",
    ),
    "sglang": (
        {"engine": "sglang", **GPU},
        f"python -m sglang.launch_server --model-path {MODEL} --served-model-name served --context-length 4096 "
        "--tp-size 2 --mem-fraction-static 0.5 --trust-remote-code --enable-metrics --log-level-http warning",
    ),
    "lmdeploy": (
        {"engine": "lmdeploy", **GPU, "engineArgs": [{"name": "lmdeploy_vision_batch_size", "value": "4"}]},
        f"lmdeploy serve api_server {MODEL} --model-name served --session-len 4096 --tp 2 "
        "--cache-max-entry-count 0.5 --vision-max-batch-size 4",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_command(name: str) -> None:
    spec, expected = CASES[name]
    assert native_of(**spec) == expected


@pytest.mark.parametrize(
    ("engine", "arg", "words"),
    [
        ("vllm", {"name": "vllm_max_num_seqs", "value": "64"}, ["--max-num-seqs", "64"]),
        ("vllm", {"name": "vllm_enforce_eager", "value": "true"}, ["--enforce-eager"]),
        ("vllm", {"name": "vllm_enable_prefix_caching", "value": "False"}, ["--no-enable-prefix-caching"]),
        (
            "vllm",
            {"name": "vllm_limit_mm_per_prompt", "json": '{"image": 2}'},
            ["--limit-mm-per-prompt", '{"image": 2}'],
        ),
        (
            "vllm",
            {
                "name": "vllm_engine_kwargs",
                "json": '{"kv_cache_memory_bytes": 64, "x": true, "b": false, "y": {"d": 1}}',
            },
            ["--kv-cache-memory-bytes", "64", "--x", "--no-b", "--y", '{"d": 1}'],
        ),
        ("vllm", {"name": "agent_template", "value": "hermes"}, []),
        ("sglang", {"name": "sglang_disable_cuda_graph", "value": "true"}, ["--disable-cuda-graph"]),
        ("sglang", {"name": "sglang_disable_cuda_graph", "value": "false"}, []),
        ("lmdeploy", {"name": "lmdeploy_quant_policy", "value": "8"}, ["--quant-policy", "8"]),
    ],
)
def test_a_flag_of_ms_swift_is_the_engine_s_own(engine: str, arg: dict[str, Any], words: list[str]) -> None:
    spec: dict[str, Any] = {"engine": engine, "server": "Native", "resources": {"gpus": 1}}
    bare = native_of(**spec)
    assert native_of(**spec, engineArgs=[arg]) == " ".join([bare, shlex.join(words)]).strip()


@pytest.mark.parametrize(
    ("arg", "said"),
    [
        (
            {"name": "temperature", "value": "0"},
            r"spec.engineArgs\[0\].name: --temperature is a flag of ms-swift's server",
        ),
        ({"name": "max_new_tokens", "value": "2"}, "use a flag that begins with vllm_, or server: Swift"),
        ({"name": "vllm_engine_kwargs", "json": "[1]"}, "has to be a JSON object"),
        ({"name": "vllm_engine_kwargs", "json": '{"api_key": "x"}'}, "api_key is set by swiftop"),
        ({"name": "vllm_engine_kwargs", "json": '{"api-key": "x"}'}, "'api-key' is no name of an argument"),
        ({"name": "vllm_engine_kwargs", "json": '{"model=/other": true}'}, "'model=/other' is no name"),
        ({"name": "vllm_engine_kwargs", "json": '{"served_model_nam": "x"}'}, "served_model_nam is set by swiftop"),
        ({"name": "vllm_engine_kwargs", "json": '{"config": "/models/x.yaml"}'}, "config is set by swiftop"),
    ],
)
def test_other_flags_are_refused_and_auto_takes_ms_swift_s_server(arg: dict[str, Any], said: str) -> None:
    spec = {"engine": "vllm", "engineArgs": [arg]}
    with pytest.raises(Invalid, match=said):
        children_of(minimal(server="Native", **spec))
    prepared = KIND.prepare(minimal(server="Auto", **spec), world())
    assert (prepared.native, prepared.swift_only) == ((), "FlagsOfSwift")


def test_the_plan_has_both_commands_and_what_is_asked_for() -> None:
    plan = plan_of(children_of(minimal(engine="vllm", server="Auto"))[-1])
    assert plan is not None
    assert plan.settings["server"] == "Auto"
    assert plan.settings["native"][:3] == ["python", "-m", "vllm.entrypoints.openai.api_server"]
    assert plan.command[:3] == ("python", "-m", "swift.cli.deploy")


def test_transformers_has_no_server_of_its_own() -> None:
    (wrong,) = problems(minimal(server="Native"))
    assert "transformers has no server of its own" in wrong.message
    prepared = KIND.prepare(minimal(server="Auto"), world())
    assert (prepared.native, prepared.swift_only) == ((), "NoOwnServer")


def test_the_resolved_command_is_that_of_the_server() -> None:
    resolved = KIND.prepare(minimal(engine="vllm", server="Native"), world()).resolved
    assert resolved["command"].startswith("python -m vllm.entrypoints.openai.api_server ")
    assert (
        KIND.prepare(minimal(engine="vllm", server="Auto"), world()).resolved["command"].startswith("python -m swift")
    )
