"""Objects for tests: the one maker of a small SFTRun, and the runs that show what others do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from swiftop import names
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.sftrun import SFTRun, SFTRunSpec
from swiftop.errors import Invalid, Problem
from swiftop.kinds.registry import KINDS
from swiftop.kinds.sftrun import check
from swiftop.kinds.sftrun.command import Rendered, command, typed_flags
from swiftop.model.kind import Object, World
from swiftop.model.verdict import Create
from swiftop.swift.paths import Identity
from swiftop.swift.releases import FlagTable, table

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "manifests" / "samples"
UID = "0a1b2c3d-0000-4000-8000-000000000001"

# The least that is a valid run.
MINIMAL: dict[str, Any] = {
    "model": {"id": "Qwen/Qwen2.5-0.5B-Instruct"},
    "datasets": [{"id": "AI-ModelScope/alpaca-gpt4-data-zh"}],
    "output": {"ephemeral": True},
    "resources": {"gpus": 1},
}


def sftrun(name: str = "run", namespace: str = "team", *, meta: Object | None = None, **spec: Any) -> Object:
    """The minimal run with members of its spec replaced, as the API server has it; ``meta`` is put into metadata."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": "SFTRun",
        "metadata": {"name": name, "namespace": namespace, "uid": UID, "generation": 1, **(meta or {})},
        "spec": {**MINIMAL, **spec},
    }


def spec_of(**members: Any) -> SFTRunSpec:
    """The minimal spec with members replaced, in the user's spelling."""
    return SFTRunSpec.model_validate({**MINIMAL, **members})


def run_of(spec: dict[str, Any], name: str = "run", **meta: Any) -> SFTRun:
    """The run of a whole spec, as it is read from a file: of no generation yet."""
    obj = sftrun(name, meta={"generation": 0, **meta})
    return SFTRun.from_object({**obj, "spec": spec})


def children_of(run: SFTRun, defaults: Defaults | None = None, create: Create | None = None) -> list[Object]:
    """What the operator makes for an attempt of a run, the Job last."""
    kind = KINDS["SFTRun"]
    world = World(defaults=defaults or Defaults(), runner_config_map="swiftop-runner-0123456789")
    return kind.build(kind.prepare(run, world), create or Create(1))


def sample(name: str) -> SFTRun:
    """The run of a file of manifests/samples, which may hold other objects beside it."""
    documents = yaml.safe_load_all((SAMPLES / f"{name}.yaml").read_text("utf-8"))
    found = next(document for document in documents if document["kind"] == "SFTRun")
    return run_of(found["spec"], found["metadata"]["name"])


IMAGE = {"image": "registry.example/trainer:4.6"}

ON_CPU: dict[str, Any] = {
    "model": {"id": "Qwen/Qwen2.5-7B-Instruct"},
    "datasets": [{"configMap": {"name": "tiny", "key": "chat.jsonl"}}],
    "resources": {"gpus": 0},
    "output": {"ephemeral": True},
    "runtime": IMAGE,
}

# One claim that is model, dataset, file and output at once, and one ConfigMap that is dataset and file.
SHARED_VOLUMES: dict[str, Any] = {
    "model": {
        "persistentVolumeClaim": {"claimName": "lab", "path": "models/Qwen2.5-7B-Instruct"},
        "adapters": [{"persistentVolumeClaim": {"claimName": "adapters", "path": "first"}}],
    },
    "datasets": [
        {"persistentVolumeClaim": {"claimName": "lab", "path": "chats/train.jsonl"}},
        {"configMap": {"name": "small", "key": "a.jsonl"}},
        {"configMap": {"name": "small", "key": "b.jsonl"}},
    ],
    "validation": {"datasets": [{"persistentVolumeClaim": {"claimName": "eval", "path": "eval.jsonl"}}]},
    "files": [
        {"configMap": {"name": "small", "key": "zero.json"}},
        {"persistentVolumeClaim": {"claimName": "lab", "path": "plugins/loss.py"}},
    ],
    "resources": {"gpus": 2, "gpuResource": "example.com/npu", "cpu": 12, "memory": "96Gi", "sharedMemory": "4Gi"},
    "output": {"persistentVolumeClaim": {"claimName": "lab", "path": "results"}},
    "cache": {"persistentVolumeClaim": {"claimName": "cache", "path": "hub"}},
    "checkpoints": {"resume": "Never"},
    "runtime": IMAGE,
}

# All that the platform part of the spec can say.
PLATFORM: dict[str, Any] = {
    "model": {"id": "me/private", "hub": "huggingface"},
    "datasets": [{"id": "me/chats", "hub": "huggingface"}],
    "tuner": {"type": "full"},
    "tracking": {"swanlab": {"project": "p", "workspace": "w", "host": "http://swanlab.lab:8000", "tags": ["a", "b"]}},
    "credentials": {
        "swanlabApiKey": {"name": "swan", "key": "key"},
        "hfToken": {"name": "hf", "key": "token"},
    },
    "resources": {"gpus": 8},
    "placement": {
        "priorityClassName": "high",
        "schedulerName": "other",
        "nodeSelector": {"gpu": "h100"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"noisy": "true"}}}
                ]
            }
        },
    },
    "lifecycle": {"activeDeadlineSeconds": 3600, "stallSeconds": 900},
    "runtime": {
        "image": "registry.example/trainer@sha256:0",
        "imagePullPolicy": "IfNotPresent",
        "imagePullSecrets": [{"name": "pull"}],
        "env": [{"name": "NCCL_DEBUG", "value": "INFO"}, {"name": "COLUMNS", "value": "120"}],
        "securityContext": {"runAsUser": 2000, "runAsGroup": 3000, "fsGroup": 4000, "supplementalGroups": [5000]},
        "podPatch": {
            "metadata": {"annotations": {"example.com/note": "hello"}},
            "spec": {
                "volumes": [{"name": "scratch", "emptyDir": {}}],
                "containers": [
                    {"name": "swift", "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]},
                    {"name": "sidecar", "image": "busybox"},
                ],
            },
        },
    },
    "output": {"volume": {"size": "50Gi", "storageClassName": "fast", "retain": "Delete"}},
    "training": {"system": "costs $(SWANLAB_API_KEY) $5"},
}

TWO_NODES: dict[str, Any] = {
    "model": {"id": "Qwen/Qwen2.5-32B-Instruct"},
    "datasets": [{"id": "CodyWhy/mh-sharegpt-20250820"}],
    "training": {"deepspeed": "zero3"},
    "resources": {"gpus": 8, "nodes": 2},
    "output": {"volume": {"size": "500Gi", "accessMode": "ReadWriteMany"}},
    "runtime": IMAGE,
}


def rendered_of(spec: SFTRunSpec, *, table: FlagTable, identity: Identity) -> Rendered:
    """How the training of a run would be started, whether or not its spec can be trained."""
    return command(spec, typed=typed_flags(spec, table=table, identity=identity), table=table, identity=identity)


def problems_of(spec: SFTRunSpec, version: str) -> list[Problem]:
    """What this ms-swift version would refuse of a run."""
    try:
        known = table(version)
    except Invalid as error:
        return list(error.problems)
    typed = typed_flags(spec, table=known, identity=Identity(name="run", uid=UID))
    return check.problems(spec, known=known, typed=typed)
