"""Deployments for tests, and the objects that they refer to, as the API server has them when they have ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from swiftop import names
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.modeldeployment import ModelDeployment
from swiftop.kinds.modeldeployment.kind import KIND
from swiftop.model.kind import Object, Reference, World
from tests.support.objects import SAMPLES, UID

RUN = Reference(names.SFTRUN, "team", "mh-sft-7b-lora")
EXPORT = Reference(names.MODELEXPORT, "team", "mh-sft-7b")
DONE = [{"type": "Succeeded", "status": "True", "reason": "MaxSteps", "message": ""}]
TRAINED: Object = {
    "metadata": {"name": "mh-sft-7b-lora", "namespace": "team", "uid": "9f8e7d6c-0000-4000-8000-000000000002"},
    "spec": {"model": {"id": "Qwen/Qwen2.5-7B-Instruct"}, "tuner": {"type": "lora", "rank": 16}},
    "status": {
        "conditions": DONE,
        "checkpoint": {"step": 508},
        "output": {"claimName": "mh-sft-7b-lora-output", "path": "mh-sft-7b-lora-9f8e7d6c"},
    },
}
EXPORTED: Object = {
    "metadata": {"name": "mh-sft-7b", "namespace": "team", "uid": "8e7d6c5b-0000-4000-8000-000000000003"},
    "spec": {"source": {"sftRunRef": {"name": "mh-sft-7b-lora"}}},
    "status": {
        "conditions": DONE,
        "artifact": {"claimName": "mh-sft-7b-mexp-output", "path": "mh-sft-7b-8e7d6c5b/model"},
        "resolved": {"source": {"type": "qwen2"}},
    },
}
REFERENCES = {RUN: TRAINED, EXPORT: EXPORTED}
MINIMAL: dict[str, Any] = {
    "model": {"id": "Qwen/Qwen2.5-0.5B-Instruct"},
    "engine": "transformers",
    "resources": {"gpus": 0},
}


def deployment_of(spec: Mapping[str, Any], name: str = "served") -> ModelDeployment:
    """One as the API server has it."""
    meta = {"name": name, "namespace": "team", "uid": UID, "generation": 1}
    return ModelDeployment.from_object(
        {"apiVersion": names.API_VERSION, "kind": "ModelDeployment", "metadata": meta, "spec": dict(spec)}
    )


def minimal(**spec: Any) -> ModelDeployment:
    """The least that is valid, with members replaced."""
    return deployment_of({**MINIMAL, **spec})


def sample(name: str) -> ModelDeployment:
    """That of manifests/samples."""
    found = yaml.safe_load((SAMPLES / f"{name}.yaml").read_text("utf-8"))
    return deployment_of(found["spec"], found["metadata"]["name"])


def world(**members: Any) -> World[Defaults]:
    """A platform with an image, and the objects above."""
    known = {
        "defaults": Defaults(image="registry.example/server:4.6"),
        "runner_config_map": "swiftop-runner-0123456789",
        "references": REFERENCES,
    }
    return World(**{**known, **members})


def children_of(deployment: ModelDeployment, **members: Any) -> list[Object]:
    """What the operator makes, the Deployment last."""
    return KIND.objects(KIND.prepare(deployment, world(**members)))
