"""The command line of the test cluster."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tools.cluster import cli, images, kubectl, locks
from tools.cluster.layout import ClusterError, Layout, Options


class Recorded:
    """A cluster that only notes what it is asked for."""

    def __init__(self) -> None:
        self.name = "c"
        self.kubeconfig = Path("/c/kubeconfig")
        self.asked: list[Any] = []
        self.state = "running"

    def build(self) -> None:
        self.asked.append("build")

    def up(self, options: Options) -> None:
        self.asked.append(options)

    def down(self) -> None:
        self.asked.append("down")

    def purge(self) -> None:
        self.asked.append("purge")

    def load(self, archive: Path) -> list[str]:
        self.asked.append(archive)
        return ["localhost/a:1", "localhost/a:dev"]

    def status(self) -> dict[str, str]:
        return {"name": self.name, "state": self.state}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    recorded = Recorded()
    monkeypatch.setenv("SWIFTOP_CACHE", str(tmp_path))
    monkeypatch.setattr(cli, "choose", lambda name: recorded)
    monkeypatch.setattr(kubectl, "find", lambda cache: "/bin/kubectl")
    return recorded


def run(*words: str) -> Any:
    """The exit status, or the text that stands for 1."""
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    return ended.value.code


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["build"], ["build"]),
        (["up"], [Options(gpus=8)]),
        (["up", "--gpus", "0", "--audit"], [Options(gpus=0, audit=True)]),
        (["up", "--control-plane-only"], [Options(control_plane_only=True)]),
        (["down"], ["down"]),
        (["down", "--purge"], ["purge"]),
    ],
)
def test_commands_reach_the_cluster(cluster: Recorded, words: Sequence[str], asked: list[Any]) -> None:
    assert run("--name", "c", *words) == 0
    assert cluster.asked == asked


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_status_tells_and_its_exit_code_too(cluster: Recorded, capsys: pytest.CaptureFixture[str], state: str) -> None:
    cluster.state = state
    assert run("status") == (state != "running")
    assert capsys.readouterr().out == f"name       c\nstate      {state}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["get", "pods"],
        ["-n", "x", "get", "pods"],
        ["--help"],
        ["exec", "pod", "--", "ls", "--name", "y"],
        ["--", "get"],
        [],
    ],
)
def test_kubectl_gets_every_word(cluster: Recorded, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    ran: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *call: ran.append(call))
    assert run("--name", "c", "kubectl", *words) == 0
    ((program, command, environment),) = ran
    assert (program, command) == ("/bin/kubectl", ["/bin/kubectl", *words])
    assert environment["KUBECONFIG"] == "/c/kubeconfig"


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("words", [["down"], ["down", "--purge"]])
def test_a_cluster_that_a_test_session_uses_is_not_taken_down(
    cluster: Recorded, words: list[str], shared: bool
) -> None:
    with locks.session(Layout.of("c"), shared=shared):
        assert run("--name", "c", *words) == (
            "cluster: another test session uses cluster c: wait until it ends, or use another name"
        )
        assert cluster.asked == []
        assert run("--name", "other", *words) == 0
    assert run("--name", "c", *words) == 0


def test_a_cluster_can_be_shared_by_sessions_that_leave_it_running(cluster: Recorded) -> None:
    layout = Layout.of("c")
    with locks.session(layout, shared=True), locks.session(layout, shared=True):
        alone = locks.session(layout)
        with pytest.raises(ClusterError, match="another test session"):
            alone.__enter__()


def test_an_archive_is_loaded_from_where_it_lies(
    cluster: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "a.tar"
    archive.touch()
    assert run("load", str(archive)) == 0
    assert cluster.asked == [archive]
    assert capsys.readouterr().out == "localhost/a:1\nlocalhost/a:dev\n"


def test_a_name_is_resolved_to_an_archive(cluster: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "find", lambda name, scratch: tmp_path / name)
    assert run("load", "a") == 0
    assert cluster.asked == [tmp_path / "a"]


def test_a_missing_archive_is_said_without_a_traceback(
    cluster: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("load", "/no/such.tar") == (
        "cluster: /no/such.tar is neither an archive nor an image that docker or buildah knows"
    )
