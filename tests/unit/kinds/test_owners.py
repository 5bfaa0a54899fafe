"""A model id without its owner: ModelScope has none such, and a pod would find out after it has taken a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from swiftop.cli.preview import previews
from swiftop.errors import Invalid

EXPORT, SERVED = {"output": {"ephemeral": True}, "push": [{"hub": "modelscope", "repo": "me/x"}]}, {"engine": "vllm"}
RUN = {"datasets": [{"id": "a/d"}], "output": {"ephemeral": True}}
CLAIM = {"claimName": "c", "path": "x"}
UPLOAD = {
    "source": {"configMap": {"name": "c", "key": "a.jsonl"}},
    "destination": {"hub": "modelscope", "repo": "me/d"},
}
CASES: list[tuple[str, dict[str, Any], str]] = [
    ("SFTRun", {**RUN, "model": {"id": "m"}}, "model.id"),
    ("SFTRun", {**RUN, "model": {"id": "a/m", "adapters": [{"id": "m"}]}}, "model.adapters[0].id"),
    ("ModelExport", {**EXPORT, "source": {"id": "m"}}, "source.id"),
    ("ModelExport", {**EXPORT, "source": {"id": "a/m", "adapters": [{"id": "m"}]}}, "source.adapters[0].id"),
    ("ModelExport", {**EXPORT, "source": {"persistentVolumeClaim": CLAIM, "base": {"id": "m"}}}, "source.base.id"),
    ("ModelDeployment", {**SERVED, "model": {"id": "m"}}, "model.id"),
    (
        "ModelDeployment",
        {**SERVED, "model": {"id": "a/m"}, "adapters": [{"name": "tuned", "id": "m"}]},
        "adapters[0].id",
    ),
    ("DatasetUpload", {**UPLOAD, "tokenizer": {"model": "m"}}, "tokenizer.model"),
]


def told(kind: str, spec: dict[str, Any]) -> list[str]:
    gpus = {} if kind == "DatasetUpload" else {"resources": {"gpus": 1}}
    document = {"apiVersion": "swiftop.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": {**spec, **gpus}}
    try:
        list(previews(yaml.safe_dump(document)))
    except Invalid as error:
        return [f"{problem.path}: {problem.message}" for problem in error.problems]
    return []


@pytest.mark.parametrize(("kind", "spec", "field"), CASES, ids=[f"{kind}-{field}" for kind, _, field in CASES])
def test_an_id_without_its_owner(kind: str, spec: dict[str, Any], field: str) -> None:
    assert told(kind, spec) == [f"spec.{field}: 'm' has no owner, and on ModelScope every model has one"]


def test_hugging_face_has_a_few_without() -> None:
    for kind, spec in (
        ("SFTRun", {**RUN, "model": {"id": "gpt2", "hub": "huggingface"}}),
        ("ModelExport", {**EXPORT, "source": {"id": "gpt2", "hub": "huggingface"}}),
        ("ModelDeployment", {**SERVED, "model": {"id": "gpt2", "hub": "huggingface"}}),
        ("DatasetUpload", {**UPLOAD, "tokenizer": {"model": "gpt2", "hub": "huggingface"}}),
    ):
        assert told(kind, spec) == []
