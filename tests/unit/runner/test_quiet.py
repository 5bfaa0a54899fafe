"""A task that says nothing any more is ended, and no other."""

from __future__ import annotations

from pathlib import Path

from swiftop.runner.quiet import Quiet
from swiftop.runner.record import write_atomic
from swiftop.runner.task import Task


def test_only_a_task_that_is_silent_for_long_is_ended(tmp_path: Path) -> None:
    quiet, task = Quiet(longest=60), Task("template", "export.template", {}, tmp_path)
    assert quiet.check(0) is None
    quiet.begin(task)
    assert [quiet.check(now) for now in (1000, 1059)] == [None, None]
    quiet.hear()  # it printed something
    assert [quiet.check(now) for now in (1060, 1119)] == [None, None]
    write_atomic(tmp_path / "progress", b"{}")
    assert [quiet.check(now) for now in (1120, 1179)] == [None, None]
    assert quiet.check(1180) == "has said nothing for 1 minutes"
    quiet.begin(task)  # the next one
    assert quiet.check(1181) is None
