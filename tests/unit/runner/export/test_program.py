"""The program of an export, step by step: what each is asked for, and which tokens it sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swiftop.runner.classify import EndedChild
from swiftop.runner.export.program import Export
from swiftop.runner.output import Output
from swiftop.runner.program import Context, Step
from swiftop.runner.protocol import ExportSettings, ExportTarget, Owner, Plan
from swiftop.runner.record import Record
from swiftop.runner.redact import Redactor
from swiftop.runner.signals import Signals
from swiftop.runner.typed_json import to_json

READ, WRITE = "MODELSCOPE_API_TOKEN", "SWIFTOP_PUSH_TOKEN_0"
TARGETS = (ExportTarget("modelscope", "me/a", WRITE),)
DIGEST = "d" * 64


class Bench:
    """One execution, driven by hand; its tasks are played."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        wanted = ExportSettings(
            **{"source": "", "model": "me/base", "partial": str(directory / "model.partial"), **settings}
        )
        plan = Plan(
            program="export",
            owner=Owner("ModelExport", "team", "merged", "uid-1"),
            attempt=1,
            command=("swift", "export"),
            output_dir=str(directory),
            settings=json.loads(json.dumps(to_json(wanted))),
            secret_env=(READ, WRITE),
        )
        environ = {READ: "read", WRITE: "write"}
        record = Record(directory, uid="uid-1")
        self.program = Export(
            Context(plan=plan, environ=environ, rank=0, output=Output(Redactor(())), signals=Signals(), record=record)
        )

    def run(self, answers: dict[str, dict[str, Any]]) -> list[Step]:
        done = []
        for step in self.program.steps():
            done.append(step)
            if step.name in ("merge", "convert"):
                (self.directory / "model.partial").mkdir()
            if step.name != "merge":
                Path(step.command[-1], "result").write_text(json.dumps(answers.get(step.name, {})))
            assert self.program.judge(step, EndedChild(exit_code=0), "") is None
        return done


def request(step: Step) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(step.command[-1], "request").read_text())
    return found


def sees(step: Step) -> set[str]:
    return {READ, WRITE} - step.without


@pytest.mark.parametrize("adapter", ["", "me/lora"])
def test_code_of_a_model_runs_without_any_token_and_what_is_published_is_what_was_verified(
    tmp_path: Path, adapter: str
) -> None:
    folders = {"folders": {"me/base": "/cache/base", "me/lora": "/cache/lora"}}
    bench = Bench(tmp_path, adapter=adapter, targets=TARGETS)
    steps = bench.run({"fetch": folders, "finish": {"digest": DIGEST, "bytes": 1, "dtype": "float16"}})
    made = ["merge", "template", "fetch"] if adapter else ["fetch", "convert", "template"]
    names = ["check of modelscope:me/a", *made, "verify", "finish", "push to modelscope:me/a"]
    assert [step.name for step in steps] == names
    by_name = {step.name: step for step in steps}
    reading = {"fetch", "merge"} & by_name.keys()
    writing = {name for name in names if name.endswith("me/a")}
    for step in steps:
        assert sees(step) == ({READ} if step.name in reading else {WRITE} if step.name in writing else set()), step.name
    verified = request(by_name["verify"])
    if adapter:
        assert (verified["base"], verified["adapters"]) == ("/cache/base", ["/cache/lora"])
    else:
        assert request(by_name["convert"])["checkpoint"] == verified["checkpoint"] == "/cache/base"
    assert request(by_name["push to modelscope:me/a"])["digest"] == DIGEST


def test_from_volumes_no_token_is_read_with(tmp_path: Path) -> None:
    for name in ("source", "base"):
        (tmp_path / name).mkdir()
    bench = Bench(tmp_path, source=str(tmp_path / "source"), model=str(tmp_path / "base"))
    steps = bench.run({})
    assert [(step.name, sees(step)) for step in steps] == [
        ("convert", set()), ("template", set()), ("verify", set()), ("finish", set()),
    ]  # fmt: skip


def test_a_link_in_the_place_of_the_result_is_removed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").write_text("")
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.partial").symlink_to(other)
    (out / "model").symlink_to(other)
    Bench(out, verify=False).run({})
    assert (out / "model").is_dir()
    assert not (out / "model").is_symlink()
    assert (other / "kept").exists()


def test_a_step_that_says_nothing_any_more_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    step = next(iter(bench.program.steps()))
    assert bench.program.check(0) is None
    end = EndedChild(exit_code=None, signal=9, ended_by=bench.program.check(3600))
    ended = bench.program.judge(step, end, "")
    assert ended is not None
    assert (ended.outcome, ended.judged.cause.reason) == ("failed", "StepStalled")
    assert ended.judged.message == "the step fetch has said nothing for 60 minutes"


@pytest.mark.parametrize(("history", "told"), [([{"eval_loss": 1.5}, {"eval_loss": 1.25}], 1.25), ([], None)])
def test_the_result_tells_the_evaluation_loss_of_its_checkpoint(
    tmp_path: Path, history: list[dict[str, float]], told: float | None
) -> None:
    source = tmp_path / "checkpoint-4"
    source.mkdir()
    (source / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    bench = Bench(tmp_path / "out", source=str(source))
    (tmp_path / "out").mkdir()
    bench.run({"fetch": {"folders": {"me/base": "/cache/base"}}, "finish": {"digest": DIGEST}})
    assert bench.program.report().get("artifactEvalLoss") == told
