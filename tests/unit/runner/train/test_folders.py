"""A folder of rows that ms-swift would rename a file in, on a claim that is mounted read-only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swiftop.runner.train import folders


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As modelscope downloads a dataset; nothing there may be written, whoever runs the tests."""
    folder = tmp_path / "claim" / "alpaca"
    (folder / "data").mkdir(parents=True)
    for name in ("README.md", "dataset_infos.json", "data/train.jsonl"):
        (folder / name).write_text(name)
    monkeypatch.setattr(os, "access", lambda path, _mode: not Path(path).is_relative_to(tmp_path / "claim"))
    return folder


def test_it_is_read_through_a_view_without_that_file(rows: Path, tmp_path: Path) -> None:
    command = ("--dataset", f"{rows}:default#500", f"{rows}-more", str(rows), "--model", "x")
    view = tmp_path / "views" / "0" / "alpaca"
    for _ in range(2):  # a restarted container finds the view
        moved = folders.readable(command, [str(rows)], tmp_path / "views")
        assert moved == ("--dataset", f"{view}:default#500", f"{rows}-more", str(view), "--model", "x")
    assert sorted(str(path.relative_to(view)) for path in view.rglob("*")) == ["README.md", "data", "data/train.jsonl"]
    assert (view / "data" / "train.jsonl").read_text() == "data/train.jsonl"
    assert (rows / "dataset_infos.json").exists()


def test_what_ms_swift_can_read_as_it_is_stays(rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (rows / "dataset_infos.json").unlink()
    names = [str(rows), str(rows / "data" / "train.jsonl"), str(rows / "nowhere")]
    assert folders.readable(names, names, tmp_path / "views") == tuple(names)
    (rows / "dataset_infos.json").touch()
    monkeypatch.setattr(os, "access", lambda _path, _mode: True)
    assert folders.readable(names, names, tmp_path / "views") == tuple(names)
    assert not (tmp_path / "views").exists()
