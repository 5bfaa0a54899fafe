"""Uploads for tests."""

from __future__ import annotations

from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.datasetupload import DatasetUpload
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.kinds.registry import KINDS
from swiftop.model.kind import Object, World
from swiftop.model.verdict import Create
from tests.support.objects import IMAGE, UID

MINIMAL: dict[str, Any] = {
    "source": {"configMap": {"name": "chats", "key": "chats.jsonl"}},
    "destination": {"hub": "modelscope", "repo": "me/chats"},
}
WHOLE: dict[str, Any] = {
    "source": {"persistentVolumeClaim": {"claimName": "datasets", "path": "raw/chats.json"}},
    "format": "queryResponse",
    "columns": {"ask": "query", "reply": "response"},
    "maxBadRows": 5,
    "tokenizer": {"model": "Qwen/Qwen2.5-7B-Instruct", "hub": "modelscope", "maxLength": 4096},
    "destination": {
        "hub": "huggingface",
        "repo": "me/chats",
        "path": "data/all.json",
        "visibility": "public",
        "revision": "v1",
        "commitMessage": "costs $5",
        "tokenSecret": {"name": "writer", "key": "token"},
        "overwrite": True,
    },
    "cache": {"persistentVolumeClaim": {"claimName": "hub-cache"}},
    "resources": {"gpus": 0, "cpu": 2, "memory": "8Gi"},
    "lifecycle": {"activeDeadlineSeconds": 3600},
    "placement": {"nodeSelector": {"pool": "cpu"}},
    "runtime": {**IMAGE, "env": [{"name": "HF_ENDPOINT", "value": "https://hf-mirror.example/"}]},
}


def upload(name: str = "chats", namespace: str = "team", *, meta: Object | None = None, **spec: Any) -> Object:
    """The minimal upload with members of its spec replaced, as the API server has it."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": "DatasetUpload",
        "metadata": {"name": name, "namespace": namespace, "uid": UID, "generation": 1, **(meta or {})},
        "spec": {**MINIMAL, "runtime": IMAGE, **spec},
    }


def upload_of(spec: dict[str, Any], name: str = "chats") -> DatasetUpload:
    """The upload of a whole spec, as it is read from a file."""
    return DatasetUpload.from_object({**upload(name, meta={"generation": 0}), "spec": spec})


def children_of(found: DatasetUpload, defaults: Defaults | None = None, create: Create | None = None) -> list[Object]:
    """What the operator makes for an attempt."""
    kind = KINDS["DatasetUpload"]
    world = World(defaults=defaults or Defaults(), runner_config_map="swiftop-runner-0123456789")
    return kind.build(kind.prepare(found, world), create or Create(1))
