"""The smallest valid SFTRun, and patches to it that many cases are made of."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.apiserver.cases import Case, Patch

MINIMAL: Patch = {
    "apiVersion": "swiftop.dev/v1alpha1",
    "kind": "SFTRun",
    "metadata": {"name": "minimal", "namespace": "default"},
    "spec": {
        "model": {"id": "Qwen/Qwen2.5-7B-Instruct"},
        "datasets": [{"id": "CodyWhy/mh-sharegpt-20250820"}],
        "output": {"volume": {"size": "50Gi"}},
        "resources": {"gpus": 1},
    },
}

case = partial(Case, base=MINIMAL)


def training(**fields: Any) -> Patch:
    """Members of spec.training."""
    return {"training": fields}


def arg(name: str, **value: Any) -> Patch:
    """One flag of spec.extraArgs."""
    return {"extraArgs": [{"name": name, **(value or {"value": "x"})}]}


def env(name: str) -> Patch:
    """One variable of spec.runtime.env."""
    return {"runtime": {"env": [{"name": name, "value": "x"}]}}


def dataset(**source: Any) -> Patch:
    """One dataset, in place of all."""
    return {"datasets": [source]}


def starting_from(name: str | None = "first", step: int | None = None, **members: Any) -> Patch:
    """``checkpoints.from`` a run."""
    ref = {key: value for key, value in (("name", name), ("step", step)) if value is not None}
    return {"checkpoints": {"from": {"sftRunRef": ref, **members}}}


CLAIM = {"claimName": "data", "path": "chats/train.jsonl"}
FLASH = {"attention": "flash_attn", "maxLength": 2048}
DS_JSON = {"configMap": {"name": "deepspeed", "key": "ds.json"}}
OTHER_JSON = {"configMap": {"name": "deepspeed", "key": "other.json"}}
