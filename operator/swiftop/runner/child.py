"""The work as a process: its own group, its end, and everybody's zombies.

The runner is PID 1 of the container, so orphans of the work become its children and are reaped here with
``waitpid(-1)``; that is why ``Popen.wait`` and ``poll``, which wait for one PID, are never used.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from .output import Output

PARENT = 1  # index of the parent PID in /proc/PID/stat after the command's name


class Child:
    """The running process."""

    def __init__(self, command: tuple[str, ...], *, environ: Mapping[str, str], output: Output) -> None:
        reader, writer = os.pipe()
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                env=dict(environ),
                start_new_session=True,
            )
        except OSError:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        self.pid = self._process.pid
        self.status: Optional[int] = None
        self._pump = threading.Thread(target=output.pump, args=(reader,), name="output", daemon=True)
        self._pump.start()

    def reap(self) -> bool:
        """Collect all ended processes; whether the process itself has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == self.pid:
                self.status = status
                self._process.returncode = os.waitstatus_to_exitcode(status)
        return self.status is not None

    @property
    def exit_code(self) -> Optional[int]:
        """Exit code, None when it runs or died of a signal."""
        return os.WEXITSTATUS(self.status) if self.status is not None and os.WIFEXITED(self.status) else None

    @property
    def died_of(self) -> Optional[int]:
        """The signal that ended it, None otherwise."""
        return os.WTERMSIG(self.status) if self.status is not None and os.WIFSIGNALED(self.status) else None

    def forward(self, number: int, *, elastic: bool) -> None:
        """Pass a signal on to those who save a checkpoint.

        torchrun would give its workers 30 seconds and kill them, so with it in between they are told themselves. The
        group is not signalled: the workers' own helpers (data loaders) must live until the checkpoint is saved.
        """
        targets = children_of(self.pid) if elastic else []
        for pid in targets or [self.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """End the process and all that it started, at once."""
        workers = children_of(self.pid)  # torchrun may start them in sessions of their own
        _kill_group(self.pid)
        _kill_all(workers)

    def close(self, seconds: float = 5) -> None:
        """After the end: what is left of it, adopted orphans included, would keep the output open."""
        _kill_group(self.pid)
        if os.getpid() == 1:
            self._end_orphans(seconds)
        self._pump.join(seconds)
        self.reap()

    def _end_orphans(self, seconds: float) -> None:
        """Until none is left: children of an orphan come here when it dies, and the next step may have a secret that is
        not theirs to see."""
        deadline = time.monotonic() + seconds
        while (left := children_of(1)) and time.monotonic() < deadline:
            _kill_all(left)
            self.reap()
            time.sleep(0.01)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _kill_all(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def children_of(pid: int, proc: Path = Path("/proc")) -> list[int]:
    """Direct children of a process."""
    found = []
    for entry in proc.iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            fields = text.rpartition(")")[2].split()
            if int(fields[PARENT]) == pid:
                found.append(int(entry.name))
    return sorted(found)


def memory_kills() -> Optional[int]:
    """How often the kernel has killed in this container for want of memory; None where it does not tell."""
    for path, key in (
        ("/sys/fs/cgroup/memory.events", "oom_kill"),
        ("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill"),
    ):
        try:
            lines = Path(path).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
    return None
