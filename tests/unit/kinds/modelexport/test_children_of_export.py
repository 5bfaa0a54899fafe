"""All children of an export, compared whole. After a change that is meant: UPDATE_GOLDEN=1, and read the diff."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from swiftop import names
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.modelexport import ModelExport
from swiftop.errors import Invalid
from swiftop.kinds.modelexport.kind import KIND
from swiftop.model.kind import Object, Pinned, Reference, World
from swiftop.model.verdict import Create
from tests.support.objects import SAMPLES, UID

GOLDEN = Path(__file__).parent / "children"
RUN = Reference(names.SFTRUN, "team", "mh-sft-7b-lora")
TRAINED: Object = {
    "metadata": {"name": "mh-sft-7b-lora", "namespace": "team", "uid": "9f8e7d6c-0000-4000-8000-000000000002"},
    "spec": {"model": {"id": "Qwen/Qwen2.5-7B-Instruct", "revision": "v1"}},
    "status": {
        "checkpoint": {"step": 508},
        "bestCheckpoint": {"step": 400},
        "output": {"claimName": "mh-sft-7b-lora-output", "path": "mh-sft-7b-lora-9f8e7d6c"},
    },
}
ON_A_CLAIM = {
    "source": {
        "persistentVolumeClaim": {"claimName": "shared", "path": "adapters/a"},
        "base": {"persistentVolumeClaim": {"claimName": "shared", "path": "models/Qwen2.5-0.5B"}, "type": "qwen2"},
    },
    "output": {"persistentVolumeClaim": {"claimName": "shared", "path": "merged"}},
    "runtime": {"image": "registry.example/trainer:4.6"},
}
OF_A_HUB = {
    "source": {"id": "me/tuned", "hub": "huggingface", "adapters": [{"id": "me/adapter"}]},
    "output": {"volume": {"size": "5Gi", "retain": "Delete"}},
    "resources": {"gpus": 0, "cpu": 4, "memory": "20Gi"},
    "verify": "Skip",
}


CALIBRATED = {
    **ON_A_CLAIM,
    "quantization": {
        "method": "awq",
        "bits": 4,
        "datasets": [
            {"id": "me/chats", "revision": "v1", "sample": 500},
            {"id": "you/talks", "hub": "huggingface", "subsets": ["default"]},
            {"persistentVolumeClaim": {"claimName": "shared", "path": "chats.jsonl"}},
            {"configMap": {"name": "rows", "key": "a.jsonl"}},
        ],
    },
    "push": [{"hub": "modelscope", "repo": "me/tuned-awq"}],
    "resources": {"gpus": 1},
}
BITSANDBYTES = {
    **OF_A_HUB,
    "quantization": {"method": "bnb", "bits": 4, "quantType": "fp4", "doubleQuant": False},
    "dtype": "bfloat16",
    "resources": {"gpus": 0},
    "verify": "Auto",
}


def export_of(spec: dict[str, Any], name: str = "merged") -> ModelExport:
    meta = {"name": name, "namespace": "team", "uid": UID, "generation": 1}
    return ModelExport.from_object(
        {"apiVersion": names.API_VERSION, "kind": "ModelExport", "metadata": meta, "spec": spec}
    )


def sample(name: str) -> ModelExport:
    found = yaml.safe_load((SAMPLES / f"{name}.yaml").read_text("utf-8"))
    return export_of(found["spec"], found["metadata"]["name"])


CASES: dict[str, ModelExport] = {
    "sample": sample("modelexport"),
    "sample-push": sample("modelexport-push"),
    "sample-adapter": sample("modelexport-adapter"),
    "on-a-claim": export_of(ON_A_CLAIM),
    "of-a-hub": export_of(OF_A_HUB),
    "sample-quantized": sample("modelexport-quantized"),
    "calibrated": export_of(CALIBRATED),
    "bitsandbytes": export_of(BITSANDBYTES),
}


def children_of(export: ModelExport) -> list[Object]:
    world = World(
        defaults=Defaults(image="registry.example/trainer:4.6"),
        runner_config_map="swiftop-runner-0123456789",
        references={RUN: TRAINED},
    )
    return KIND.build(KIND.prepare(export, world), Create(1))


@pytest.mark.parametrize("name", CASES)
def test_children(name: str) -> None:
    children = children_of(CASES[name])
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(yaml.safe_dump_all(children, sort_keys=False, width=120, allow_unicode=True), "utf-8")
    assert children == list(yaml.safe_load_all(path.read_text("utf-8")))


@pytest.mark.parametrize("name", CASES)
def test_what_a_job_was_made_with_is_read_back_from_it(name: str) -> None:
    world = World(
        defaults=Defaults(image="registry.example/trainer:4.6"), runner_config_map="r", references={RUN: TRAINED}
    )
    prepared = KIND.prepare(CASES[name], world)
    assert KIND.pinned(KIND.build(prepared, Create(1))[-1]) == Pinned(
        image="registry.example/trainer:4.6",
        swift_version="4.6",
        command=shlex.join(prepared.command),
        digest=prepared.digest,
        source=prepared.subject.recorded(),
    )


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"merge": False, "dtype": "float16"}, "an adapter keeps its type"),
        ({"output": {"ephemeral": True}}, "the result would be lost"),
        ({"resources": {"gpus": 0, "nodes": 2}}, "runs on one node"),
        ({"source": {"id": "a/b", "base": {"id": "c/d"}}}, "base belongs to an adapter on a volume"),
        ({"source": {"sftRunRef": {"name": "a"}, "revision": "x"}}, "belong to a source by id"),
        ({"source": {}}, "exactly one of sftRunRef"),
        (
            {"push": [{"hub": "huggingface", "repo": "a/b", "visibility": "internal"}]},
            "Hugging Face knows private and public only",
        ),
        ({"quantization": {"method": "fp8"}}, "this method needs a GPU"),
        (
            {**CALIBRATED, "quantization": {**CALIBRATED["quantization"], "method": "gptq_v2"}}  # type: ignore[dict-item]
            | {"runtime": {"image": "x/y:1", "swiftVersion": "3.7"}},
            r"spec.quantization.method: ms-swift 3.7 does not take 'gptq_v2' for --quant_method.*awq, gptq, bnb, fp8",
        ),
        (
            {
                **CALIBRATED,
                "source": {"id": "a/b", "hub": "huggingface"},
                "quantization": {"method": "awq", "bits": 4, "datasets": [{"id": "me/chats", "hub": "modelscope"}]},
                "runtime": {"image": "x/y:1", "swiftVersion": "3.12"},
            },
            r"spec.quantization.datasets\[0\]: ms-swift 3.12 reads all datasets from Hugging Face",
        ),
    ],
)
def test_refused(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        children_of(export_of({**ON_A_CLAIM, **spec}))


def test_the_card_names_the_datasets_as_the_run_has_pinned_them() -> None:
    datasets = [
        {"uploadRef": {"name": "chats"}},
        {"id": "a/b", "hub": "huggingface", "revision": "v1"},
        {"id": "c/d"},
        {"configMap": {"name": "small", "key": "a.jsonl"}},
        {"uploadRef": {"name": "unknown"}},
    ]
    pinned = [{"upload": "chats", "hub": "huggingface", "repo": "me/chats", "revision": "4f1c"}]
    run = {
        **TRAINED,
        "spec": {**TRAINED["spec"], "datasets": datasets},
        "status": {**TRAINED["status"], "resolved": {"datasets": pinned}},
    }
    world = World(defaults=Defaults(image="x/y:1"), runner_config_map="r", references={RUN: run})
    assert KIND.prepare(CASES["sample"], world).card["datasets"] == [
        {"name": "me/chats", "hub": "huggingface", "revision": "4f1c"},
        {"name": "a/b", "hub": "huggingface", "revision": "v1"},
        {"name": "c/d", "hub": "modelscope"},
    ]


@pytest.mark.parametrize(
    ("gpus", "model", "memory"),
    [(1, "Qwen/Qwen2.5-7B-Instruct", "64Gi"), (2, "Qwen/Qwen2.5-72B-Instruct", "272Gi"), (1, "me/chat", "64Gi")],
)
def test_before_a_quantization_the_merge_has_to_fit_into_host_memory(gpus: int, model: str, memory: str) -> None:
    spec = {
        "source": {"id": model, "adapters": [{"id": "me/adapter"}]},
        "output": {"volume": {"size": "500Gi"}},
        "quantization": {"method": "fp8"},
        "resources": {"gpus": gpus},
    }
    (container,) = children_of(export_of(spec))[-1]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["memory"] == memory


def test_the_card_names_the_quantization_and_what_it_was_calibrated_with() -> None:
    world = World(defaults=Defaults(image="x/y:1"), runner_config_map="r", references={RUN: TRAINED})
    card = KIND.prepare(CASES["calibrated"], world).card
    assert {name: card[name] for name in ("quantization", "dtype", "tags", "calibration")} == {
        "quantization": "awq, 4 bits, groups of 128",
        "dtype": "float16",
        "tags": ["awq", "4-bit"],
        "calibration": [
            {"name": "me/chats", "hub": "modelscope", "revision": "v1"},
            {"name": "you/talks", "hub": "huggingface"},
        ],
    }
