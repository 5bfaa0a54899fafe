"""The command lines given to docker and buildah, and which of the two is chosen."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from images import debian, engines
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
    assert build[:4] == ["docker", "buildx", "build", "--load"]
    assert build[-1] == str(request_.context)
    assert "--no-cache" in build
    assert pairs(build) >= {
        ("--file", str(request_.context / "images/operator/Dockerfile")),
        ("--tag", "localhost/swiftop/operator:dev"),
        ("--tag", "localhost/swiftop/operator:0123"),
        ("--build-arg", "https_proxy=http://p:1"),
        ("--secret", f"id=pip.conf,src={tmp_path}/pip.conf"),
    }
    assert save == ["docker", "save", "--output", str(tmp_path / "image.tar"), *request_.refs]


@pytest.fixture
def no_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.archive, "pack_layout", lambda *_: None)


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
def test_a_base_named_by_the_user_is_pulled(request_: Request, tmp_path: Path) -> None:
    commands: Recorded = []
    pinned = replace(request_, arguments={"BASE": "docker.io/library/debian@sha256:00"})
    Buildah(tmp_path).build(pinned, tmp_path / "image.tar", record(commands))
    _clean, build, _push = commands
    assert "--pull=missing" in build


def test_docker_is_chosen_only_when_its_daemon_and_buildx_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_tool(tmp_path / "bin", "docker", "exit 0", monkeypatch)
    assert isinstance(engines.choose(None, tmp_path, record([])), Docker)
    fake_tool(tmp_path / "bin", "docker", '[ "$1" = buildx ]', monkeypatch)  # no daemon
    monkeypatch.setattr(engines, "ensure_buildah", lambda run: None)
    assert engines.choose(None, tmp_path, record([])) == Buildah(tmp_path)


def test_missing_packages_are_named_and_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engines.missing_packages(lambda command: None) == ["buildah", "mmdebstrap", "zstd"]
    assert engines.missing_packages(lambda command: "/usr/bin/it") == []
    monkeypatch.setattr(engines, "missing_packages", lambda: ["mmdebstrap"])
    monkeypatch.setattr(engines.os, "geteuid", lambda: 0)
    monkeypatch.setattr(engines.shutil, "which", lambda command: "/usr/bin/it")
    commands: Recorded = []
    engines.ensure_buildah(record(commands))
    assert commands[-1][-2:] == ["mmdebstrap", "debian-archive-keyring"]
    monkeypatch.setattr(engines.shutil, "which", lambda command: None)
    with pytest.raises(BuildError, match="docker or these packages: mmdebstrap"):
        engines.ensure_buildah(record([]))


def test_without_docker_and_root_the_message_says_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines.os, "geteuid", lambda: 1000)
    with pytest.raises(BuildError, match="docker daemon that answers, or root for buildah"):
        engines.ensure_buildah(record([]))
