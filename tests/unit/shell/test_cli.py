"""The commands that need no cluster, and what `swiftop progress` prints of a run."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
import yaml
from rich.console import Console

from swiftop.cli import main
from swiftop.cli.progress import one_line, succeeded, view
from swiftop.errors import Transient

RUNNING: dict[str, Any] = {
    "metadata": {"name": "demo"},
    "status": {
        "state": "Running",
        "conditions": [{"type": "Succeeded", "status": "Unknown", "message": "training"}],
        "progress": {"step": 5, "maxSteps": 20, "learningRate": 0.0002, "secondsPerStep": 1.5},
        "display": {"progress": "5/20 (25%)", "loss": "1.2346", "eta": "22s", "model": "Qwen/Qwen2.5-7B-Instruct"},
        "checkpoint": {"step": 4, "path": "/swiftop/output/demo/checkpoint-4"},
        "tracking": {"url": "https://swanlab.cn/@me/x/runs/y"},
    },
}
FAILED: dict[str, Any] = {
    "metadata": {"name": "demo"},
    "status": {
        "state": "Failed",
        "conditions": [{"type": "Succeeded", "status": "False", "message": "failed"}],
        "failure": {"reason": "CUDAOutOfMemory", "message": "no memory [/]", "suggestion": "use zero3"},
    },
}


def picture(run: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(view(run))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_running_run() -> None:
    assert one_line(RUNNING) == "demo: Running, step 5/20 (25%), loss 1.2346, 22s left, checkpoint 4, training"
    text = picture(RUNNING)
    for part in ("5/20 (25%)", "1.2346", "0.0002", "1.50 s", "22s", "checkpoint-4", "swanlab.cn", "Qwen2.5-7B"):
        assert part in text
    assert succeeded(RUNNING) == "Unknown"


def test_a_failed_run_tells_why_and_what_to_do() -> None:
    assert one_line(FAILED) == "demo: Failed, CUDAOutOfMemory: no memory [/] use zero3"
    assert "CUDAOutOfMemory: no memory [/] use zero3" in picture(FAILED)
    assert succeeded(FAILED) == "False"


def test_a_run_that_nobody_has_seen_yet() -> None:
    run = {"metadata": {"name": "demo"}}
    assert one_line(run) == "demo: Pending"
    assert "Pending" in picture(run)
    assert succeeded(run) == "Unknown"


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["swiftop", *arguments])
    with pytest.raises(SystemExit) as end:
        main.main()
    return int(end.value.code or 0)


def test_crds_are_printed_as_yaml(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(monkeypatch, "crds") == 0
    kinds = [document["spec"]["names"]["kind"] for document in yaml.safe_load_all(capsys.readouterr().out)]
    assert kinds == ["SFTRun"]


def test_an_expected_error_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: Any) -> None:
        raise Transient("the API server is away")

    monkeypatch.setattr("swiftop.shell.app.run", fail)
    assert called(monkeypatch, "run") == 1
    assert capsys.readouterr().err == "error: the API server is away\n"


def test_flags_and_environment_reach_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("swiftop.shell.app.run", seen.append)
    monkeypatch.setenv("SWIFTOP_WORKERS", "3")
    monkeypatch.setenv("POD_NAMESPACE", "here")
    assert called(monkeypatch, "run", "-n", "a", "-n", "b", "--no-leader-election", "--log-json") == 0
    (config,) = seen
    assert (config.workers, config.operator_namespace, config.namespaces) == (3, "here", ("a", "b"))
    assert (config.leader_election, config.log_json) == (False, True)
