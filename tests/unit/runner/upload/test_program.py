"""The program of an upload, step by step: the check is the real one, the hub's tasks are played."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swiftop.runner import causes
from swiftop.runner.cachelock import CacheLock
from swiftop.runner.classify import EndedChild
from swiftop.runner.hub.causes import HUB_AUTH_FAILED
from swiftop.runner.output import Output
from swiftop.runner.program import Context, Ended, Step
from swiftop.runner.protocol import Owner, Plan, UploadSettings
from swiftop.runner.record import Record
from swiftop.runner.redact import Redactor
from swiftop.runner.report import UPLOADING, BadRow, read
from swiftop.runner.signals import Signals
from swiftop.runner.typed_json import to_json
from swiftop.runner.upload.program import Upload
from tests.unit.runner.rows.files import SHAREGPT, line, written

OWNER = Owner("DatasetUpload", "team", "chats", "uid-1")
PUSHED = {"commit": "abc123", "url": "https://hub/x", "visibility": "private", "files": 1, "bytes": 10}
GOOD = line(SHAREGPT)


class Bench:
    """One execution, driven by hand."""

    def __init__(self, directory: Path, source: Path, **settings: Any) -> None:
        self.source = source
        wanted = UploadSettings(
            source=str(source),
            hub="modelscope",
            repo="me/chats",
            path="data/train.jsonl",
            token_env="MODELSCOPE_API_TOKEN",
            **settings,
        )
        plan = Plan(
            program="upload",
            owner=OWNER,
            attempt=1,
            command=(),
            output_dir=str(directory / "work"),
            settings=json.loads(json.dumps(to_json(wanted))),
            required_env=("MODELSCOPE_API_TOKEN",),
            secret_env=("MODELSCOPE_API_TOKEN", "HF_TOKEN"),
            cache_dir=str(directory / "cache"),
            cache_keys=("tokenizer",) if settings.get("tokenizer") else (),
        )
        self.environ = {"MODELSCOPE_API_TOKEN": "secret", "PATH": os.environ["PATH"]}
        self.program = Upload(
            Context(
                plan=plan,
                environ=self.environ,
                rank=0,
                output=Output(Redactor(())),
                signals=Signals(),
                record=Record(directory / "work", uid="uid-1"),
            )
        )

    def steps(self) -> Iterator[Step]:
        return self.program.steps()

    def end(self, step: Step, code: int = 0, *, forwarded: bool = False, evidence: str = "") -> Ended | None:
        return self.program.judge(step, EndedChild(exit_code=code, forwarded=forwarded), evidence)

    def run(self, step: Step) -> Ended | None:
        """Really do it."""
        environ = {**self.environ, **step.environ}
        done = subprocess.run(step.command, env=environ, capture_output=True, text=True, check=False)
        return self.end(step, done.returncode, evidence=done.stderr)

    def answer(self, step: Step, result: dict[str, Any], name: str = "result") -> Ended | None:
        """The hub's task answers."""
        Path(step.command[-1], name).write_text(json.dumps(result))
        return self.end(step, 0 if name == "result" else 7)

    def checked(self) -> tuple[Ended | None, Iterator[Step]]:
        """Up to the end of the check."""
        steps = self.steps()
        assert self.answer(next(steps), {"account": "me", "repository": "absent"}) is None
        return self.run(next(steps)), steps

    @property
    def report(self) -> dict[str, Any]:
        found = read(UPLOADING, self.program.report())
        found.pop("updated")
        return found


def request(step: Step) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(step.command[-1], "request").read_text())
    return found


def test_a_good_file_is_checked_and_uploaded(tmp_path: Path) -> None:
    bench = Bench(tmp_path, written(tmp_path, GOOD, GOOD))
    assert bench.program.begin() is None
    assert bench.report == {"phase": 0}
    steps = bench.steps()
    target = next(steps)
    assert bench.answer(target, {"account": "me", "repository": "absent"}) is None
    check = next(steps)
    assert bench.report == {"phase": 1}
    assert bench.run(check) is None
    counted = {"total": 2, "bad": 0, "duplicates": 1, "turns": 4, "characters": 14}
    assert bench.report == {"phase": 1, **counted}
    push = next(steps)
    assert [step.name for step in (target, check, push)] == ["target", "check", "upload"]
    checked = hashlib.sha256(bench.source.read_bytes()).hexdigest()
    assert request(push) == {**request(target), "digest": checked}
    assert request(push) == {
        "target": {
            "hub": "modelscope",
            "repo": "me/chats",
            "repoType": "dataset",
            "tokenEnv": "MODELSCOPE_API_TOKEN",
            "visibility": "private",
            "revision": "",
            "commitMessage": "Upload data/train.jsonl by DatasetUpload team/chats",
            "overwrite": False,
        },
        "uid": "uid-1",
        "source": str(bench.source),
        "path": "data/train.jsonl",
        "excluded": [".*", "args.json", "swiftop-*.json"],
        "attempts": 5,
        "backoffSeconds": 1.0,
        "patienceSeconds": 900.0,
        "digest": checked,
    }
    Path(push.command[-1], "progress").write_text(json.dumps({"bytesDone": 5, "bytesTotal": 10}))
    assert bench.report == {"phase": 2, "bytesDone": 5, "bytesTotal": 10, **counted}
    assert bench.answer(push, PUSHED) is None
    ended = bench.program.complete()
    assert (ended.outcome, ended.judged.cause) == ("finished", causes.COMPLETED)
    assert ended.judged.message == "2 rows are in me/chats as data/train.jsonl, commit abc123"
    assert bench.report == {"phase": 3, "commit": "abc123", "visibility": "private", **counted}


def test_bad_rows_end_it_and_are_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path, written(tmp_path, GOOD, b"{", GOOD))
    ended, _ = bench.checked()
    assert ended is not None
    assert (ended.outcome, ended.judged.cause) == ("failed", causes.DATA_INVALID)
    assert ended.judged.message == "chats.jsonl: 1 of its 3 rows cannot be trained on, and maxBadRows is 0"
    why = "is not valid JSON: Expecting property name enclosed in double quotes at character 3"
    assert ended.bad_rows == (BadRow(2, why),)
    assert bench.report["bad"] == 1


def test_bad_rows_that_are_tolerated_are_told_at_the_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path, written(tmp_path, GOOD, b"{}", GOOD), max_bad_rows=1)
    ended, steps = bench.checked()
    assert ended is None
    assert bench.answer(next(steps), PUSHED) is None
    ended = bench.program.complete()
    assert (ended.outcome, [bad.line for bad in ended.bad_rows]) == ("finished", [2])


@pytest.mark.parametrize(
    ("name", "content", "cause", "message"),
    [
        ("chats.jsonl", b"", causes.DATASET_EMPTY, "chats.jsonl: it has no rows"),
        ("chats.csv", b"a,b\n", causes.DATA_INVALID, "chats.csv: a file that ends in '.csv' is not supported"),
        ("chats.jsonl", None, causes.DATASET_NOT_FOUND, "the source has no file chats.jsonl"),
    ],
)
def test_a_file_that_cannot_be_checked(
    name: str, content: bytes | None, cause: object, message: str, tmp_path: Path
) -> None:
    source = tmp_path / name
    if content is not None:
        source.write_bytes(content)
    ended, _ = Bench(tmp_path, source).checked()
    assert ended is not None
    assert (ended.outcome, ended.judged.cause) == ("failed", cause)
    assert ended.judged.message.startswith(message)


def test_format_and_columns_reach_the_check(tmp_path: Path) -> None:
    rows = [line({"q": "a", "a": "b"})] * 3
    source = written(tmp_path, *rows)
    named = Bench(tmp_path, source, format="queryResponse", columns={"q": "query", "a": "response"})
    assert named.checked()[0] is None
    plain, _ = Bench(tmp_path, source).checked()
    assert plain is not None
    assert plain.judged.message == "chats.jsonl: none of its 3 rows can be trained on"


def test_what_the_hub_refuses_is_its_own_cause(tmp_path: Path) -> None:
    bench = Bench(tmp_path, written(tmp_path, GOOD))
    ended = bench.answer(next(bench.steps()), {"reason": "HubAuthFailed", "message": "no"}, "refused")
    assert ended is not None
    assert (ended.outcome, ended.judged.cause, ended.judged.message) == ("failed", HUB_AUTH_FAILED, "no")


def test_a_hub_that_is_away_may_come_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path, written(tmp_path, GOOD))
    _, steps = bench.checked()
    ended = bench.answer(next(steps), {"reason": "HubUnreachable", "message": "no answer"}, "refused")
    assert ended is not None
    assert ended.judged.cause.transient


@pytest.mark.parametrize("when", ["before the upload", "during the upload"])
def test_a_file_that_changes_is_not_what_was_checked(when: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path, written(tmp_path, GOOD))
    steps = bench.steps()
    bench.answer(next(steps), {"account": "me"})
    check = next(steps)
    if when == "before the upload":
        bench.source.write_bytes(GOOD + b"\n" + GOOD)
        ended = bench.run(check)
    else:
        assert bench.run(check) is None
        push = next(steps)
        bench.source.write_bytes(GOOD + b"\n" + GOOD)
        ended = bench.answer(push, PUSHED)
    assert ended is not None
    assert (ended.outcome, ended.judged.cause) == ("failed", causes.DATA_INVALID)
    assert "was changed while it was checked or uploaded" in ended.judged.message


def test_a_stop_is_no_failure(tmp_path: Path) -> None:
    bench = Bench(tmp_path, written(tmp_path, GOOD))
    ended = bench.end(next(bench.steps()), 143, forwarded=True)
    assert ended is not None
    assert (ended.outcome, ended.judged.message) == ("interrupted", "stopped on request during the step target")


def test_a_task_that_says_nothing_is_no_success(tmp_path: Path) -> None:
    bench = Bench(tmp_path, written(tmp_path, GOOD))
    ended = bench.end(next(bench.steps()), 0)
    assert ended is not None
    assert (ended.outcome, ended.judged.cause) == ("failed", causes.UNKNOWN)


def test_a_token_that_is_missing_is_told_before_anything_is_started(tmp_path: Path) -> None:
    bench = Bench(tmp_path, written(tmp_path, GOOD))
    bench.environ["MODELSCOPE_API_TOKEN"] = " "
    ended = bench.program.begin()
    assert ended is not None
    assert ended.judged.cause is causes.SECRET_MISSING


@pytest.mark.parametrize(
    ("tokenizer", "hidden"),
    [
        ({}, {"MODELSCOPE_API_TOKEN", "HF_TOKEN"}),
        ({"tokenizer": "me/x"}, {"HF_TOKEN"}),
        ({"tokenizer": "me/x", "tokenizer_hub": "huggingface"}, {"MODELSCOPE_API_TOKEN"}),
    ],
)
def test_no_step_has_a_token_that_it_does_not_need(tmp_path: Path, tokenizer: dict[str, str], hidden: set[str]) -> None:
    bench = Bench(tmp_path, written(tmp_path, GOOD), **tokenizer)
    steps = bench.steps()
    target, check = next(steps), next(steps)
    assert [set(step.without) for step in (target, check)] == [{"HF_TOKEN"}, hidden]


def test_a_step_that_says_nothing_any_more_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path, written(tmp_path, GOOD))
    step = next(bench.steps())
    assert bench.program.check(0) is None
    silent = bench.program.check(3600)
    ended = bench.program.judge(step, EndedChild(exit_code=None, signal=9, ended_by=silent), "")
    assert ended is not None
    assert (ended.outcome, ended.judged.cause.reason) == ("failed", "StepStalled")
    assert ended.judged.message == "the step target has said nothing for 60 minutes"


def test_others_may_load_the_tokenizer_once_rows_are_read(tmp_path: Path) -> None:
    bench = Bench(tmp_path, written(tmp_path, GOOD), tokenizer="me/base")
    steps = bench.steps()
    bench.answer(next(steps), {"account": "me"})
    check = next(steps)
    other = CacheLock(tmp_path / "cache", ("tokenizer",))
    bench.program.check(0.0)
    assert other.acquire(stop=lambda: True) is not None
    Path(check.command[-1], "progress").write_text(json.dumps({"bytesDone": 1, "bytesTotal": 2}))
    bench.program.check(1.0)
    assert other.acquire(stop=lambda: True) is None


def test_a_tokenizer_that_could_not_be_loaded_is_left_to_others(tmp_path: Path) -> None:
    bench = Bench(tmp_path, written(tmp_path, GOOD), tokenizer="me/base")
    steps = bench.steps()
    bench.answer(next(steps), {"account": "me"})
    assert bench.end(next(steps), 1) is not None
    first, second = (CacheLock(tmp_path / "cache", ("tokenizer",)) for _ in range(2))
    assert first.acquire(stop=lambda: True) is None
    assert second.acquire(stop=lambda: True) is not None
