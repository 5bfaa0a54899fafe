"""DatasetUploads that are refused or accepted, as patches to the smallest valid one: one table for both guards."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.apiserver.cases import Case, Patch

MINIMAL: Patch = {
    "apiVersion": "swiftop.dev/v1alpha1",
    "kind": "DatasetUpload",
    "metadata": {"name": "minimal", "namespace": "default"},
    "spec": {
        "source": {"configMap": {"name": "chats", "key": "chats.jsonl"}},
        "destination": {"hub": "modelscope", "repo": "me/chats"},
    },
}


_case = partial(Case, base=MINIMAL)


def _claim(path: str) -> Patch:
    return {"configMap": None, "persistentVolumeClaim": {"claimName": "data", "path": path}}


def _to(**destination: Any) -> Patch:
    return {"destination": destination}


REFUSED: tuple[Case, ...] = (
    _case("two sources", {"source": {"persistentVolumeClaim": {"claimName": "a", "path": "b.jsonl"}}},
               "spec.source",
               "exactly one of persistentVolumeClaim and configMap"),
    _case("no source", {"source": {"configMap": None}}, "spec.source", "exactly one of"),
    _case("csv on a claim", {"source": _claim("chats.csv")}, "spec.source.persistentVolumeClaim.path",
               "convert another format first"),
    _case("a folder", {"source": _claim("chats")}, "spec.source.persistentVolumeClaim.path", "name one file"),
    _case("csv in a ConfigMap", {"source": {"configMap": {"key": "chats.csv"}}}, "spec.source.configMap.key",
               "name a key that ends in"),
    _case("another ending", {"source": _claim("chats.json")}, "spec.destination.path", "the ending of the source"),
    _case("another ending in a ConfigMap", {"source": {"configMap": {"key": "chats.json"}}},
               "spec.destination.path", "the ending of the source"),
    _case("GPUs", {"resources": {"gpus": 1}}, "spec.resources", "without GPUs"),
    _case("nodes", {"resources": {"gpus": 0, "nodes": 2}}, "spec.resources", "in one pod"),
    _case("a path upwards", _to(path="../train.jsonl"), "spec.destination.path", "must be a file in"),
    _case("a hidden path", _to(path=".cache/train.jsonl"), "spec.destination.path", "must be a file in"),
    _case("a repository without owner", _to(repo="chats"), "spec.destination.repo", ""),
    _case("internal on Hugging Face", _to(hub="huggingface", visibility="internal"), "spec.destination.visibility",
               "private and public only"),
    _case("a column that ms-swift does not know", {"columns": {"a": "chat"}}, "spec.columns", ""),
    _case("an unknown format", {"format": "chatml"}, "spec.format", ""),
    _case("bad rows below zero", {"maxBadRows": -1}, "spec.maxBadRows", ""),
    _case("an unknown field", {"deduplicate": True}, "spec.deduplicate", ""),
)  # fmt: skip

ACCEPTED: tuple[Case, ...] = (
    _case("minimal", {}),
    _case("a claim", {"source": _claim("raw/chats.jsonl")}),
    _case("an array", {"source": _claim("chats.json"), **_to(path="all.json")}),
    _case("resources", {"resources": {"gpus": 0, "cpu": 2, "memory": "8Gi"}}),
    _case("internal", _to(visibility="internal", revision="v1", overwrite=True, commitMessage="one more")),
    _case("columns", {"columns": {"a b": "messages", "c": "system"}, "format": "messages", "maxBadRows": 7}),
    _case("a tokenizer", {"tokenizer": {"model": "Qwen/Qwen2.5-7B-Instruct", "maxLength": 4096}}),
)
