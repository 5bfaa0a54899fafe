"""Every quantization that swiftop renders is accepted by the parser of the real ms-swift, and means what the spec says.

What a release does not have, swiftop refuses itself: its parser is asked for that too.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.modelexport import ModelExport
from swiftop.errors import Invalid
from swiftop.kinds.modelexport.command import PROGRAM
from swiftop.kinds.modelexport.prepare import prepare
from swiftop.model.kind import World
from swiftop.swift.releases import SUPPORTED
from tests.swift_versions.test_acceptance import ENVIRONMENTS, ready

ROWS = {"persistentVolumeClaim": {"claimName": "data", "path": "chats.jsonl"}, "sample": 100}
HUB_ROWS = {"id": "me/chats", "revision": "v1", "subsets": ["a", "b"]}
CALIBRATED: dict[str, Any] = {"datasets": [ROWS]}
FLAGS_OF_ROWS = {"dataset": ["/data/data/chats.jsonl#100"], "max_length": 2048, "torch_dtype": "float16"}
# One process registers a dataset once, so that one case alone may have it.
PINNED = {
    "dataset": ["/data/data/chats.jsonl#100", "me/chats@v1:a/b"],
    "custom_dataset_info": ['[{"dataset_name": "me/chats@v1", "ms_dataset_id": "me/chats", "ms_revision": "v1"}]'],
}
# By name: spec.quantization, dtype, and what the arguments have to be.
CASES: dict[str, tuple[dict[str, Any], str | None, dict[str, Any]]] = {
    "awq": ({"method": "awq", "bits": 4, "datasets": [ROWS, HUB_ROWS]}, None, {"quant_bits": 4, "config": None,
            **FLAGS_OF_ROWS, **PINNED}),
    "awq-all": (
        {"method": "awq", "bits": 4, "groupSize": 64, "samples": 32, "batchSize": 2, "maxLength": 512, **CALIBRATED},
        "float16",
        {**FLAGS_OF_ROWS, "group_size": 64, "quant_n_samples": 32, "quant_batch_size": 2, "max_length": 512},
    ),
    "gptq": ({"method": "gptq", "bits": 3, **CALIBRATED}, None, {"quant_bits": 3, "config": None, **FLAGS_OF_ROWS}),
    "gptq-column": ({"method": "gptq", "bits": 8, "groupSize": -1, **CALIBRATED}, "bfloat16", {"group_size": -1,
                    "torch_dtype": "bfloat16"}),
    "gptq_v2": ({"method": "gptq_v2", "bits": 2, **CALIBRATED}, None, {"quant_bits": 2, **FLAGS_OF_ROWS}),
    "bnb-4": ({"method": "bnb", "bits": 4}, None, {"quant_bits": 4, "config": "BitsAndBytesConfig"}),
    "bnb-8": ({"method": "bnb", "bits": 8}, "float16", {"quant_bits": 8, "torch_dtype": "float16"}),
    "bnb-all": (
        {"method": "bnb", "bits": 4, "quantType": "fp4", "doubleQuant": False, "computeType": "float16"},
        "bfloat16",
        {"bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": False, "bnb_4bit_compute_dtype": "float16"},
    ),
    "fp8": ({"method": "fp8"}, "bfloat16", {"config": "FineGrainedFP8Config", "torch_dtype": "bfloat16"}),
}  # fmt: skip
LACKING = {"3.7": {"gptq_v2"}}


def export_of(name: str, version: str) -> ModelExport:
    quantization, dtype, _ = CASES[name]
    spec = {
        "source": {"id": "Qwen/Qwen2.5-0.5B-Instruct", "type": "qwen2"},
        "output": {"volume": {"size": "5Gi"}},
        "quantization": quantization,
        "resources": {"gpus": 1},
        "runtime": {"image": "x/y:1", "swiftVersion": version},
        **({"dtype": dtype} if dtype else {}),
    }
    meta = {"name": "merged", "namespace": "team", "uid": "0f3a1c9e-5d1b-4e0a-9a55-0c1d2e3f4a5b"}
    return ModelExport.from_object(
        {"apiVersion": "swiftop.dev/v1alpha1", "kind": "ModelExport", "metadata": meta, "spec": spec}
    )


def argv(name: str, version: str) -> list[str]:
    """Behind ``python -m swift.cli.export``, with the output below /tmp."""
    command = prepare(export_of(name, version), World(defaults=Defaults(), runner_config_map="r")).quantize
    assert command[:3] == ("python", "-m", PROGRAM)
    return [word.replace("/swiftop/output", "/tmp/output") for word in command[3:]]


@functools.cache
def resolved(environment: str) -> dict[str, dict[str, Any]]:
    """All cases of a release, in one process; those that it lacks as another one renders them."""
    version = ENVIRONMENTS[environment]
    lacking = LACKING.get(version, set())
    commands = [argv(name, SUPPORTED[-1] if name in lacking else version) for name in CASES]
    output = ready(environment).run("tests/swift_versions/accept_export.py", stdin=json.dumps(commands))
    return dict(zip(CASES, json.loads(output.rpartition("RESULTS\n")[2]), strict=True))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_accepted_and_meant(environment: str, name: str) -> None:
    found, (quantization, _, meant) = resolved(environment)[name], CASES[name]
    if name in LACKING.get(ENVIRONMENTS[environment], ()):
        assert found == {"error": "exit 2"}
        return
    assert "error" not in found, found["error"]
    assert (found["quant_method"], found["merges"]) == (quantization["method"], False)
    assert {key: found[key] for key in meant} == meant


@pytest.mark.parametrize(("version", "name"), [(version, name) for version, names in LACKING.items() for name in names])
def test_what_a_release_lacks_is_refused_before_a_pod_starts(version: str, name: str) -> None:
    with pytest.raises(Invalid, match=r"does not take 'gptq_v2' for --quant_method.*use one of awq, gptq, bnb, fp8"):
        argv(name, version)
