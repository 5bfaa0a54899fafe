"""The command lines given to docker and buildah, and which of the two is chosen."""

import itertools
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from images import archive, debian, engines
from images.catalog import DEBIAN, IMAGES
from images.engines import Buildah, BuildError, Docker, Request

Recorded = list[list[str]]


def record(commands: Recorded) -> Callable[[Sequence[str]], None]:
    return lambda command: commands.append(list(command))


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    return Request(
        image=IMAGES["operator"],
        context=tmp_path / "context",
        refs=("localhost/swiftop/operator:dev", "localhost/swiftop/operator:0123"),
        arguments={"https_proxy": "http://p:1"},
        secrets={"pip.conf": tmp_path / "pip.conf"},
    )


def fake_tool(directory: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An executable in front of the PATH."""
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\n{script}\n")
    (directory / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")


def pairs(command: Sequence[str]) -> set[tuple[str, str]]:
    return set(itertools.pairwise(command))


def test_docker_builds_into_its_store_and_saves_both_names(request_: Request, tmp_path: Path) -> None:
    commands: Recorded = []
    Docker().build(replace(request_, fresh=True), tmp_path / "image.tar", record(commands))
    build, save = commands
    assert build[:3] == ["docker", "buildx", "build"]
    assert {"--load", "--provenance=false"} <= set(build)
    assert build[-1] == str(request_.context)
    assert {"--no-cache", "--pull"} <= set(build)
    assert pairs(build) >= {
        ("--file", str(request_.context / "images/operator/Dockerfile")),
        ("--tag", "localhost/swiftop/operator:dev"),
        ("--tag", "localhost/swiftop/operator:0123"),
        ("--build-arg", "https_proxy=http://p:1"),
        ("--secret", f"id=pip.conf,src={tmp_path}/pip.conf"),
    }
    assert save == ["docker", "save", "--output", str(tmp_path / "image.tar"), *request_.refs]
    commands.clear()
    Docker().build(request_, tmp_path / "image.tar", record(commands))
    assert not {"--no-cache", "--pull"} & set(commands[0])


@pytest.fixture
def no_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "pack_layout", lambda *_: None)


@pytest.mark.usefixtures("no_layout")
def test_buildah_makes_the_base_and_never_asks_a_registry_for_it(
    request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_tool(tmp_path / "bin", "buildah", "exit 125", monkeypatch)  # the store holds nothing
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / f"debian-trixie-{debian.recipe()}.tar").touch()
    commands: Recorded = []
    Buildah(tmp_path).build(request_, tmp_path / "image.tar", record(commands))
    base, tag, _clean, build, push = commands
    assert all(command[2:5] == ["buildah", "--root", str(tmp_path / "storage")] for command in commands)
    assert ("--tag", debian.local_name()) in pairs(base)
    assert tag[-3:] == ["tag", debian.local_name(), DEBIAN]
    assert "--pull=never" in build
    assert {("--isolation", "chroot"), ("--secret", f"id=pip.conf,src={tmp_path}/pip.conf")} <= pairs(build)
    assert push[-2] == "localhost/swiftop/operator:dev"
    assert push[-1].startswith("oci:")


@pytest.mark.usefixtures("no_layout")
def test_a_fresh_build_makes_the_base_again(request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tool(tmp_path / "bin", "buildah", "exit 0", monkeypatch)  # the store holds the base
    tree = tmp_path / "base" / f"debian-trixie-{debian.recipe()}.tar"
    tree.parent.mkdir()
    tree.write_text("of last year")
    commands: Recorded = []

    def run(command: Sequence[str]) -> None:
        commands.append(list(command))
        if command[0] == "mmdebstrap":
            Path(command[-1]).write_text("of today")

    Buildah(tmp_path).build(request_, tmp_path / "image.tar", run)
    assert "mmdebstrap" not in [command[0] for command in commands]
    commands.clear()
    Buildah(tmp_path).build(replace(request_, fresh=True), tmp_path / "image.tar", run)
    made, base, *_ = commands
    assert made[0] == "mmdebstrap"
    assert ("--tag", debian.local_name()) in pairs(base)
    assert tree.read_text() == "of today"


@pytest.mark.usefixtures("no_layout")
@pytest.mark.parametrize(("fresh", "pull"), [(False, "--pull=missing"), (True, "--pull=always")])
def test_a_base_named_by_the_user_is_pulled(request_: Request, tmp_path: Path, fresh: bool, pull: str) -> None:
    commands: Recorded = []
    pinned = replace(request_, arguments={"BASE": "docker.io/library/debian@sha256:00"}, fresh=fresh)
    Buildah(tmp_path).build(pinned, tmp_path / "image.tar", record(commands))
    _clean, build, _push = commands
    assert pull in build


@pytest.mark.usefixtures("no_layout")
def test_the_store_is_pruned_once_it_is_large(
    request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = replace(request_, arguments={"BASE": "docker.io/library/debian@sha256:00"})
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage/layer").write_bytes(b"x" * 100_000)

    def last_command() -> list[str]:
        commands: Recorded = []
        Buildah(tmp_path).build(pinned, tmp_path / "image.tar", record(commands))
        return commands[-1]

    assert "push" in last_command()
    monkeypatch.setattr(engines, "STORE_LIMIT", 50_000)
    assert last_command()[-3:] == ["rmi", "--prune", "--force"]


# What a stand-in for docker does, and what is said of it.
DOCKERS = {
    "good": ("echo 28.2.2", None),
    "no daemon": ('[ "$1" = buildx ]', "docker's daemon does not answer"),
    "silent daemon": ("exec sleep 60", "docker's daemon does not answer"),
    "old": ("echo 20.10.24+dfsg1", "docker 20.10.24+dfsg1 saves no OCI archives, as 25 and later do"),
    "no buildx": ('[ "$1" = version ] && echo 28.2.2', "docker has no buildx"),
}


@pytest.mark.parametrize(("script", "problem"), DOCKERS.values(), ids=DOCKERS)
def test_docker_is_chosen_only_when_it_can_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, problem: str | None
) -> None:
    fake_tool(tmp_path / "bin", "docker", script, monkeypatch)
    monkeypatch.setattr(engines, "PATIENCE", 1.0)
    assert engines.docker_problem() == problem
    said: list[str] = []
    monkeypatch.setattr(engines, "ensure_buildah", lambda run, *, why: said.append(why))
    if problem is None:
        assert engines.choose(None, tmp_path, record([])) == engines.choose("docker", tmp_path, record([])) == Docker()
        return
    assert engines.choose(None, tmp_path, record([])) == Buildah(tmp_path)
    assert said == [problem]
    with pytest.raises(BuildError, match=re.escape(problem)):
        engines.choose("docker", tmp_path, record([]))


def test_buildah_is_taken_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_tool(tmp_path / "bin", "docker", "echo 28.2.2", monkeypatch)
    monkeypatch.setattr(engines, "ensure_buildah", lambda run, *, why: None)
    assert engines.choose("buildah", tmp_path, record([])) == Buildah(tmp_path)


def test_missing_packages_are_named_and_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engines.missing_packages(lambda command: None) == ["buildah", "mmdebstrap", "zstd"]
    assert engines.missing_packages(lambda command: "/usr/bin/it") == []
    monkeypatch.setattr(engines, "missing_packages", lambda: ["mmdebstrap"])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda command: "/usr/bin/it")
    commands: Recorded = []
    engines.ensure_buildah(record(commands), why="there is no docker")
    assert commands[-1][-2:] == ["mmdebstrap", "debian-archive-keyring"]
    monkeypatch.setattr(shutil, "which", lambda command: None)
    with pytest.raises(BuildError, match="docker or these packages: mmdebstrap"):
        engines.ensure_buildah(record([]), why="there is no docker")


def test_without_docker_and_root_the_message_says_both_ways_and_what_is_amiss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_tool(tmp_path / "bin", "docker", DOCKERS["no buildx"][0], monkeypatch)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BuildError) as refused:
        engines.choose(None, tmp_path, record([]))
    assert str(refused.value) == (
        "building images needs docker 25 or later with buildx and a daemon that answers, or root for buildah: "
        "docker has no buildx, and this is not root"
    )
