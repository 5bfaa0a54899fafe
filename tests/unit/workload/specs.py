"""The runs whose children are held against the golden files: each shows parts that the others do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from swiftop.api.v1alpha1.sftrun import SFTRun

UID = "0a1b2c3d-0000-4000-8000-000000000001"
SAMPLES = Path(__file__).parents[3] / "manifests" / "samples"


def run_of(spec: dict[str, Any], name: str = "run") -> SFTRun:
    metadata = {"name": name, "namespace": "team", "uid": UID}
    return SFTRun.from_object(
        {"apiVersion": "swiftop.dev/v1alpha1", "kind": "SFTRun", "metadata": metadata, "spec": spec}
    )


def sample(name: str) -> SFTRun:
    documents = yaml.safe_load_all((SAMPLES / f"{name}.yaml").read_text("utf-8"))
    found = next(document for document in documents if document["kind"] == "SFTRun")
    return run_of(found["spec"], found["metadata"]["name"])


IMAGE = {"image": "registry.example/trainer:4.6"}

MINIMAL: dict[str, Any] = {
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
                    {"name": "trainer", "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]},
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
