"""A task ends with a known cause, and nothing that it leaves holds the token."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from swiftop.runner.hub import connect, failure
from swiftop.runner.hub.adapter import Hub
from swiftop.runner.hub.failure import Failure
from swiftop.runner.hub.publish import Tell
from swiftop.runner.hub.request import Push, Target
from swiftop.runner.task import Refused
from swiftop.runner.typed_json import to_json

TARGET = Target("modelscope", "alice/demo", "model", "PUSH_TOKEN")


def run(monkeypatch: pytest.MonkeyPatch, directory: Path, work: connect.Work) -> tuple[int, dict[str, str]]:
    """The exit code and why."""
    (directory / "request").write_text(json.dumps(to_json(Push(TARGET, "u-1"))))
    monkeypatch.setattr(sys, "argv", ["push", str(directory)])
    monkeypatch.setattr(connect, "connect", lambda _target, _token: None)
    code = connect.run(work)
    return code, json.loads((directory / "refused").read_text())


def fails(_hub: Hub, _push: Push, _tell: Tell) -> None:
    raise Failure(failure.AUTH, "Bearer s3cret-token is not valid")


def test_a_failure_is_told_without_the_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PUSH_TOKEN", "s3cret-token\n")
    told = {"reason": "HubAuthFailed", "message": "modelscope alice/demo: Bearer *** is not valid"}
    assert run(monkeypatch, tmp_path, fails) == (7, told)


def test_a_token_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PUSH_TOKEN", " ")
    told = {"reason": "SecretMissing", "message": "environment variable PUSH_TOKEN is not set"}
    assert run(monkeypatch, tmp_path, fails) == (3, told)


@pytest.mark.parametrize(
    ("hub", "package", "needed"),
    [("modelscope", "modelscope_hub", "modelscope 1.40"), ("huggingface", "huggingface_hub", "huggingface_hub 0.30")],
)
def test_an_image_without_the_client_is_told(
    monkeypatch: pytest.MonkeyPatch, hub: str, package: str, needed: str
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Refused, match=f"needs an image with {needed}") as caught:
        connect.connect(Target(hub, "alice/demo", "model", "T"), "token")
    assert caught.value.judged.cause.reason == "PackageMissing"
