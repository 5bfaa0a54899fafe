"""All children of a deployment, compared whole. After a change that is meant: UPDATE_GOLDEN=1, and read the diff."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from swiftop import names
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.modeldeployment import ModelDeployment
from swiftop.api.v1alpha1.workload import EnvVar
from swiftop.errors import Invalid
from swiftop.kinds.modeldeployment.kind import KIND
from swiftop.model.verdict import Create
from tests.unit.kinds.modeldeployment.deployments import children_of, deployment_of, minimal, sample, world

GOLDEN = Path(__file__).parent / "children"
WHOLE: dict[str, Any] = {
    "model": {
        "persistentVolumeClaim": {"claimName": "models", "path": "Qwen2.5-7B-Instruct"},
        "type": "qwen2",
        "hub": "huggingface",
    },
    "adapters": [
        {"name": "chat", "persistentVolumeClaim": {"claimName": "adapters", "path": "chat"}, "rank": 24},
        {"name": "code", "id": "me/code", "rank": 8},
    ],
    "engine": "vllm",
    "servedModelName": "qwen/base",
    "system": "Be brief.",
    "template": "qwen2_5",
    "maxModelLength": 8192,
    "tensorParallelSize": 2,
    "gpuMemoryUtilization": "0.85",
    "dtype": "bfloat16",
    "engineArgs": [{"name": "vllm_max_num_seqs", "value": "64"}],
    "replicas": 3,
    "autoscaling": {"min": 2, "max": 6, "target": 8},
    "apiKey": {"name": "keys", "key": "openai"},
    "service": {"type": "LoadBalancer", "port": 80, "annotations": {"example.com/internal": "true"}},
    "timeouts": {"loadSeconds": 600, "answerSeconds": 60, "drainSeconds": 20, "stallSeconds": 90},
    "cache": {"persistentVolumeClaim": {"claimName": "cache", "path": "hub"}},
    "credentials": {"hfToken": {"name": "hf", "key": "token"}},
    "resources": {"gpus": 4, "cpu": 16, "memory": "128Gi"},
    "placement": {"nodeSelector": {"gpu": "h100"}, "priorityClassName": "serving"},
    "rollout": {
        "gate": {
            "prompts": [
                {"prompt": "Who are you?", "contains": "Qwen"},
                {"name": "chat", "prompt": "Hi", "contains": "Hello", "maxTokens": 32},
            ]
        }
    },
    "runtime": {"podPatch": {"metadata": {"annotations": {"example.com/note": "hello"}}}},
}
CASES: dict[str, ModelDeployment] = {
    "sample": sample("modeldeployment"),
    "sample-merged": sample("modeldeployment-merged"),
    "sample-run": sample("modeldeployment-run"),
    "sample-tiny": sample("modeldeployment-tiny"),
    "sample-vllm-cpu": sample("modeldeployment-vllm-cpu"),
    "whole": deployment_of(WHOLE),
    "native": deployment_of({**WHOLE, "server": "Native"}),
}


@pytest.mark.parametrize("name", CASES)
def test_children(name: str) -> None:
    children = children_of(CASES[name])
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(yaml.safe_dump_all(children, sort_keys=False, width=120, allow_unicode=True), "utf-8")
    assert children == list(yaml.safe_load_all(path.read_text("utf-8")))


def test_the_pod_is_hardened_as_that_of_a_run() -> None:
    pod = children_of(CASES["whole"])[-1]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert "openai" not in str([variable.get("value") for variable in container["env"]][1:])


def as_kept(children: list[dict[str, Any]]) -> dict[Any, Any]:
    """The Deployment, as the store has it."""
    deployment = copy.deepcopy(children[-1])
    deployment["metadata"]["uid"] = "d"
    return {names.DEPLOYMENT: [deployment]}


def test_an_upgrade_of_the_operator_and_other_defaults_change_no_pod() -> None:
    served = minimal()
    first = children_of(served)
    later = {
        "runner_config_map": "swiftop-runner-9876543210",
        "defaults": Defaults(image="registry.example/server:5.0", env=(EnvVar(name="A", value="b"),)),
    }
    assert children_of(served, children=as_kept(first), **later) == first
    edited = children_of(minimal(maxModelLength=99), children=as_kept(first), **later)[-1]["spec"]["template"]["spec"]
    assert edited["containers"][0]["image"] == "registry.example/server:5.0"
    assert edited["volumes"][0]["configMap"]["name"] == "swiftop-runner-9876543210"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"runner": 3}', '{"runner": "r", "defaults": {"image": 3}}'])
def test_what_somebody_wrote_over_an_annotation_is_as_if_it_was_not_there(text: str) -> None:
    first = children_of(minimal())
    kept = as_kept(first)
    kept[names.DEPLOYMENT][0]["metadata"]["annotations"][names.ANNOTATION_RESOLVED] = text
    assert children_of(minimal(), children=kept) == first


@pytest.mark.parametrize(
    ("edit", "same"),
    [
        ({"replicas": 5}, True),
        ({"service": {"port": 9000}}, True),
        ({"rollout": {"follow": False}}, True),
        ({"autoscaling": {"max": 3, "target": 2}}, True),
        ({"system": "Be brief."}, False),
        ({"rollout": {"gate": {"prompts": [{"prompt": "a", "contains": "b"}]}}}, False),
        ({"timeouts": {"answerSeconds": 20}}, False),
    ],
)
def test_what_is_no_part_of_a_pod_is_no_new_revision(edit: dict[str, Any], same: bool) -> None:
    before, after = children_of(minimal())[-1], children_of(minimal(**edit))[-1]
    assert (before["spec"]["template"] == after["spec"]["template"]) is same


def test_an_autoscaler_decides_on_replicas_once_there_are_some() -> None:
    scaled = minimal(autoscaling={"min": 2, "max": 4, "target": 8}, replicas=1)
    first = children_of(scaled)
    assert first[-1]["spec"]["replicas"] == 2
    kept = as_kept(first)
    for running, wanted in ((3, 3), (9, 4), (1, 2)):
        kept[names.DEPLOYMENT][0]["spec"]["replicas"] = running
        assert children_of(scaled, children=kept)[-1]["spec"]["replicas"] == wanted


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"engineArgs": [{"name": "vllm_max_num_seq", "value": "8"}]}, "did you mean vllm_max_num_seqs"),
        ({"engineArgs": [{"name": "tp", "value": "1"}]}, "has no flag --tp"),
        ({"engineArgs": [{"name": "vllm_max_num_seqs", "value": "many"}]}, "'many' is not a whole number"),
        ({"runtime": {"swiftVersion": "2.0"}}, "ms-swift 2.0 is not supported"),
    ],
)
def test_refused_before_a_pod_is_made(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        children_of(minimal(**spec))


def test_without_an_image_nothing_is_made() -> None:
    with pytest.raises(Invalid, match="no image with ms-swift"):
        children_of(minimal(), defaults=Defaults())


def test_what_a_deployment_was_made_with_is_read_back_from_it() -> None:
    prepared = KIND.prepare(CASES["sample"], world())
    pinned = KIND.pinned(KIND.build(prepared, Create(1))[-1])
    assert pinned is not None
    assert pinned.command.startswith("python -m swift.cli.deploy --model Qwen/Qwen2.5-7B-Instruct")
    assert (pinned.image, pinned.swift_version) == ("registry.example/server:4.6", "4.6")
