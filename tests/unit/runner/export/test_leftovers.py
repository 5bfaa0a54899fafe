"""What an export leaves on its volume, by how a step ends."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from swiftop.runner import causes
from swiftop.runner.classify import EndedChild
from swiftop.runner.export.program import Export
from swiftop.runner.output import Output
from swiftop.runner.program import Context, Ended
from swiftop.runner.protocol import FAILED, INTERRUPTED, ExportSettings, Owner, Plan
from swiftop.runner.record import Record
from swiftop.runner.redact import Redactor
from swiftop.runner.signals import Signals
from swiftop.runner.typed_json import to_json

OWNER = Owner("ModelExport", "team", "merged", "uid-1")
FULL = "Traceback (most recent call last):\nOSError: [Errno 28] No space left on device\n"


def export(directory: Path) -> Export:
    """One that merges an adapter."""
    source, output = directory / "checkpoint-2", directory / "out"
    source.mkdir(exist_ok=True)
    (source / "adapter_config.json").write_text("{}")
    (source / "adapter_model.safetensors").write_bytes(b"")
    settings = ExportSettings(source=str(source), model="/models/tiny", partial=str(output / "model.partial"))
    plan = Plan(
        program="export",
        owner=OWNER,
        attempt=1,
        command=("python", "-m", "swift.cli.export"),
        output_dir=str(output),
        settings=json.loads(json.dumps(to_json(settings))),
    )
    record = Record(output, uid="uid-1")
    return Export(
        Context(
            plan=plan,
            environ=dict(os.environ),
            rank=0,
            output=Output(Redactor(())),
            signals=Signals(),
            record=record,
        )
    )


def ended_merge(directory: Path, end: EndedChild, evidence: str = "") -> Ended | None:
    """Begin, merge half of it, and end."""
    program = export(directory)
    assert program.begin() is None
    step = next(program.steps())
    partial = directory / "out" / "model.partial"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"half")
    ended = program.judge(step, end, evidence)
    if ended is not None:
        program.conclude(ended)
    return ended


def test_half_a_model_does_not_keep_a_full_volume_full(tmp_path: Path) -> None:
    ended = ended_merge(tmp_path, EndedChild(exit_code=1), FULL)
    assert ended is not None
    assert (ended.outcome, ended.judged.cause) == (FAILED, causes.DISK_FULL)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["swiftop-export.json", "swiftop-run.json"]


def test_a_stop_leaves_it_to_the_next_execution(tmp_path: Path) -> None:
    """The grace period is short."""
    ended = ended_merge(tmp_path, EndedChild(exit_code=None, signal=15, forwarded=True))
    assert ended is not None
    assert ended.outcome == INTERRUPTED
    assert (tmp_path / "out" / "model.partial").exists()


@pytest.mark.parametrize("name", ["model", "model.partial"])
def test_what_another_export_has_there_stays(tmp_path: Path, name: str) -> None:
    (tmp_path / "out" / name).mkdir(parents=True)
    (tmp_path / "out" / "swiftop-run.json").write_text('{"uid": "uid-2", "epoch": 1, "executions": []}')
    program = export(tmp_path)
    ended = program.begin()
    assert ended is not None
    assert ended.judged.cause is causes.OUTPUT_OCCUPIED
    program.conclude(ended)
    assert (tmp_path / "out" / name).exists()


def test_an_execution_that_was_killed_is_told_by_the_next_one(tmp_path: Path) -> None:
    """Its pod may be gone with the node, and nobody else knows of it."""
    assert export(tmp_path).begin() is None
    assert export(tmp_path).begin() is None
    record = Record(tmp_path / "out", uid="uid-1")
    killed, running = record.load()["executions"]
    assert (killed["outcome"], killed["reason"], killed["end"] >= killed["start"]) == (INTERRUPTED, "Lost", True)
    assert "outcome" not in running
