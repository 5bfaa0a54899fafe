"""A process's output on its way to the pod's log: redacted, and kept as far as it tells why the process ended."""

from __future__ import annotations

import contextlib
import os
import re
import select
import threading
import time
from collections.abc import Callable
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
LINE_BYTES = 4096  # a longer line is not kept together

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
        self._begun = b""  # a line that waits for the redactor: its end may be the beginning of a secret
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
        """The work goes on: what it printed some time ago has not ended it."""
        with self._keeping:
            if self._head and now - self._head_since >= CALM_SECONDS:
                self._head = b""

    def _pass_on(self, data: bytes) -> None:
        if not data and not self._begun:
            return
        with self._keeping:
            self._keep(data)
        with self._writing:
            self._write_lines(self._begun + data)
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

    def _write_lines(self, data: bytes) -> None:
        """All of it; of a line whose end is held back nothing, so that the runner's own lines do not cut it in two."""
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1 if self._redactor.holds else len(data)
        if len(data) - end > LINE_BYTES:
            end = len(data)
        self._begun = data[end:]
        if end:
            self._write(data[:end])
            self._open_line = not data[:end].endswith(b"\n")

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        with contextlib.suppress(OSError):  # a log that nobody reads any more must not end the work
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
