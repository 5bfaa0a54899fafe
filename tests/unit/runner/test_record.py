"""The record keeps runs apart, fences executions and remembers the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swiftop.runner.record import KEEP, NAME, ForeignDirectory, Record, Superseded, write_atomic


def begin(directory: Path, *, uid: str = "u", attempt: int = 1, checkpoint: str | None = None) -> Record:
    record = Record(directory, uid=uid)
    record.load()
    record.begin(attempt=attempt, host="h", command=("a",), checkpoint=checkpoint)
    return record


def test_executions_are_counted_and_their_ends_kept(tmp_path: Path) -> None:
    begin(tmp_path).end(outcome="interrupted", reason="Interrupted", message="m", step=4)
    second = begin(tmp_path, attempt=2)
    data = json.loads((tmp_path / NAME).read_text())
    assert (second.epoch, data["epoch"], data["uid"], data["outcome"]) == (2, 2, "u", None)
    assert [e.get("outcome") for e in data["executions"]] == ["interrupted", None]
    assert second.finished is None


def test_a_finished_run_stays_finished(tmp_path: Path) -> None:
    begin(tmp_path).end(outcome="finished", reason="MaxSteps", message="m", step=20)
    again = Record(tmp_path, uid="u")
    again.load()
    assert again.finished == "MaxSteps"


def test_another_runs_directory_is_refused(tmp_path: Path) -> None:
    begin(tmp_path)
    with pytest.raises(ForeignDirectory):
        begin(tmp_path, uid="other")


def test_the_older_execution_is_fenced_off(tmp_path: Path) -> None:
    old = begin(tmp_path)
    old.check()
    begin(tmp_path)
    with pytest.raises(Superseded):
        old.check()
    before = (tmp_path / NAME).read_text()
    with pytest.raises(Superseded):
        old.end(outcome="finished", reason="MaxSteps", message="", step=1)
    assert (tmp_path / NAME).read_text() == before


def test_a_torn_file_is_an_empty_record(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"uid": "u", "ep')
    assert begin(tmp_path).epoch == 1


def test_other_nodes_join_the_execution_of_their_attempt(tmp_path: Path) -> None:
    other = Record(tmp_path, uid="u")
    other.load()
    assert not other.join(2)
    begin(tmp_path, attempt=1)
    other.load()
    assert not other.join(2)
    begin(tmp_path, attempt=2, checkpoint="checkpoint-8")
    other.load()
    assert other.join(2)
    assert (other.epoch, other.last_execution["checkpoint"]) == (2, "checkpoint-8")


def test_the_list_of_executions_is_bounded(tmp_path: Path) -> None:
    for _ in range(KEEP + 5):
        record = begin(tmp_path)
    assert (record.epoch, len(record.data["executions"])) == (KEEP + 5, KEEP)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    write_atomic(path, b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert path.read_bytes() == b"old"
