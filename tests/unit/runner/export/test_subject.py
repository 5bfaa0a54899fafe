"""What is exported is looked at before ms-swift, which follows links and loads pickles."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swiftop.runner.export import subject
from swiftop.runner.protocol import ExportSettings


def adapter(tmp_path: Path, uid: str = "u-1", **config: str) -> Path:
    path = tmp_path / "run" / "checkpoint-5"
    path.mkdir(parents=True)
    record = {"uid": uid, "epoch": 1, "executions": []}
    (path.parent / "swiftop-run.json").write_text(json.dumps(record))
    (path / "adapter_config.json").write_text(json.dumps(config))
    (path / "adapter_model.safetensors").write_bytes(b"")
    return path


def told(source: Path, *, model: str = "Qwen/Qwen3-8B", uid: str = "u-1") -> tuple[str, str] | None:
    found = subject.check(ExportSettings(source=str(source), model=model, partial="/x", uid=uid))
    return (found.cause.reason, found.message) if found else None


def test_a_checkpoint_of_the_run(tmp_path: Path) -> None:
    assert told(adapter(tmp_path)) is None


@pytest.mark.parametrize("uid", ["u-2", ""])
def test_a_checkpoint_of_another_run_is_none(tmp_path: Path, uid: str) -> None:
    source = adapter(tmp_path, uid="u-2")
    if not uid:
        (source.parent / "swiftop-run.json").unlink()
    reason, message = told(source) or ("", "")
    assert reason == "CheckpointMissing"
    assert message.endswith(f"holds {'the run of UID u-2' if uid else 'no run'}, not u-1")


def test_a_link_to_another_checkpoint_is_none(tmp_path: Path) -> None:
    source = adapter(tmp_path)
    link = source.parent / "checkpoint-9"
    link.symlink_to(source)
    assert told(link) == ("CheckpointMissing", f"{link} is a link, not a checkpoint of the run")


@pytest.mark.parametrize("name", ["preprocessor_config.json", "modeling_own.py", "anything"])
def test_a_link_out_of_the_folder_is_refused_before_ms_swift_copies_it(tmp_path: Path, name: str) -> None:
    source = adapter(tmp_path)
    (source / name).symlink_to("/proc/self/environ")
    reason, message = told(source) or ("", "")
    assert (reason, f"{name} leads out of {source}" in message) == ("WeightsMissing", True)


def test_so_is_one_of_the_model(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "x.py").symlink_to("/proc/self/environ")
    reason, _ = told(adapter(tmp_path), model=str(model)) or ("", "")
    assert reason == "WeightsMissing"


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    source = adapter(tmp_path)
    (source / "adapter_model.safetensors").rename(source / "adapter_model.bin")
    reason, message = told(source) or ("", "")
    assert (reason, "weights as pickle" in message) == ("WeightsMissing", True)


def test_without_a_base_nothing_could_be_verified(tmp_path: Path) -> None:
    reason, message = told(adapter(tmp_path), model="") or ("", "")
    assert (reason, message.endswith("names no base model: set source.base")) == ("ModelNotFound", True)


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000])
def test_a_configuration_that_cannot_be_read_is_the_adapter_s_fault(tmp_path: Path, content: str) -> None:
    source = adapter(tmp_path)
    (source / "adapter_config.json").write_text(content)
    reason, message = told(source, model="") or ("", "")
    assert (reason, "adapter_config.json is not" in message) == ("WeightsMissing", True)
