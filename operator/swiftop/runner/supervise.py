"""The loop around a running process: signals, the program's checks, the fence, the progress line.

Once a second the program is asked, which costs it a ``stat`` of one file; the record is read every five seconds.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable
from typing import Optional

from .child import Child, memory_kills
from .classify import EndedChild
from .program import Context, Program, Step
from .record import Superseded
from .signals import Stopped

CHECK_SECONDS = 1.0
RECORD_SECONDS = 5.0


class CannotStart(Exception):
    """The process of a step cannot be started."""


class Supervisor:
    """Runs one process of a program to its end."""

    def __init__(
        self, context: Context, program: Program, *, print_progress: Callable[[], None], on_stop: Callable[[], None]
    ) -> None:
        self._context = context
        self._program = program
        self._print_progress = print_progress
        self._on_stop = on_stop
        self._next_record = self._next_line = 0.0
        self._ended_by: Optional[str] = None
        self._superseded = self._surprised = False
        self.child: Optional[Child] = None

    def run(self, step: Step) -> EndedChild:
        """Start the process and stay until it has ended. Raises ``CannotStart``."""
        signals, kills = self._context.signals, memory_kills()
        self._ended_by = None
        inherited = {name: value for name, value in self._context.environ.items() if name not in step.without}
        environ = {**inherited, **step.environ}
        try:
            child = self.child = Child(step.command, environ=environ, output=self._context.output)
        except OSError as error:
            raise CannotStart(f"cannot start {step.command[0]}: {error}") from error
        while not child.reap():
            if signals.wait(CHECK_SECONDS):
                child.forward(signal.SIGTERM, elastic=step.elastic)  # first: all else may have to wait
                self._stop()
            self._check(child)
        child.close()
        if self._superseded:
            raise Superseded("another execution of this run has taken over")
        return EndedChild(
            exit_code=child.exit_code,
            signal=child.died_of,
            forwarded=signals.stop_requested or (self._context.plan.nodes > 1 and self._context.record.stop_left),
            memory_killed=False if self._ended_by is not None else _rose(kills, memory_kills()),
            ended_by=self._ended_by,
        )

    def _stop(self) -> None:
        if self._context.plan.nodes > 1:
            self._context.record.leave_stop()
        self._on_stop()
        self._program.stop()
        self._context.output.say("swiftop: asked to stop, the signal was passed on")

    def _check(self, child: Child) -> None:
        now = time.monotonic()
        reason = self._looked(now)
        if now >= self._next_record:
            self._next_record = now + RECORD_SECONDS
            self._check_record(child)
        if now >= self._next_line:
            self._next_line = now + self._context.plan.progress_interval
            self._print_progress()
        if reason is not None and self._ended_by is None and not self._superseded:
            self._ended_by = reason
            self._context.output.say(f"swiftop: ending the process: {reason}")
            child.kill()

    def _looked(self, now: float) -> Optional[str]:
        """What the program says; whatever surprises it in a file or an answer does not end the work."""
        try:
            return self._program.check(now)
        except (OSError, Stopped, Superseded):
            raise
        except Exception:
            if not self._surprised:
                self._surprised = True
                self._context.output.say(traceback.format_exc().rstrip())
                self._context.output.say("swiftop: this was met while looking at the work, which goes on")
        return None

    def _check_record(self, child: Child) -> None:
        try:
            self._context.record.check()
        except Superseded as error:
            self._context.output.say(f"swiftop: {error}; stopping at once, so that two never write")
            self._superseded = True
            child.kill()

    def abandon(self) -> None:
        """After a fault of the runner: no process may be left behind."""
        if self.child is not None:
            self.child.kill()
            self.child.close()


def _rose(before: Optional[int], after: Optional[int]) -> Optional[bool]:
    return None if before is None or after is None else after > before
