"""What quantization by the real ms-swift leaves, and what the task that looks at it says of it and of damaged ones."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from tests.swift_versions.environments import environment

LAST, FIRST = "model.layers.1.mlp.down_proj", "model.layers.0.mlp.down_proj"
ROUNDING = "values differ by more than rounding to fewer bits"


@functools.cache
def results() -> dict[str, Any]:
    """All cases, in one process."""
    output = environment("4.6-bitsandbytes").run("tests/swift_versions/quantize_tasks.py", fresh=True)
    found: dict[str, Any] = json.loads(output.rpartition("RESULTS\n")[2])
    return found


# Of 27 weights 14 are quantized; 6 biases, 4 norms of blocks, and 3 tensors outside of them are not.
COMPARED = {"bnb-4": 27, "bnb-8": 27, "bnb-fp4": 27, "fp8-bfloat16": 27, "fp8-float16": 27, "gptq": 13, "column": 13,
            "awq": 3}  # fmt: skip


@pytest.mark.parametrize("name", COMPARED)
def test_a_quantized_model_is_compared_with_the_one_that_it_was_made_of(name: str) -> None:
    found = results()["good"][name]
    assert "refused" not in found, found
    assert (found["quantized"], found["compared"], found["notes"]) == (14, COMPARED[name], [])


def test_its_type_is_that_of_the_weights_that_are_not_quantized() -> None:
    assert results()["good"]["finish"] == {"dtype": "bfloat16", "removed": []}


WRONG = {
    "fp8-factor": f"tensor {LAST}.weight is not that of the verified model",
    "fp8-swapped": ROUNDING,
    "fp8-no-factor": f"tensor {LAST}.weight_scale_inv is missing",
    "fp8-norm": "tensor model.layers.0.input_layernorm.weight is not quantized, but is not that of the verified model",
    "fp8-dropped": f"tensor {LAST}.weight is missing",
    "bnb-4-swapped": f"tensor {FIRST}.weight is not that of the verified model",
    "bnb-8-factor": ROUNDING,
    "bnb-other-bits": "says load_in_4bit False, not True",
    "bnb-other-type": "says bnb_4bit_quant_type nf4, not fp4",
    "gptq-other-group": "says group_size 64, not 128",
    "gptq-other-version": "says checkpoint_format None, not gptq_v2",
    "gptq-cut": f"tensor {LAST}.qweight of the shape [35, 256] does not fit a weight of [256, 384]",
    "awq-no-scales": f"tensor {LAST}.scales is missing",
    "not-quantized": "config.json has no quantization_config",
    "says-so-only": "no weight is quantized",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_one_is_refused_and_what_is_wrong_is_named(name: str) -> None:
    found = results()["wrong"][name]
    assert found.get("refused") == "VerificationFailed", found
    assert WRONG[name] in found["message"]


@pytest.mark.parametrize(("method", "package"), [("awq", "autoawq"), ("gptq", "optimum"), ("fp8", "triton")])
def test_a_package_that_is_missing_is_told_before_the_merge(method: str, package: str) -> None:
    found = results()["packages"][method]
    assert found["refused"] == "PackageMissing"
    assert f"quantization with {method} needs {package} (ModuleNotFoundError" in found["message"]


def test_what_is_there_has_its_version_told_and_a_quantized_model_is_refused() -> None:
    assert results()["packages"]["bnb"]["packages"].keys() == {"bitsandbytes", "accelerate"}
    again = results()["packages"]["again"]
    assert again["refused"] == "QuantizationUnsupported"
    assert "already quantized, by bitsandbytes" in again["message"]
