"""A ModelDeployment and what it refers to, for tests of the engine."""

from __future__ import annotations

import json
from typing import Any

from swiftop import names
from swiftop.model.conditions import by_type
from swiftop.model.kind import Key
from tests.engine.harness import Harness
from tests.engine.kubernetes import NAMESPACE
from tests.engine.replicas import Replicas

Object = dict[str, Any]

DONE = [{"type": "Succeeded", "status": "True", "reason": "MaxSteps", "message": ""}]


def served(**spec: Any) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "ModelDeployment",
        "metadata": {"name": "chat", "namespace": NAMESPACE},
        "spec": {
            "model": {"id": "Qwen/Qwen2.5-0.5B-Instruct"},
            "engine": "transformers",
            "resources": {"gpus": 0},
            "runtime": {"image": "x/y:1"},
            **spec,
        },
    }


def run_of(name: str = "tiny", *, tuner: str = "lora", **status: Any) -> Object:
    """A run that has ended."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": "SFTRun",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"model": {"id": "Qwen/Qwen2.5-0.5B-Instruct", "type": "qwen2_5"}, "tuner": {"type": tuner}},
        "status": {
            "conditions": DONE,
            "checkpoint": {"step": 20},
            "output": {"claimName": f"{name}-output", "path": f"{name}-0"},
            **status,
        },
    }


def export_of(name: str = "merged", *, merge: bool = True, status: Object | None = None) -> Object:
    artifact = {"claimName": f"{name}-mexp-output", "path": f"{name}-0/model"}
    return {
        "apiVersion": names.API_VERSION,
        "kind": "ModelExport",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"source": {"sftRunRef": {"name": "tiny"}}, "merge": merge},
        "status": {"conditions": DONE, "artifact": artifact} if status is None else status,
    }


WITH_ADAPTER = {"adapters": [{"name": "tuned", "sftRunRef": {"name": "tiny"}}]}
OF_EXPORT = {"model": {"exportRef": {"name": "merged"}}}


class Served(Harness):
    """An operator and the pods of one deployment."""

    def __init__(self) -> None:
        super().__init__()
        self.key = Key("ModelDeployment", NAMESPACE, "chat")
        self.replicas = Replicas(self.cluster, self.readings)

    async def put(self, obj: Object) -> None:
        self.cluster.put(obj)
        await self.settle()

    async def edit(self, **spec: Any) -> None:
        await self.put({**self.run, "spec": {**self.run["spec"], **spec}})

    async def start(self) -> None:
        self.replicas.start()
        await self.settle()

    @property
    def run(self) -> Object:
        return self.cluster.find(names.MODELDEPLOYMENT, "chat")

    def told(self, type_: str) -> tuple[str, str, str]:
        found = by_type(self.status)[type_]
        return found["status"], found["reason"], found["message"]

    @property
    def plan(self) -> Object:
        (container,) = self.replicas.deployment["spec"]["template"]["spec"]["containers"]
        plan: Object = json.loads(container["env"][0]["value"])
        return plan

    def children(self) -> list[tuple[str, str]]:
        resources = (names.SERVICE, names.PDB, names.HPA, names.DEPLOYMENT)
        return [(o["kind"], o["metadata"]["name"]) for resource in resources for o in self.cluster.of_kind(resource)]


async def serving(harness: Served, **spec: Any) -> Served:
    await harness.put(served(**spec))
    await harness.start()
    assert harness.told("Ready")[0] == "True"
    return harness
