"""The cgroup of a cluster in every hierarchy of the machine, version 1 and 2."""

import os
import time
from pathlib import Path

from tools.cluster.layout import ClusterError

_MOUNTS = Path("/proc/self/mounts")
REMOVE_SECONDS = 10.0


def hierarchies(mounts: str) -> tuple[list[Path], list[Path]]:
    """Pure: the roots of version 1 and of version 2 in the text of /proc/self/mounts."""
    first, second = [], []
    for line in mounts.splitlines():
        _, target, kind, *_ = line.split()
        if kind == "cgroup":
            first.append(Path(target))
        elif kind == "cgroup2":
            second.append(Path(target))
    return first, second


REFUSED = (
    "the cgroups of this machine cannot be changed ({error}). In a container they can when it is privileged and no "
    "process sits in its topmost cgroup: start it with --privileged --cgroupns=host, or move them first: "
    "mkdir /sys/fs/cgroup/init, then write each number in /sys/fs/cgroup/cgroup.procs to init/cgroup.procs"
)


def create(cgroup: str) -> None:
    """Make the cgroup: the kubelet insists that the root it is given exists."""
    try:
        _create(cgroup)
    except OSError as error:
        raise ClusterError(REFUSED.format(error=error)) from error


def _create(cgroup: str) -> None:
    first, second = hierarchies(_MOUNTS.read_text())
    for root in first:
        directory = _below(root, cgroup)
        directory.mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (root / file).exists():  # an empty set would let no process in
                (directory / file).write_text((root / file).read_text())
    for root in second:
        directory = _below(root, cgroup)
        directory.mkdir(exist_ok=True)
        if not first:  # beside version 1 the second hierarchy has no controllers
            controllers = " ".join(f"+{name}" for name in (root / "cgroup.controllers").read_text().split())
            for level in (root, directory):
                (level / "cgroup.subtree_control").write_text(controllers)


def remove(cgroup: str) -> None:
    """Remove the cgroup and all below; the kernel needs a moment after the last process."""
    deadline = time.monotonic() + REMOVE_SECONDS
    while remaining := present(cgroup):
        for directory in remaining:
            _remove_tree(directory)
        if time.monotonic() > deadline:
            raise ClusterError(f"these cgroups still hold processes: {', '.join(map(str, remaining))}")
        time.sleep(0.02)


def present(cgroup: str) -> list[Path]:
    """Where the cgroup exists."""
    first, second = hierarchies(_MOUNTS.read_text())
    return [directory for root in first + second if (directory := _below(root, cgroup)).is_dir()]


def _below(root: Path, cgroup: str) -> Path:
    return root / cgroup.lstrip("/")


def _remove_tree(top: Path) -> None:
    for directory, _, _ in os.walk(top, topdown=False):
        try:
            Path(directory).rmdir()
        except OSError:
            continue
