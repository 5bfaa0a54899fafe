"""The tasks of an export on what the real ``swift export`` and real trainings leave."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from tests.fakes import tiny_model
from tests.swift_versions.environments import environment

LAST = "model.layers.1.mlp.down_proj.weight"
TOLERANCES = {"float16": 0.01, "bfloat16": 0.1, "float32": 1e-4}  # for logits of random weights


@functools.cache
def results() -> dict[str, Any]:
    """All cases, in one process."""
    output = environment("4.6").run("tests/swift_versions/export_tasks.py")
    found: dict[str, Any] = json.loads(output.rpartition("RESULTS\n")[2])
    return found


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_a_merged_adapter_is_verified_by_a_forward_pass(dtype: str) -> None:
    found = results()["merged"][f"plain-{dtype}"]
    verified = found["forward"]
    assert (verified["method"], verified["dtype"], verified["notes"]) == ("forward", dtype, [])
    assert verified["tensors"] == verified["compared"] > 20
    passed = verified["forward"]
    assert passed["largest"] <= TOLERANCES[dtype] < passed["effect"]
    assert passed["agreement"] == 1
    assert verified["phases"] == ["Verifying", "VerifyingForward"]


@pytest.mark.parametrize("name", ["stabilized", "embedding"])
def test_every_form_of_lora_is_calculated(name: str) -> None:
    verified = results()["merged"][f"{name}-bfloat16"]["forward"]
    assert (verified["method"], verified["notes"]) == ("forward", [])
    assert verified["tensors"] == verified["compared"]


@pytest.mark.parametrize("method", ["forward", "sampled"])
def test_a_merge_that_changes_a_shared_weight_for_both_its_uses_fails(method: str) -> None:
    """The adapter changes the embedding alone; ms-swift merges it into the tensor that is the head as well."""
    found = results()["merged"]["embedding-lora-bfloat16"][method]
    assert found.get("refused") == "VerificationFailed", found
    assert "changes model.embed_tokens.weight, which the model shares between input and output" in found["message"]


def test_the_weights_of_dora_are_left_to_the_forward_pass() -> None:
    found = results()["merged"]["dora-bfloat16"]
    note = "4 weights not compared one by one: DoRA"
    assert (found["forward"]["method"], found["forward"]["notes"]) == ("forward", [note])
    assert found["forward"]["compared"] == found["forward"]["tensors"] - 4
    assert (found["sampled"]["method"], found["sampled"]["notes"]) == ("sampled", [note])


@pytest.mark.parametrize("name", ["turned", "two"])
def test_weights_that_lie_turned_and_several_adapters_are_calculated(name: str) -> None:
    verified = results()["by_peft"][name]
    assert (verified.get("method"), verified.get("notes")) == ("forward", []), verified
    assert verified["tensors"] == verified["compared"]
    assert results()["by_peft"]["two-of-one"]["refused"] == "VerificationFailed"


def test_an_adapter_that_rounding_loses_is_told() -> None:
    verified = results()["merged"]["tiny-change-bfloat16"]["forward"]
    assert verified["adapterKept"] < 0.9
    assert any(note.startswith("rounding loses ") for note in verified["notes"])


@pytest.mark.parametrize("name", ["plain-float16", "plain-bfloat16", "plain-float32", "stabilized-bfloat16"])
def test_chosen_tensors_agree_with_the_forward_pass(name: str) -> None:
    verified = results()["merged"][name]["sampled"]
    assert (verified["method"], verified["notes"]) == ("sampled", [])
    assert verified["adapterKept"] == pytest.approx(1, abs=0.02)


def test_files_of_a_merged_model_are_made_readable_and_its_machine_forgotten() -> None:
    found = results()["merged"]["plain-bfloat16"]
    assert found["mode"] == "0o600"  # what ms-swift leaves
    assert found["finish"]["removed"] == ["args.json"]
    assert found["finish"]["dtype"] == "bfloat16"
    assert found["left"] == [file["path"] for file in found["finish"]["files"]] == [
        "README.md", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
        "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip


TAMPERED = {
    "nudged": f"tensor {LAST} is not base plus adapter: 1 of 8192 values differ by more than rounding, by 0.02 at most",
    "nudged-sampled": f"tensor {LAST} is not base plus adapter",
    "forgotten": f"tensor {LAST} is not base plus adapter",
    "nan": "tensor model.norm.weight has 1 NaN and 0 infinite values",
    "wide": "tensor model.norm.weight is F32, not BF16",
    "dropped": f"tensor {LAST} is missing",
    "norm": "tensor model.norm.weight is not the base's: 64 of 64 values differ, by 0.25 at most",
    "cut": "model.safetensors has",
    "tokenizer": "the tokenizer cannot be loaded",
    "config": "config.json cannot be loaded",
    "called-quantized": "config.json says that it is quantized, and a merge is in full precision",
    "wrong-adapter": " is not ",
    "wrong-type": " is BF16, not F16",
    "empty": "has no weights",
    "nothing-compared": "nothing of it could be compared with the base",
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_model_fails_and_what_is_wrong_is_named(name: str) -> None:
    found = results()["tampered"][name]
    assert found.get("refused") == "VerificationFailed", found
    assert TAMPERED[name] in found["message"]


def test_a_file_that_is_a_link_out_of_the_checkpoint_is_not_copied() -> None:
    found = results()["full"]["linked"]
    assert found.get("refused") == "WeightsMissing", found
    assert "special.json leads out of" in found["message"]


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((dtype, dtype) for dtype in TOLERANCES), ("as-the-base", "bfloat16")],
)
def test_a_full_tuned_checkpoint_is_converted_and_every_tensor_compared(name: str, dtype: str) -> None:
    found = results()["full"][name]
    converted, verified = found["convert"], found["verify"]
    assert (converted["dtype"], found["config"]) == (dtype, dtype)
    assert converted["converted"] == (0 if dtype == "float32" else converted["tensors"])
    assert (verified["method"], verified["compared"]) == ("equal", converted["tensors"])
    assert found["loaded"] == f"torch.{dtype} [] []"
    shards = [name for name in found["files"] if name.startswith("model-")]
    assert len(shards) == converted["shards"] > 1
    assert [name for name in found["files"] if name not in shards] == [
        "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors.index.json",
        "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip


@pytest.mark.parametrize("case", ["tampered", "called-quantized"])
def test_a_converted_checkpoint_with_another_tensor_fails(case: str) -> None:
    found = results()["full"][case]
    assert found["refused"] == "VerificationFailed"
    assert f"tensor {LAST} is not the checkpoint's: 1 of 8192 values differ" in found["message"]


def test_deepspeeds_own_shards_are_refused_with_what_to_do() -> None:
    found = results()["full"]["deepspeed"]
    assert found["refused"] == "WeightsMissing"
    assert "zero_to_fp32.py" in found["message"]


def test_an_adapter_is_published_without_what_belongs_to_the_training() -> None:
    found = results()["adapter"]
    assert found["files"] == ["adapter_config.json", "adapter_model.safetensors"]
    assert (found["base"], found["baseByPath"]) == ("Qwen/Qwen2.5-0.5B-Instruct", tiny_model.MODEL_NAME)
    assert (found["verify"]["method"], found["verify"]["compared"]) == ("equal", found["convert"]["tensors"])
