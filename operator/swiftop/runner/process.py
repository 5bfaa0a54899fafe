"""The training as a process: its own group, its output through the redactor, its end, and everybody's zombies.

The runner is PID 1 of the container, so orphans of the training become its children and are reaped here with
``waitpid(-1)``; that is why ``Popen.wait`` and ``poll``, which wait for one PID, are never used.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Optional

from .redact import Redactor

READ_SIZE = 64 * 1024
SMALL_READ = 4096
GATHER_SECONDS = 0.05  # after a small read: a progress bar redraws many times a second, one wake-up does for all
TAIL_BYTES = 64 * 1024
PARENT = 1  # index of the parent PID in /proc/PID/stat after the command's name


class Output:
    """Passes the child's output on, redacted, and keeps its tail."""

    def __init__(
        self, redactor: Redactor, *, target: int = 1, on_chunk: Callable[[bytes], None] = lambda _: None
    ) -> None:
        self._redactor = redactor
        self._target = target
        self._on_chunk = on_chunk
        self._lock = threading.Lock()
        self._tail = b""
        self._open_line = False

    def pump(self, source: int) -> None:
        """Copy until the last writer closes its end."""
        while True:
            try:
                data = os.read(source, READ_SIZE)
            except OSError:
                break
            if not data:
                break
            self._pass_on(self._redactor.feed(data))
            if len(data) < SMALL_READ:
                time.sleep(GATHER_SECONDS)
        self._pass_on(self._redactor.close())
        os.close(source)

    def say(self, line: str) -> None:
        """Print a line of the runner's own, never in the middle of the child's."""
        text = self._redactor.text(line).encode("utf-8", "replace") + b"\n"
        with self._lock:
            self._write((b"\n" if self._open_line else b"") + text)
            self._open_line = False

    def tail(self) -> str:
        """End of the child's output, redacted."""
        with self._lock:
            return self._tail.decode("utf-8", "replace")

    def _pass_on(self, data: bytes) -> None:
        if not data:
            return
        with self._lock:
            self._tail = (self._tail + data)[-TAIL_BYTES:]
            self._write(data)
            self._open_line = not data.endswith(b"\n")
        self._on_chunk(data)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        with contextlib.suppress(OSError):  # a log that nobody reads any more must not end the training
            while view:
                view = view[os.write(self._target, view) :]


class Child:
    """The running training."""

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
        """Collect all ended processes; whether the training itself has ended."""
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
        """End the training and all that it started, at once."""
        workers = children_of(self.pid)  # torchrun may start them in sessions of their own
        _kill_group(self.pid)
        _kill_all(workers)

    def close(self, seconds: float = 5) -> None:
        """After the end: what is left of the training, adopted orphans included, would keep the output open."""
        _kill_group(self.pid)
        if os.getpid() == 1:
            _kill_all(children_of(1))
        self._pump.join(seconds)
        self.reap()


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
