"""A checkpoint of another run: what fits, what does not, and the flags that make ms-swift start from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from swiftop.runner.classify import Judged
from swiftop.runner.protocol import Source
from swiftop.runner.train import source
from tests.unit.runner.train.test_checkpoints import make

UID = "u-1"
ADAPTER = {
    "peft_type": "LORA",
    "r": 8,
    "base_model_name_or_path": "/swiftop/cache/modelscope/hub/models/Qwen/Qwen2___5-7B-Instruct",
}


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Output of another run: complete adapters of steps 4 and 8, saved by one process."""
    (tmp_path / "swiftop-run.json").write_text(json.dumps({"uid": UID, "epoch": 1, "executions": []}))
    for step in (4, 8):
        (make(tmp_path, step) / "adapter_config.json").write_text(json.dumps(ADAPTER))
    return tmp_path


def asked(other: Path, **changes: Any) -> Source:
    return replace(Source(str(other), UID, "lora", model="Qwen/Qwen2.5-7B-Instruct"), **changes)


def found(wanted: Source, *, world: int = 1, max_steps: int | None = None) -> int | tuple[str, str]:
    """Step of the checkpoint, or reason and message."""
    got = source.find(wanted, world, max_steps)
    return (got.cause.reason, got.message) if isinstance(got, Judged) else got.step


def test_the_newest_or_the_one_that_is_named(other: Path) -> None:
    assert found(asked(other)) == 8
    assert found(asked(other, step=4)) == 4


@pytest.mark.parametrize(
    ("changes", "world", "max_steps", "expected"),
    [
        ({"uid": "u-2"}, 1, None, ("CheckpointMissing", "holds the run of UID u-1")),
        ({"directory": "/nowhere"}, 1, None, ("CheckpointMissing", "holds no run")),
        ({"step": 5}, 1, None, ("CheckpointMissing", "checkpoint-5 is not a complete checkpoint")),
        ({}, 2, None, ("CheckpointUnfit", "lacks optimizer, scheduler or random state of its 2")),
        ({"step": 4}, 1, 4, ("CheckpointUnfit", "is of step 4, this run ends at step 4")),
        ({"tuner": "full"}, 1, None, ("CheckpointUnfit", "holds an adapter")),
        ({"rank": 16}, 1, None, ("CheckpointUnfit", "an adapter of rank 8")),
        ({"model": "Qwen/Qwen2.5-14B"}, 1, None, ("CheckpointUnfit", "was trained on qwen/qwen2.5-7b-instruct")),
    ],
)
def test_what_cannot_be_the_start(
    other: Path, changes: dict[str, Any], world: int, max_steps: int | None, expected: tuple[str, str]
) -> None:
    got = found(asked(other, **changes), world=world, max_steps=max_steps)
    assert isinstance(got, tuple)
    assert got[0] == expected[0]
    assert expected[1] in got[1]


def test_more_processes_than_this_run_has(other: Path) -> None:
    (make(other, 12, world=2) / "adapter_config.json").write_text(json.dumps(ADAPTER))
    assert found(asked(other), world=2) == 12
    got = found(asked(other))
    assert isinstance(got, tuple)
    assert "was saved by 2 processes" in got[1]


def test_an_adapter_of_another_type_and_all_weights_for_a_lora(other: Path) -> None:
    (other / "checkpoint-8" / "adapter_config.json").write_text(json.dumps({**ADAPTER, "peft_type": "IA3"}))
    assert "of type IA3" in found(asked(other))[1]  # type: ignore[index]
    (other / "checkpoint-8" / "adapter_config.json").unlink()
    assert "holds all weights" in found(asked(other))[1]  # type: ignore[index]
    assert found(asked(other, tuner="full")) == 8


def test_weights_alone_need_no_state(other: Path) -> None:
    (other / "checkpoint-8" / "optimizer.pt").unlink()
    assert found(asked(other, step=8))[0] == "CheckpointUnfit"  # type: ignore[index]
    assert found(asked(other)) == 4
    assert found(asked(other, weights_only=True), world=4, max_steps=5) == 8


@pytest.mark.parametrize("text", ["", "[]", "{", '{"r": "x", "peft_type": 5, "base_model_name_or_path": 7}'])
def test_a_config_that_cannot_be_read_is_left_to_ms_swift(other: Path, text: str) -> None:
    (other / "checkpoint-8" / "adapter_config.json").write_text(text)
    assert found(asked(other, rank=16)) == 8


@pytest.mark.parametrize(
    ("base", "model", "same"),
    [
        ("Qwen/Qwen2.5-7B", "qwen/Qwen2.5-7B", True),
        ("/c/huggingface/hub/models--Qwen--Qwen2.5-7B/snapshots/abc", "Qwen/Qwen2.5-7B", True),
        ("/c/huggingface/hub/models--Qwen--Qwen2.5-7B/snapshots/abc", "Qwen/Qwen2.5-14B", False),
        ("/swiftop/cache/modelscope/models/Qwen/Qwen2___5-7B", "Qwen/Qwen2.5-7B", True),
        ("/models/claim/anything", "Qwen/Qwen2.5-14B", True),  # cannot be told
        ("Qwen/Qwen2.5-7B", "/models/claim/anything", True),
    ],
)
def test_models_are_compared_by_name_where_both_have_one(other: Path, base: str, model: str, same: bool) -> None:
    config = {**ADAPTER, "base_model_name_or_path": base}
    (other / "checkpoint-8" / "adapter_config.json").write_text(json.dumps(config))
    assert (found(asked(other, model=model)) == 8) is same


def test_flags(other: Path) -> None:
    got = source.find(asked(other), 1, None)
    assert not isinstance(got, Judged)
    whole = ("--resume_from_checkpoint", str(other / "checkpoint-8"))
    only = (*whole, "--resume_only_model", "true", "--ignore_data_skip", "true")
    assert source.flags(asked(other), got) == whole
    assert source.flags(asked(other, weights_only=True), got) == only
    (other / "checkpoint-8" / "args.json").write_text('{"model_type": "qwen2_5"}')
    assert source.flags(asked(other, weights_only=True), got) == only
    full = source.flags(asked(other, weights_only=True, tuner="full"), got)
    assert full == (*only, "--model_type", "qwen2_5")
