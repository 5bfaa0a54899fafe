"""Deployments against the commands that people served by hand with before.

seeds/*.sh are those commands, word for word. What a deployment renders in their place differs in the flags of `WHY` and
in nothing else; golden/ has the whole command for each release. After a change that is meant: UPDATE_GOLDEN=1.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from swiftop.api.validate import problems
from swiftop.kinds.modeldeployment.command import PROGRAM
from swiftop.kinds.modeldeployment.kind import KIND
from swiftop.swift.releases import SUPPORTED, table
from tests.unit.kinds.modeldeployment.deployments import RUN, TRAINED, deployment_of, world

HERE = Path(__file__).parent
MODEL = "/swiftop/source/mh-sft-7b-mexp-output/mh-sft-7b-8e7d6c5b/model"
CHECKPOINT = "/swiftop/source/mh-sft-7b-lora-output/mh-sft-7b-lora-9f8e7d6c/checkpoint-508"

WHY = {
    "model": "a checkpoint's args.json names its model, but a deployment says what it serves; a merged one is the "
    "result of an export",
    "model_type": "the folder of an export is called model, which tells ms-swift no type: the training's is said",
    "adapters": "under a name of its own, so that model and adapter answer side by side; ms-swift gives sglang and "
    "lmdeploy none, and served the base model under the tuned name: they get a merged model",
    "merge_lora": "it writes beside the checkpoint and takes whatever lies there: a ModelExport merges",
    "infer_backend": "the releases call transformers by two names; where nothing was said it is said",
    "served_model_name": "a name that does not change with a folder's",
    "stream": "each request says so",
    "max_batch_size": "requests of several names in one batch fail",
    "vllm_max_lora_rank": "vllm has to know the largest rank beforehand",
    "tp": "no release knows it: --lmdeploy_tp, and 1 is the default",
    "cache-max-entry-count": "no release knows it: --lmdeploy_cache_max_entry_count, and lmdeploy refuses 0",
    "session-len": "no release knows it: --lmdeploy_session_len",
    "lmdeploy_session_len": "see session-len",
}


@dataclass(frozen=True)
class Seed:
    """A deployment for a command, and what it changes of its flags; None: left out."""

    spec: dict[str, Any]
    changed: dict[str, list[str] | None] = field(default_factory=dict)


ADAPTER = {"name": "mh", "sftRunRef": {"name": "mh-sft-7b-lora"}}
BASE = {"model": {"id": "Qwen/Qwen2.5-7B-Instruct"}, "adapters": [ADAPTER], "resources": {"gpus": 1}}
MERGED = {"model": {"exportRef": {"name": "mh-sft-7b"}}, "servedModelName": "mh-sft-7b", "resources": {"gpus": 1}}
OF_EXPORT = {"model": [MODEL], "model_type": ["qwen2"], "adapters": None, "served_model_name": ["mh-sft-7b"]}
TRANSFORMERS = {"max_batch_size": ["1"], "stream": None, "adapters": [f"mh={CHECKPOINT}"]}
SEEDS = {
    "infer-transformers": Seed(
        {
            **BASE,
            "engine": "transformers",
            "engineArgs": [{"name": "attn_impl", "value": "flash_attn"}, {"name": "max_new_tokens", "value": "512"}],
        },
        {**TRANSFORMERS, "served_model_name": ["seed"]},
    ),
    "deploy-sglang": Seed({**MERGED, "engine": "sglang"}, OF_EXPORT),
    "deploy-lmdeploy": Seed(
        {**MERGED, "engine": "lmdeploy", "maxModelLength": 4096},
        {
            **OF_EXPORT,
            **{"tp": None, "cache-max-entry-count": None, "session-len": None},
            "lmdeploy_session_len": ["4096"],
        },
    ),
    "infer-adapter": Seed(
        {
            **BASE,
            "engine": "transformers",
            "engineArgs": [{"name": "temperature", "value": "0.7"}, {"name": "max_new_tokens", "value": "512"}],
        },
        {
            **TRANSFORMERS,
            "model": ["Qwen/Qwen2.5-7B-Instruct"],
            "infer_backend": ["transformers"],
            "served_model_name": ["seed"],
        },
    ),
    "infer-merged-vllm": Seed(
        {**MERGED, "engine": "vllm", "engineArgs": [{"name": "max_new_tokens", "value": "512"}]},
        {**OF_EXPORT, "merge_lora": None},
    ),
}


def flags(words: list[str]) -> dict[str, list[str]]:
    """``--name value…`` as a mapping; a flag given twice is an error."""
    result: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            assert word[2:] not in result, f"{word} twice"
            result[word[2:]] = []
        else:
            result[next(reversed(result))].append(word)
    return result


def seed_flags(name: str) -> dict[str, list[str]]:
    text = (HERE / "seeds" / f"{name}.sh").read_text("utf-8").replace("\\\n", " ")
    (line,) = (line for line in text.splitlines() if re.search(r"\bswift (infer|deploy)\b", line))
    words = shlex.split(line)
    return flags(words[words.index("swift") + 2 :])


def rendered(name: str, version: str) -> list[str]:
    deployment = deployment_of({**SEEDS[name].spec, "runtime": {"swiftVersion": version, "image": "x/y:1"}}, "seed")
    assert problems(deployment) == ()
    return list(KIND.prepare(deployment, world()).command)


@pytest.mark.parametrize("version", SUPPORTED)
@pytest.mark.parametrize("name", SEEDS)
def test_a_deployment_renders_the_flags_of_the_command_but_for_what_is_told(name: str, version: str) -> None:
    changed = SEEDS[name].changed
    expected = {key: value for key, value in {**seed_flags(name), **changed}.items() if value is not None}
    if expected["infer_backend"] in (["pt"], ["transformers"]):
        expected["infer_backend"] = [table(version).release.transformers_engine]
    words = rendered(name, version)
    assert flags(words[words.index(PROGRAM) + 1 :]) == expected


@pytest.mark.parametrize("version", SUPPORTED)
@pytest.mark.parametrize("name", SEEDS)
def test_the_whole_command(name: str, version: str) -> None:
    text = shlex.join(rendered(name, version)).replace(" --", " \\\n  --") + "\n"
    path = HERE / "golden" / f"{name}-{version}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8")


def test_every_difference_is_explained_and_every_explanation_needed() -> None:
    changed = {flag for seed in SEEDS.values() for flag in seed.changed}
    assert changed | {"infer_backend", "vllm_max_lora_rank"} == WHY.keys()


@pytest.mark.parametrize("version", SUPPORTED)
def test_what_never_worked_is_no_flag_of_any_release(version: str) -> None:
    known = table(version, "deploy").flags
    for flag in ("tp", "session_len", "cache_max_entry_count"):
        assert flag not in known
        assert f"lmdeploy_{flag}" in known


@pytest.mark.parametrize("engine", ["sglang", "lmdeploy"])
def test_an_adapter_that_would_be_dropped_in_silence_is_refused(engine: str) -> None:
    deployment = deployment_of({**BASE, "engine": engine})
    (problem,) = problems(deployment)
    assert problem.path == "spec.adapters"
    assert "Name the run of the adapter in model.sftRunRef" in problem.message


@pytest.mark.parametrize(
    ("ranks", "largest"),
    [([8], ["8"]), ([8, 24], ["32"]), ([64], ["64"]), ([8, None], None), ([None], None)],
)
def test_vllm_is_told_the_largest_rank_where_it_is_known(ranks: list[int | None], largest: list[str] | None) -> None:
    adapters = [
        {"name": f"a{n}", "id": "me/adapter", **({"rank": rank} if rank else {})} for n, rank in enumerate(ranks)
    ]
    deployment = deployment_of({**BASE, "adapters": adapters, "engine": "vllm"})
    words = KIND.prepare(deployment, world()).command
    assert flags(list(words[3:])).get("vllm_max_lora_rank") == largest


def test_a_rank_that_vllm_does_not_serve_is_left_to_the_pod_which_names_the_adapter() -> None:
    run = {**TRAINED, "spec": {**TRAINED["spec"], "tuner": {"type": "lora", "rank": 1024}}}
    adapters = [{"name": "big", "sftRunRef": {"name": RUN.name}}]
    deployment = deployment_of({**BASE, "adapters": adapters, "engine": "vllm"})
    words = KIND.prepare(deployment, world(references={RUN: run})).command
    assert flags(list(words[3:]))["vllm_max_lora_rank"] == ["512"]
