"""The modules that a model has, for a tuner that asked for others."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swiftop.runner.train.modules import linear_modules

LAYER = "model.layers.0."
TENSORS = [
    f"{LAYER}self_attn.q_proj.weight",
    f"{LAYER}self_attn.q_proj.bias",
    f"{LAYER}mlp.down_proj.weight",
    f"{LAYER}input_layernorm.weight",
    "model.embed_tokens.weight",
    "lm_head.weight",
]


def safetensors(names: list[str]) -> bytes:
    header = json.dumps({name: {} for name in names}).encode()
    return struct.pack("<Q", len(header)) + header


def test_of_one_file(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(safetensors(TENSORS))
    assert linear_modules(("--model", str(tmp_path), "--seed", "1")) == ["down_proj", "q_proj"]


def test_of_several(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": dict.fromkeys(TENSORS, "x")}))
    assert linear_modules(("--model", str(tmp_path))) == ["down_proj", "q_proj"]


@pytest.mark.parametrize("command", [(), ("--model",), ("--model", "Qwen/Qwen2.5-7B"), ("--model", "/nowhere")])
def test_a_model_that_is_no_folder_tells_none(command: tuple[str, ...]) -> None:
    assert linear_modules(command) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(), st.binary())
def test_any_files(tmp_path: Path, index: bytes, weights: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(weights)
    assert linear_modules(("--model", str(tmp_path))) == []
    (tmp_path / "model.safetensors.index.json").write_bytes(index)
    assert linear_modules(("--model", str(tmp_path))) == []
    (tmp_path / "model.safetensors.index.json").unlink()
