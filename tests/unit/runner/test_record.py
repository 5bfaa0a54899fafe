"""The record keeps runs apart, fences executions and remembers the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swiftop.runner.record import KEEP, NAME, PAUSES, ForeignDirectory, Record, Superseded, Unreadable, write_atomic
from swiftop.runner.report import Previous


def begin(directory: Path, *, uid: str = "u", attempt: int = 1, checkpoint: str | None = None) -> Record:
    record = Record(directory, uid=uid)
    record.load()
    record.begin(
        attempt=attempt,
        pod={"pod": "p", "podName": "n"},
        command=("a",),
        start=checkpoint,
        step=8 if checkpoint else None,
    )
    return record


def test_executions_are_counted_and_their_ends_kept(tmp_path: Path) -> None:
    begin(tmp_path).end(outcome="interrupted", reason="Interrupted", message="m", step=4, kept_step=None)
    second = begin(tmp_path, attempt=2)
    data = json.loads((tmp_path / NAME).read_text())
    assert (second.epoch, data["epoch"], data["uid"], data["outcome"]) == (2, 2, "u", None)
    assert [e.get("outcome") for e in data["executions"]] == ["interrupted", None]
    assert second.finished is None


def test_a_finished_run_stays_finished(tmp_path: Path) -> None:
    begin(tmp_path).end(outcome="finished", reason="MaxSteps", message="m", step=20, kept_step=None)
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
        old.end(outcome="finished", reason="MaxSteps", message="", step=1, kept_step=None)
    assert (tmp_path / NAME).read_text() == before


@pytest.mark.parametrize(
    "text",
    ['{"uid": "u", "ep', "", "[]", '"u"', "{}", '{"uid": "u", "epoch": "x", "executions": []}'],
    ids=["torn", "empty", "list", "text", "no members", "no number"],
)
def test_a_damaged_file_is_no_empty_record(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is finished would be trained again, over another run's data perhaps."""
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    (tmp_path / NAME).write_text(text)
    with pytest.raises(Unreadable, match="damaged"):
        begin(tmp_path)
    assert (tmp_path / NAME).read_text() == text
    assert pauses == list(PAUSES)


def test_a_read_that_fails_for_a_moment_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path)
    real, failures = Path.read_bytes, [OSError(5, "Input/output error"), OSError(116, "Stale file handle")]

    def read(path: Path) -> bytes:
        if failures:
            raise failures.pop()
        return real(path)

    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(Path, "read_bytes", read)
    assert begin(tmp_path).epoch == 2


def test_a_file_that_may_not_be_read_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("swiftop.runner.record.read_json", refuse)
    with pytest.raises(PermissionError):
        begin(tmp_path)


def test_a_running_training_does_not_end_by_a_failed_read(tmp_path: Path) -> None:
    record = begin(tmp_path)
    (tmp_path / NAME).write_text("{torn")
    record.check()
    (tmp_path / NAME).unlink()
    record.check()


def test_of_two_that_start_at_the_same_moment_one_goes_on(tmp_path: Path) -> None:
    first, second = Record(tmp_path, uid="u"), Record(tmp_path, uid="u")
    for record in (first, second):
        record.load()
    for record in (first, second):
        record.begin(attempt=1, pod={"pod": "p", "podName": "n"}, command=("a",))
    assert first.epoch == second.epoch == 1
    second.check()
    with pytest.raises(Superseded):
        first.check()
    with pytest.raises(Superseded):
        first.end(outcome="finished", reason="MaxSteps", message="", step=1, kept_step=None)


def test_a_stop_of_any_node_is_seen_by_all_of_the_same_execution(tmp_path: Path) -> None:
    zero, other = begin(tmp_path), Record(tmp_path, uid="u")
    other.leave_stop()  # has joined nothing yet
    other.load()
    assert other.join(1)
    other.check()
    assert not zero.stop_left
    other.leave_stop()
    assert zero.stop_left
    assert not begin(tmp_path).stop_left
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


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


def test_the_end_of_the_execution_before_is_told(tmp_path: Path) -> None:
    first = begin(tmp_path)
    assert first.previous == ()
    first.end(outcome="interrupted", reason="Interrupted", message="m", step=9, kept_step=8)
    second = begin(tmp_path, checkpoint="/o/checkpoint-8")
    (told,) = second.previous
    assert (told.pod, told.reason, told.step, told.kept_step) == ("p", "Interrupted", 9, 8)
    again = Record(tmp_path, uid="u")
    again.load()
    assert [end.step for end in again.previous] == [9]  # the one after it still runs, or has left no end
    again.close(at=50.6, step=12, kept_step=None)
    again.begin(attempt=2, pod={"pod": "q", "podName": "n"}, command=("a",))
    assert again.previous == (told, Previous(pod="p", time=51, reason="Lost", step=12))
    lost = json.loads((tmp_path / NAME).read_text())["executions"][1]
    assert (lost["outcome"], lost["reason"], lost["checkpoint"]) == ("interrupted", "Lost", "/o/checkpoint-8")


def test_the_ends_of_this_attempt_and_of_the_one_before_it_are_told(tmp_path: Path) -> None:
    """Of older ones nobody knows any more which was answered by a retry. Three are enough to give up."""

    def told(attempt: int) -> list[int | None]:
        record = begin(tmp_path, attempt=attempt)
        record.end(outcome="interrupted", reason="Interrupted", message="", step=record.epoch, kept_step=None)
        return [end.step for end in record.previous]

    attempts = (1, 1, 2, 2, 3, 3, 3, 9)
    assert [told(attempt) for attempt in attempts] == [
        [], [1], [1, 2], [1, 2, 3], [3, 4], [3, 4, 5], [4, 5, 6], [7],
    ]  # fmt: skip


@pytest.mark.parametrize("value", [1e300, -1, "x", [], {}])
def test_an_odd_value_in_the_record_is_left_out(tmp_path: Path, value: object) -> None:
    begin(tmp_path).end(outcome="interrupted", reason="Interrupted", message="m", step=9, kept_step=8)
    data = json.loads((tmp_path / NAME).read_text())
    data["executions"][0]["step"] = value
    (tmp_path / NAME).write_text(json.dumps(data))
    (previous,) = begin(tmp_path).previous
    assert (previous.step, previous.kept_step) == (None, 8)
