"""The commands that need no cluster, and what `swiftop progress` prints of an object."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from rich.console import Console

from swiftop import names
from swiftop.api.v1alpha1.base import CustomResource
from swiftop.api.v1alpha1.modeldeployment import ModelDeployment
from swiftop.api.v1alpha1.modelexport import ModelExport
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.cli import main
from swiftop.cli.lookup import model_of
from swiftop.cli.progress import failed, one_line, settled, view
from swiftop.errors import Invalid, Transient
from swiftop.kinds.registry import MODELS


def told(state: str, status: str, reason: str, message: str) -> dict[str, Any]:
    """A run of which nothing is known but its summary."""
    summary = {"type": "Succeeded", "status": status, "reason": reason, "message": message}
    return {"metadata": {"name": "demo"}, "status": {"state": state, "conditions": [summary]}}


RUNNING: dict[str, Any] = {
    "metadata": {"name": "demo", "namespace": "ns"},
    "spec": {},
    "status": {
        "state": "Running",
        "conditions": [{"type": "Succeeded", "status": "Unknown", "reason": "Running", "message": "the training runs"}],
        "progress": {"step": 5, "maxSteps": 20},
        "display": {
            "progress": "5/20 (25%)",
            "loss": "1.2346",
            "eta": "22s",
            "gpus": "2x8",
            "model": "Qwen/Qwen2.5-7B-Instruct",
        },
        "checkpoint": {"step": 4},
        "attempts": 2,
        "tracking": {"url": "https://swanlab.cn/@me/x/runs/y"},
    },
}
FAILED = told("Failed", "False", "CUDAOutOfMemory", "no memory [/]: use zero3")
SUSPENDED = told("Suspended", "Unknown", "Suspended", "suspended by spec.suspend: set it to false to go on")
WAITING = told("Pending", "Unknown", "InsufficientGPU", "no node has enough free nvidia.com/gpu: it starts when ...")
RETRYING = told("Resuming", "Unknown", "Resuming", "the hub is away; attempt 2 follows in 10 s (retry 1 of 3)")


def picture(obj: dict[str, Any], model: type[CustomResource] = SFTRun) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(view(obj, model))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_running_run() -> None:
    assert one_line(RUNNING, SFTRun) == (
        "demo: Running, progress 5/20 (25%), ETA 22s, loss 1.2346, GPUs 2x8, the training runs"
    )
    text = picture(RUNNING)
    for name, value in (
        ("Progress", "5/20 (25%)"),
        ("Loss", "1.2346"),
        ("ETA", "22s"),
        ("Model", "Qwen/Qwen2.5-7B-Instruct"),
        ("Checkpoint", "4"),
        ("Tracker", "https://swanlab.cn/@me/x/runs/y"),
        ("Attempts", "2"),
    ):
        assert re.search(rf"^{name} +{re.escape(value)} *$", text, re.M), text
    assert "\u2501" in text  # the bar
    assert "Age" not in text
    assert not settled(RUNNING, SFTRun)


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (FAILED, "demo: Failed, CUDAOutOfMemory: no memory [/]: use zero3"),
        (SUSPENDED, "demo: Suspended, suspended by spec.suspend: set it to false to go on"),
        (WAITING, "demo: Pending, InsufficientGPU: no node has enough free nvidia.com/gpu: it starts when ..."),
        (RETRYING, "demo: Resuming, the hub is away; attempt 2 follows in 10 s (retry 1 of 3)"),
    ],
)
def test_why_it_is_so_and_what_to_do_is_told(run: dict[str, Any], line: str) -> None:
    assert one_line(run, SFTRun) == line
    assert line.partition(", ")[2] in picture(run)
    assert settled(run, SFTRun) is failed(run, SFTRun) is (run is FAILED)


def test_an_export_is_as_live_though_its_columns_are_wide() -> None:
    export = told("Running", "Unknown", "Running", "the model is exported")
    export["status"] |= {
        "progress": {"phase": "Merging", "bytesDone": 30, "bytesTotal": 100},
        "display": {"source": "tiny/last", "progress": "Merging 30%", "eta": "1h2m"},
    }
    assert one_line(export, ModelExport) == (
        "demo: Running, source tiny/last, progress Merging 30%, ETA 1h2m, the model is exported"
    )
    assert "\u2501" in picture(export, ModelExport)


def test_a_run_that_nobody_has_seen_yet() -> None:
    run = {"metadata": {"name": "demo"}}
    assert one_line(run, SFTRun) == "demo: Pending"
    assert "Pending" in picture(run)
    assert not settled(run, SFTRun)


def test_what_serves_is_followed_until_it_answers() -> None:
    ready = {"type": "Ready", "status": "False", "reason": "Loading", "message": "the model is loaded"}
    display = {"replicas": "0/1", "model": "a/b"}
    status = {"state": "Preparing", "conditions": [ready], "display": display, "url": "http://x"}
    served = {"metadata": {"name": "chat"}, "spec": {"engine": "vllm"}, "status": status}
    assert one_line(served, ModelDeployment) == (
        "chat: Preparing, replicas 0/1, engine vllm, model a/b, URL http://x, Loading: the model is loaded"
    )
    assert not settled(served, ModelDeployment)
    assert failed(served, ModelDeployment)
    ready["status"] = "True"
    assert settled(served, ModelDeployment)
    assert not failed(served, ModelDeployment)


@pytest.mark.parametrize("word", ["sftrun", "SFTRun", "sftruns", "sft"])
def test_a_kind_has_the_names_that_kubectl_knows(word: str) -> None:
    assert model_of(word) is SFTRun


def test_a_kind_that_is_none_is_told_with_those_there_are() -> None:
    with pytest.raises(Invalid, match=r"no kind 'pod' \(use one of: sftrun"):
        model_of("pod")


def test_the_default_kind_is_one() -> None:
    assert model_of(main._DEFAULT_KIND) in MODELS


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["swiftop", *arguments])
    with pytest.raises(SystemExit) as end:
        main.main()
    return int(end.value.code or 0)


def test_crds_are_printed_as_yaml(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(monkeypatch, "crds") == 0
    kinds = [document["spec"]["names"]["kind"] for document in yaml.safe_load_all(capsys.readouterr().out)]
    assert kinds == [model.DEFINITION.resource.kind for model in MODELS]


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


class Fake:
    """An API server with one object, whose edits are noted."""

    namespace = "ns"

    def __init__(self, obj: dict[str, Any] | None) -> None:
        self.obj = obj
        self.edits: list[tuple[str, str, str, dict[str, Any]]] = []

    async def get(self, kind: names.Resource, namespace: str, name: str) -> dict[str, Any] | None:
        return self.obj

    async def edit(self, kind: names.Resource, namespace: str, name: str, patch: dict[str, Any]) -> None:
        self.edits.append((kind.kind, namespace, name, patch))

    async def close(self) -> None:
        pass


Serve = Callable[[dict[str, Any] | None], Fake]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Serve:
    def serve(obj: dict[str, Any] | None) -> Fake:
        fake = Fake(obj)

        async def connect(*, context: str | None = None) -> Fake:
            return fake

        monkeypatch.setattr("swiftop.shell.cluster.Cluster.connect", connect)
        return fake

    return serve


def test_suspend_and_resume_edit_the_spec_and_say_what_happens(
    served: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = served(RUNNING)
    assert called(monkeypatch, "suspend", "demo") == 0
    assert "saves a checkpoint first" in capsys.readouterr().out
    assert called(monkeypatch, "resume", "demo") == 0
    assert capsys.readouterr().out == "SFTRun demo is not suspended\n"
    fake.obj = {**RUNNING, "spec": {"suspend": True}}
    assert called(monkeypatch, "suspend", "demo", "-n", "other") == 0
    assert capsys.readouterr().out == "SFTRun demo is suspended already\n"
    assert called(monkeypatch, "resume", "demo", "-n", "other", "--kind", "sft") == 0
    assert "goes on in a new attempt" in capsys.readouterr().out
    assert fake.edits == [
        ("SFTRun", "ns", "demo", {"spec": {"suspend": True}}),
        ("SFTRun", "other", "demo", {"spec": {"suspend": False}}),
    ]


def test_what_has_no_checkpoint_is_not_said_to_save_one(
    served: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = served(RUNNING)
    assert called(monkeypatch, "suspend", "demo", "--kind", "datasetupload") == 0
    fake.obj = {**RUNNING, "spec": {"suspend": True}}
    assert called(monkeypatch, "resume", "demo", "--kind", "modelexport") == 0
    assert "checkpoint" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("obj", "error"),
    [
        (None, "error: no SFTRun demo in namespace ns\n"),
        (FAILED, "error: SFTRun demo: it has ended (Failed): nothing is left to stop or go on\n"),
    ],
)
def test_what_cannot_be_suspended_is_told(
    served: Serve,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    obj: dict[str, Any] | None,
    error: str,
) -> None:
    fake = served(obj)
    assert called(monkeypatch, "suspend", "demo") == 1
    assert capsys.readouterr().err == error
    assert fake.edits == []


def test_what_serves_is_scaled_and_not_suspended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(monkeypatch, "suspend", "chat", "--kind", "mdep") == 1
    assert capsys.readouterr().err == (
        "error: --kind: a ModelDeployment cannot be suspended (use kubectl scale modeldeployments/chat --replicas=0)\n"
    )


STALLED = told("Pending", "Unknown", "InvalidSpec", "spec.training.epochs: must be at least 1")
STALLED["metadata"]["generation"] = 2
STALLED["status"]["conditions"].append({"type": "Stalled", "status": "True", "observedGeneration": 2})


def test_what_only_an_edit_can_help_is_not_waited_for() -> None:
    assert settled(STALLED, SFTRun)
    assert failed(STALLED, SFTRun)
    assert one_line(STALLED, SFTRun) == "demo: Pending, InvalidSpec: spec.training.epochs: must be at least 1"
    edited = {**STALLED, "metadata": {"name": "demo", "generation": 3}}
    assert not settled(edited, SFTRun)


class Outage(Fake):
    """An API server that answers so often, and then no more."""

    def __init__(self, obj: dict[str, Any], answers: int) -> None:
        super().__init__(obj)
        self.answers = answers
        self.asked = 0

    async def get(self, kind: names.Resource, namespace: str, name: str) -> dict[str, Any] | None:
        self.asked += 1
        if self.asked > self.answers:
            raise Transient("GET /x: connection refused")
        return self.obj


@pytest.mark.parametrize("answers", [0, 2])
def test_an_api_server_that_is_away_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answers: int
) -> None:
    fake, contexts = Outage(RUNNING, answers), []

    async def connect(*, context: str | None = None) -> Fake:
        contexts.append(context)
        return fake

    monkeypatch.setattr("swiftop.shell.cluster.Cluster.connect", connect)
    monkeypatch.setattr("swiftop.cli.progress._POLL", 0.001)
    monkeypatch.setattr("swiftop.cli.progress._PATIENCE", 0.05)
    assert called(monkeypatch, "progress", "demo", "--context", "gpu") == 1
    assert capsys.readouterr().err == "error: GET /x: connection refused\n"
    assert contexts == ["gpu"]
    assert (fake.asked == 1) if answers == 0 else (fake.asked > answers + 1)


def test_an_invalid_run_ends_it(
    served: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served(STALLED)
    assert called(monkeypatch, "progress", "demo") == 1
    assert "InvalidSpec: spec.training.epochs" in capsys.readouterr().out
