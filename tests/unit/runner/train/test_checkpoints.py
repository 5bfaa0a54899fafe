"""Only a checkpoint from which ms-swift really resumes counts."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from swiftop.runner.train import checkpoints

STATE: dict[str, Any] = {
    "best_metric": None,
    "best_model_checkpoint": None,
    "epoch": 0.5,
    "global_step": 0,
    "log_history": [],
    "max_steps": 20,
}


def make(directory: Path, step: int, *, world: int = 1, **state: Any) -> Path:
    path = directory / f"checkpoint-{step}"
    path.mkdir(parents=True)
    ranks = ["rng_state.pth"] if world == 1 else [f"rng_state_{rank}.pth" for rank in range(world)]
    for name in ["adapter_model.safetensors", "optimizer.pt", "scheduler.pt", *ranks]:
        (path / name).write_bytes(b"x")
    text = json.dumps({**STATE, "global_step": step, **state}, indent=2, sort_keys=True) + "\n"
    (path / "trainer_state.json").write_text(text)
    return path


def found(directory: Path, world: int = 1, *, resumable: bool = True) -> int | None:
    newest = checkpoints.find(directory, world_size=world, resumable=resumable)
    return newest.step if newest else None


def test_the_newest_one_by_number_not_by_name(tmp_path: Path) -> None:
    for step in (9, 10, 2):
        make(tmp_path, step)
    (tmp_path / "last-checkpoint").symlink_to("checkpoint-9")
    (tmp_path / "checkpoint-x").mkdir()
    assert found(tmp_path) == 10
    assert found(tmp_path / "none") is None


@pytest.mark.parametrize("missing", ["trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_an_incomplete_one_is_passed_over(tmp_path: Path, missing: str) -> None:
    make(tmp_path, 4)
    (make(tmp_path, 8) / missing).unlink()
    assert found(tmp_path) == 4


@pytest.mark.parametrize("empty", ["adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_one_with_an_empty_file_is_passed_over(tmp_path: Path, empty: str) -> None:
    make(tmp_path, 4)
    (make(tmp_path, 8) / empty).write_bytes(b"")
    assert found(tmp_path) == 4
    assert found(tmp_path, resumable=False) == (4 if empty.startswith("adapter") else 8)


@pytest.mark.parametrize("metric", ["NaN", "Infinity", "1.5"])
def test_a_metric_that_is_no_number_is_none(tmp_path: Path, metric: str) -> None:
    state = make(tmp_path, 8, best_model_checkpoint=f"{tmp_path}/checkpoint-8") / "trainer_state.json"
    state.write_text(state.read_text().replace('"best_metric": null', f'"best_metric": {metric}'))
    newest = checkpoints.find(tmp_path, world_size=1, resumable=True)
    assert newest is not None
    assert (newest.step, newest.best_metric) == (8, 1.5 if metric == "1.5" else None)


@pytest.mark.parametrize("call", ["is_dir", "stat", "iterdir", "opened"])
@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.ENOENT])
def test_a_volume_that_fails_for_a_moment_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    make(tmp_path, 4)

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(checkpoints if call == "opened" else Path, call, fail)
    assert found(tmp_path) is None


def test_a_save_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    make(tmp_path, 4)
    state = make(tmp_path, 8) / "trainer_state.json"
    state.write_text(state.read_text()[:40])
    assert found(tmp_path) == 4
    (make(tmp_path, 12) / checkpoints.INCOMPLETE_MARK).touch()
    assert found(tmp_path) == 4


def test_every_rank_must_have_saved(tmp_path: Path) -> None:
    path = make(tmp_path, 4, world=3)
    assert found(tmp_path, 3) == 4
    assert found(tmp_path, 4) is None
    (path / "rng_state_1.pth").unlink()
    assert found(tmp_path, 3) is None


def test_a_model_without_optimizer_counts_where_nothing_resumes(tmp_path: Path) -> None:
    (make(tmp_path, 4) / "optimizer.pt").unlink()
    assert found(tmp_path) is None
    assert found(tmp_path, resumable=False) == 4


def test_deepspeed_has_its_own_folder(tmp_path: Path) -> None:
    path = make(tmp_path, 4, world=2)
    (path / "optimizer.pt").unlink()
    (path / "latest").write_text("global_step4")
    assert found(tmp_path, 2) is None
    folder = path / "global_step4"
    folder.mkdir()
    for rank in range(2):
        assert found(tmp_path, 2) is None
        (folder / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").write_bytes(b"x")
    assert found(tmp_path, 2) == 4


def test_the_best_one_is_told(tmp_path: Path) -> None:
    make(tmp_path, 8, best_model_checkpoint=f"/elsewhere/{tmp_path.name}/checkpoint-4", best_metric=1.5)
    newest = checkpoints.find(tmp_path, world_size=1, resumable=True)
    assert newest is not None
    assert (newest.best_step, newest.best_metric, newest.max_steps) == (4, 1.5, 20)


def history(steps: int) -> list[dict[str, Any]]:
    """A line of the training and one of an evaluation at each step, as ms-swift logs them."""
    lines = [[{"loss": 1.0, "step": step}, {"eval_loss": 10 - step / 100, "step": step}] for step in range(steps)]
    return [line for pair in lines for line in pair]


@pytest.mark.parametrize("steps", [3, 5000])
def test_the_evaluation_loss_is_that_of_the_last_evaluation_up_to_the_step(tmp_path: Path, steps: int) -> None:
    make(tmp_path, 8, log_history=history(2))
    best = str(tmp_path / "checkpoint-8")
    make(tmp_path, 12, log_history=[*history(steps), {"loss": 0.5, "step": 12}], best_model_checkpoint=best)
    found = checkpoints.find(tmp_path, world_size=1, resumable=True)
    assert found is not None
    assert (found.eval_loss, found.best_eval_loss) == (10 - (steps - 1) / 100, 9.99)


@pytest.mark.parametrize("lines", [[], [{"loss": 1.0}], [{"eval_loss": float("nan")}], [{"eval_loss": "low"}]])
def test_without_an_evaluation_there_is_no_loss(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    make(tmp_path, 8, log_history=lines)
    found = checkpoints.find(tmp_path, world_size=1, resumable=True)
    assert found is not None
    assert found.eval_loss is None


def test_a_long_history_is_not_read_whole(tmp_path: Path) -> None:
    history = [{"loss": 1.0, "step": n, "global_step": 77} for n in range(10000)]
    path = (
        make(tmp_path, 8, log_history=history, best_model_checkpoint=f"{tmp_path}/checkpoint-4", best_metric=0.25)
        / "trainer_state.json"
    )
    assert path.stat().st_size > checkpoints.WHOLE
    newest = checkpoints.find(tmp_path, world_size=1, resumable=True)
    assert newest is not None
    assert (newest.step, newest.max_steps, newest.best_step, newest.best_metric) == (8, 20, 4, 0.25)
    path.write_text(path.read_text()[:-2])
    assert found(tmp_path) is None


def test_a_save_in_progress_is_seen_growing_and_an_old_rest_is_not(tmp_path: Path) -> None:
    make(tmp_path, 4)
    assert checkpoints.saving(tmp_path, 0) is None
    part = tmp_path / "checkpoint-8"
    part.mkdir()
    first = checkpoints.saving(tmp_path, 0)
    (part / "model.safetensors").write_bytes(b"xx")
    assert first == ("checkpoint-8", 0, 0)
    assert checkpoints.saving(tmp_path, 0) == ("checkpoint-8", 1, 2)
    os.utime(part, (100, 100))
    assert checkpoints.saving(tmp_path, 200) is None


def test_the_best_of_another_run_is_not_this_ones(tmp_path: Path) -> None:
    make(tmp_path, 8, best_model_checkpoint="/swiftop/output/other/checkpoint-4", best_metric=1.5)
    newest = checkpoints.find(tmp_path, world_size=1, resumable=True)
    assert newest is not None
    assert (newest.best_step, newest.best_metric) == (None, None)
