"""The training as a process: its own group, its output through the redactor, its end, and everybody's zombies.

The runner is PID 1 of the container, so orphans of the training become its children and are reaped here with
``waitpid(-1)``; that is why ``Popen.wait`` and ``poll``, which wait for one PID, are never used.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
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
HEAD_BYTES = 32 * 1024
BEFORE_BYTES = 512  # of the line before the head
SEAM_BYTES = 64  # the first words may come in two pieces
CALM_SECONDS = 30.0  # a process may log a step after another one has failed, but not for long
SAY_SECONDS = 1.0
PARENT = 1  # index of the parent PID in /proc/PID/stat after the command's name

_FIRST_WORDS = re.compile(rb"(?:^|[\n\r]|\]: )(?:Traceback \(most recent call last\)|terminate called after)")


class Output:
    """Passes the child's output on, redacted, and keeps of it what tells why it ended.

    The end is kept, and from the first traceback on some more: when one of many processes fails, what the others say
    of it may be longer than the end that is kept.
    """

    def __init__(
        self, redactor: Redactor, *, target: int = 1, on_chunk: Callable[[bytes], None] = lambda _: None
    ) -> None:
        self._redactor = redactor
        self._target = target
        self._on_chunk = on_chunk
        self._writing = threading.Lock()  # held for as long as nobody reads the log
        self._open_line = False
        self._keeping = threading.Lock()  # never held while writing: a stop must not wait for a reader of the log
        self._tail = self._head = b""
        self._total = self._head_at = 0  # bytes so far, and how many before the head
        self._head_since = 0.0

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
        """Print a line of the runner's own, never in the middle of the child's; dropped while nobody reads the log."""
        text = self._redactor.text(line).encode("utf-8", "replace") + b"\n"
        if self._writing.acquire(timeout=SAY_SECONDS):
            try:
                self._open_line = not self._offer((b"\n" if self._open_line else b"") + text)
            finally:
                self._writing.release()

    def tail(self) -> str:
        """End of the child's output, redacted."""
        with self._keeping:
            return self._tail.decode("utf-8", "replace")

    def evidence(self) -> str:
        """The output from the first traceback on, redacted; of a long one head and end, with a gap between them."""
        with self._keeping:
            tail_at = self._total - len(self._tail)
            head = self._head[: max(tail_at - self._head_at, 0)]
            gap = b"\n...\n" if head and self._head_at + len(head) < tail_at else b""
            return (head + gap + self._tail).decode("utf-8", "replace")

    def calm(self, now: float) -> None:
        """The training goes on: what it said some time ago has not ended it."""
        with self._keeping:
            if self._head and now - self._head_since >= CALM_SECONDS:
                self._head = b""

    def _pass_on(self, data: bytes) -> None:
        if not data:
            return
        with self._keeping:
            self._keep(data)
        with self._writing:
            self._write(data)
            self._open_line = not data.endswith(b"\n")
        self._on_chunk(data)

    def _keep(self, data: bytes) -> None:
        if self._head:
            self._head += data[: HEAD_BYTES - len(self._head)]
        else:
            before = self._tail[-BEFORE_BYTES:]
            seen = before + data
            start = _first_words(seen, max(len(before) - SEAM_BYTES, 0))
            if start is not None:
                self._head = seen[start : start + HEAD_BYTES]
                self._head_at, self._head_since = self._total - len(before) + start, time.monotonic()
        self._total += len(data)
        self._tail = (self._tail + data)[-TAIL_BYTES:]

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        with contextlib.suppress(OSError):  # a log that nobody reads any more must not end the training
            while view:
                view = view[os.write(self._target, view) :]

    def _offer(self, data: bytes) -> bool:
        """Write without ever waiting long; whether all was written. A pipe that is ready takes ``PIPE_BUF`` at once."""
        with contextlib.suppress(OSError):
            for at in range(0, len(data), select.PIPE_BUF):
                if not select.select([], [self._target], [], SAY_SECONDS)[1]:
                    return False
                os.write(self._target, data[at : at + select.PIPE_BUF])
        return True


def _first_words(seen: bytes, at: int) -> Optional[int]:
    """Where the line before a traceback begins, which says whose it is; None without one from ``at`` on."""
    if seen.find(b"Traceback (", at) < 0 and seen.find(b"terminate called", at) < 0:  # much faster than the pattern
        return None
    found = _FIRST_WORDS.search(seen, at)
    return seen.rfind(b"\n", 0, found.start()) + 1 if found else None


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
