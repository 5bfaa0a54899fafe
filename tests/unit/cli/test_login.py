"""A ``.env`` file as people have it becomes the Secret, and no value is shown."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import pytest

from swiftop import names
from swiftop.cli import main
from swiftop.cli.login import KNOWN, variables
from swiftop.errors import Invalid, NotFound

FILE = """# tokens
export SWANLAB_API_KEY="sk-swan"  # of the team
MODELSCOPE_API_TOKEN='ms-#1'   
HF_TOKEN = hf_#2 # mine
OTHER=of another tool
EMPTY=
source ./more
"""


class Fake:
    """An API server that has the Secret or not, and notes what it is sent."""

    namespace = "ns"

    def __init__(self, there: bool) -> None:
        self.there = there
        self.sent: list[tuple[str, str, str, dict[str, Any]]] = []

    async def edit(self, kind: names.Resource, namespace: str, name: str, patch: dict[str, Any]) -> None:
        if not self.there:
            raise NotFound("no Secret")
        self.sent.append(("edit", namespace, name, patch["data"]))

    async def make(self, kind: names.Resource, namespace: str, obj: dict[str, Any]) -> None:
        assert (kind.kind, obj["type"]) == ("Secret", "Opaque")
        self.sent.append(("make", namespace, obj["metadata"]["name"], obj["data"]))

    async def close(self) -> None:
        pass


def encoded(**values: str) -> dict[str, str]:
    return {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}


TOKENS = encoded(SWANLAB_API_KEY="sk-swan", MODELSCOPE_API_TOKEN="ms-#1", HF_TOKEN="hf_#2")


def called(
    monkeypatch: pytest.MonkeyPatch, there: bool, *arguments: str
) -> tuple[int, list[tuple[str, str, str, dict[str, Any]]], list[str | None]]:
    fake, contexts = Fake(there), []

    async def connect(*, context: str | None = None) -> Fake:
        contexts.append(context)
        return fake

    monkeypatch.setattr("swiftop.shell.cluster.Cluster.connect", connect)
    monkeypatch.setattr(sys, "argv", ["swiftop", "login", *arguments])
    with pytest.raises(SystemExit) as end:
        main.main()
    return int(end.value.code or 0), fake.sent, contexts


@pytest.mark.parametrize("there", [False, True])
def test_the_secret_is_made_or_changed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, there: bool
) -> None:
    verb, done = ("edit", "changed") if there else ("make", "made")
    file = tmp_path / ".env"
    file.write_text(FILE)
    code, sent, contexts = called(monkeypatch, there, str(file), "-n", "team", "--context", "gpu")
    assert (code, sent, contexts) == (0, [(verb, "team", "swiftop-credentials", TOKENS)], ["gpu"])
    assert capsys.readouterr().out == (
        f"Secret swiftop-credentials in namespace team {done}: SWANLAB_API_KEY, MODELSCOPE_API_TOKEN, HF_TOKEN; "
        "left out: EMPTY\n"
    )


def test_others_are_taken_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("WANDB_API_KEY=w\nHF_TOKEN=\n")
    code, sent, _ = called(monkeypatch, False, str(file), "--also", "WANDB_API_KEY", "--secret", "mine")
    assert (code, sent) == (0, [("make", "ns", "mine", encoded(WANDB_API_KEY="w"))])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has none of SWANLAB_API_KEY, MODELSCOPE_API_TOKEN, HF_TOKEN (name others by --also)"),
        ("hf_token=hidden\nMS=hidden\n", "MODELSCOPE_API_TOKEN, HF_TOKEN, but hf_token, MS (name others by --also)"),
        ("SWANLAB_API_KEY=a\nHF_TOKEN: hidden\n", "line 2: HF_TOKEN is not followed by = (write HF_TOKEN=value)"),
        ("export HF_TOKEN : hidden\n", "line 1: HF_TOKEN is not followed by ="),
        ("HF_TOKEN=$hidden\n", "line 1: the value of HF_TOKEN refers to a variable or a command, which only a shell"),
        ('export HF_TOKEN="$(cat ~/hidden)"\n', "line 1: the value of HF_TOKEN refers to a variable or a command"),
        ("HF_TOKEN=`hidden`\n", "line 1: the value of HF_TOKEN refers to a variable or a command"),
        ("\nHF_TOKEN='hidden\n", "line 2: the value of HF_TOKEN has blanks outside of quotes, or a quote"),
        ("HF_TOKEN=hidden hidden\n", "line 1: the value of HF_TOKEN has blanks"),
    ],
)
def test_a_wrong_file_is_told_without_its_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / ".env"
    file.write_text(text)
    code, sent, _ = called(monkeypatch, False, str(file))
    told = capsys.readouterr().err
    assert (code, sent) == (1, [])
    assert words in told
    assert "hidden" not in told


def test_a_name_that_is_not_in_the_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text("HF_TOKEN=a")
    assert called(monkeypatch, False, str(file), "--also", "WANDB_API_KEY")[:2] == (1, [])
    assert "has no WANDB_API_KEY" in capsys.readouterr().err


def test_a_file_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(monkeypatch, False, "none.env")[0] == 1
    assert capsys.readouterr().err == "error: none.env: No such file or directory\n"


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("HF_TOKEN=a", "a"),
        ("HF_TOKEN=a#b", "a#b"),
        ("  export\tHF_TOKEN=a", "a"),
        ('HF_TOKEN="a\\"b\\n"', 'a"b\n'),
        ("HF_TOKEN='a\\n'", "a\\n"),
        ("HF_TOKEN=a\r", "a"),
        ("\ufeffHF_TOKEN=a", "a"),
        ("HF_TOKEN=''", ""),
        ("HF_TOKEN='$a`b`'", "$a`b`"),
        ("HF_TOKEN=a$1$", "a$1$"),
        ("OTHER=$a\nHF_TOKEN=a\nOTHER: b\nexport HF_TOKEN", "a"),
    ],
)
def test_a_value_is_what_a_shell_makes_of_it(line: str, value: str) -> None:
    assert variables(line, ".env", KNOWN)["HF_TOKEN"] == value


def test_a_later_line_counts() -> None:
    assert variables("HF_TOKEN=a\nHF_TOKEN=b", ".env", KNOWN) == {"HF_TOKEN": "b"}


def test_no_value_is_in_an_error() -> None:
    with pytest.raises(Invalid) as caught:
        variables('HF_TOKEN="hidden', ".env", KNOWN)
    assert "hidden" not in str(caught.value)
