"""What a wrong value is answered with: what to write, in the words of YAML and of the fields."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.api.v1alpha1.datasetupload import DatasetUpload
from swiftop.api.v1alpha1.modelexport import ModelExport
from swiftop.errors import Invalid

EXPORT: dict[str, Any] = {"source": {"sftRunRef": {"name": "r"}}, "output": {"volume": {"size": "1Gi"}}}
UPLOAD: dict[str, Any] = {
    "source": {"configMap": {"name": "c", "key": "a.jsonl"}},
    "destination": {"hub": "modelscope", "repo": "me/chats"},
}


def told(model: Any, spec: dict[str, Any]) -> list[str]:
    resource = model.DEFINITION.resource
    obj = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "n"}, "spec": spec}
    with pytest.raises(Invalid) as caught:
        model.from_object(obj)
    return [str(problem) for problem in caught.value.problems]


LIST = "must be a list: start each item with - on a line of its own, or write [...]"


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"mergeDtype": "float16"}, "spec.mergeDtype: unknown field (did you mean dtype?)"),
        ({"source": {"sftRunRef": {"name": "r", "step": 4}}}, "unknown field (fields here: name, checkpoint)"),
        ({"push": [{"hub": "modelscope", "repo": "a/b", "private": True}]}, "(fields here: hub, repo, visibility, "),
        ({"push": {"hub": "modelscope", "repo": "me/x"}}, f"spec.push: {LIST}"),
        ({"push": [{"hub": "modelscope", "repo": "x"}]}, "'x' is too short: it needs at least 3 characters"),
        ({"source": {"sftRunRef": "r"}}, "must be a map of fields (write {name: r})"),
        ({"resources": {"memory": "4Gi"}}, "gpus: required value is missing (GPUs of each pod, each with a process"),
        ({"push": [{"hub": "modelscope"}]}, "repo: required value is missing (Repository, as owner/name. Created"),
        ({"merge": "true"}, "spec.merge: 'true' must be true or false, without quotes"),
        ({"merge": 1}, "spec.merge: 1 must be true or false"),
        ({"resources": {"gpus": "1"}}, "spec.resources.gpus: '1' must be a whole number, without quotes"),
        ({"resources": {"gpus": 1.5}}, "spec.resources.gpus: 1.5 must be a whole number"),
        ({"resources": {"gpus": 0, "memory": "64"}}, "'64' must be a size with its unit, for example 50Gi"),
        ({"resources": {"gpus": -1}}, "spec.resources.gpus: must be at least 0"),
        ({"quantization": {"method": "fp8", "samples": 10**9}}, "spec.quantization.samples: must be at most 100000"),
        (
            {"source": {"sftRunRef": {"name": "r", "checkpoint": "checkpoint-4"}}},
            "best (by its evaluation), or a step, as 508)",
        ),
    ],
)
def test_of_an_export(members: dict[str, Any], words: str) -> None:
    (message,) = told(ModelExport, {**EXPORT, **members})
    assert words in message


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"maxBadRows": "1%"}, "spec.maxBadRows: '1%' must be a whole number"),
        ({"columns": ["a"]}, "spec.columns: must be a map of fields"),
        (
            {"tokenizer": "Qwen/Qwen2.5-7B-Instruct"},
            "must be a map of fields (write {model: Qwen/Qwen2.5-7B-Instruct})",
        ),
    ],
)
def test_of_an_upload(members: dict[str, Any], words: str) -> None:
    (message,) = told(DatasetUpload, {**UPLOAD, **members})
    assert words in message
