"""What can be known to fail before the minutes of imports and model loading: checked here, in a second.

Nothing heavy is imported: the version of ms-swift is read from the name of its metadata directory, GPUs are counted by
their device files.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Optional

from . import causes
from .classify import Judged, shorten
from .protocol import NVIDIA, Plan
from .record import ForeignDirectory, Record, Unreadable

_DIST = re.compile(r"^ms[_-]swift-(\d[^-]*)(?:-.*)?\.(?:dist|egg)-info$")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ASK_CUDA = "import ctypes; print(ctypes.CDLL('libcuda.so.1').cuInit(0))"
_CUDA_SECONDS = 120.0  # a node of many GPUs whose driver is not kept loaded needs tens of seconds
_DEVICES = {"nvidia": "nvidia[0-9]*", "amd": "dri/renderD*", "ascend": "davinci[0-9]*"}


def check(plan: Plan, environ: Mapping[str, str]) -> Optional[Judged]:
    """First thing that is wrong with pod and image, None when the training may start."""
    return (
        check_environment(plan.required_env, environ)
        or check_version(plan.swift_version, installed_version(sys.path))
        or (_check_nvidia(plan.gpus, environ) if plan.gpus and plan.gpu_resource == NVIDIA else None)
    )


def load_record(record: Record) -> Optional[Judged]:
    """Read whose output directory this is; what is wrong with it."""
    try:
        record.load()
    except ForeignDirectory as error:
        return Judged(causes.OUTPUT_OCCUPIED, str(error))
    except Unreadable as error:
        return Judged(causes.OUTPUT_UNREADABLE, str(error))
    return None


def clean_secrets(names: Iterable[str], environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The environment with blanks around one-line secrets removed, and the names of those that had some.

    A Secret made with ``echo`` ends with a line break, which no HTTP header takes. Texts of several lines (a private
    key) stay as they are.
    """
    cleaned = {name: environ[name].strip() for name in names if name in environ}
    changed = {name: value for name, value in cleaned.items() if value != environ[name] and len(value.split("\n")) == 1}
    return {**environ, **changed}, sorted(changed)


def check_environment(required: Iterable[str], environ: Mapping[str, str]) -> Optional[Judged]:
    """Each variable that the run needs is there and not blank."""
    missing = [name for name in required if not environ.get(name, "").strip()]
    if not missing:
        return None
    return Judged(causes.SECRET_MISSING, f"environment variable {', '.join(missing)} is not set or empty")


def check_version(wanted: Optional[str], installed: Optional[str]) -> Optional[Judged]:
    """The command was rendered for ``wanted`` (major.minor); flags were renamed between versions."""
    if wanted is None:
        return None
    if installed is None:
        return Judged(causes.VERSION_MISMATCH, "ms-swift is not installed in this image")
    if installed.split(".")[:2] == wanted.split(".")[:2]:
        return None
    return Judged(causes.VERSION_MISMATCH, f"the image has ms-swift {installed}, the run is for {wanted}")


def installed_version(path: Iterable[str]) -> Optional[str]:
    """Version of the ms-swift that ``import swift`` would find."""
    for directory in path:
        try:
            names = os.listdir(directory or ".")  # noqa: PTH208 - names are all that is needed
        except OSError:
            continue
        for name in names:
            found = _DIST.match(name)
            if found:
                return found.group(1)
    return None


def check_output(directory: Path, min_free_bytes: int) -> Optional[Judged]:
    """The output directory can be made and written, and its volume has room."""
    probe = directory / f".swiftop-probe-{os.getpid()}"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"swiftop")
        probe.unlink()
        free = shutil.disk_usage(directory).free
    except OSError as error:
        return storage_failure(error, directory)
    if free < min_free_bytes:
        text = f"the output volume has {free >> 20} MiB free, and at least {min_free_bytes >> 20} MiB are needed"
        return Judged(causes.DISK_FULL, text)
    return None


def is_full(error: OSError, directory: Path) -> bool:
    """Whether there was no room on the volume; a write to an open file does not tell which one it was."""
    elsewhere = isinstance(error.filename, str) and directory not in Path(error.filename).parents
    return error.errno in _FULL and not elsewhere


def storage_failure(error: OSError, directory: Path) -> Judged:
    """Cause of an error while writing to the output volume."""
    cause = causes.DISK_FULL if error.errno in _FULL else causes.VOLUME_NOT_WRITABLE
    user = f"user {os.getuid()}, groups {','.join(str(group) for group in sorted(os.getgroups()))}"
    return Judged(cause, shorten(f"cannot write to {directory}: {error.strerror or error} ({user})"))


def check_gpus(wanted: int, seen: int) -> Optional[Judged]:
    """The container sees as many accelerators as the run was given."""
    if seen >= wanted:
        return None
    return Judged(causes.GPU_MISSING, f"the run was given {wanted} GPU(s), the container sees {seen}")


def count_gpus(dev: Path = Path("/dev")) -> int:
    """Accelerators by device file; by ``nvidia-smi`` where a runtime hides the files (WSL)."""
    count = max(len(list(dev.glob(pattern))) for pattern in _DEVICES.values())
    if count == 0 and shutil.which("nvidia-smi"):
        try:
            listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return 0
        count = sum(line.startswith("GPU ") for line in listing.stdout.splitlines())
    return count


def _check_nvidia(gpus: int, environ: Mapping[str, str]) -> Optional[Judged]:
    return check_gpus(gpus, count_gpus()) or check_cuda(ask_cuda(environ))


def check_cuda(said: Optional[str]) -> Optional[Judged]:
    """CUDA works. With devices that are there and a driver that is not, ms-swift would train on the CPU for days."""
    if said is None or said == "0":
        return None
    text = f"error {said}" if said.isdecimal() else said or "no answer"
    return Judged(causes.GPU_MISSING, shorten(f"the GPUs are there, but CUDA does not start: {text}"))


def ask_cuda(environ: Mapping[str, str]) -> Optional[str]:
    """What ``cuInit`` of the driver says, 0 when all is well (CUresult in cuda.h); None when it takes too long.

    In a process of its own: the driver would stay mapped in the runner.
    """
    command = [sys.executable, "-I", "-S", "-c", _ASK_CUDA]
    try:
        done = subprocess.run(
            command, env=dict(environ), capture_output=True, text=True, timeout=_CUDA_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return (done.stdout or done.stderr).strip().rpartition("\n")[2]


def wait_for_name(
    name: str,
    *,
    seconds: float = 300,
    resolve: Callable[[str, None], object] = socket.getaddrinfo,
    sleep: Callable[[float], object] = time.sleep,
) -> Optional[Judged]:
    """Wait until the rendezvous name resolves: a pod that starts first does not find the other's yet.

    torch's own rendezvous gives up on an unknown name within seconds, while DNS may cache the miss for 30.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            resolve(name, None)
            return None
        except OSError as error:
            if time.monotonic() >= deadline:
                text = f"the rendezvous name {name} does not resolve after {seconds:.0f} s: {error}"
                return Judged(causes.COLLECTIVE_FAILED, text)
            sleep(1)
