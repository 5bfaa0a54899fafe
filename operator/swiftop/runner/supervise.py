"""The loop around a running training: signals, progress, checkpoints, the fence, the watchdog.

One look a second costs a ``stat`` of one file; what asks more of the file system (checkpoints, the record) is looked at
every five.
"""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

from . import checkpoints
from .cachelock import CacheLock
from .plan import Plan
from .process import Child, Output
from .progress import EVALUATING, PREPARING, SAVING, TRAINING, Progress, Tracker
from .record import Record, Superseded
from .watchdog import FLUSHING, Watchdog

LOOK_SECONDS = 1.0
SLOW_LOOK_SECONDS = 5.0
EVALUATION_BAR = b"Val:"
PROGRESS_PREFIX = "swiftop-progress "


class Stopped(Exception):
    """The pod was asked to stop."""


class Signals:
    """Signals as a queue. A handler may fill a ``SimpleQueue`` while the main thread waits on it, and no other."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.stop_requested = False

    def install(self) -> None:
        """PID 1 ignores every signal that it has no handler for."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda number, _frame: self._queue.put(number))

    def wait(self, seconds: float) -> bool:
        """Sleep until a signal or the time is over; whether a stop was asked for just now."""
        asked, timeout = False, max(seconds, 0.0)
        with contextlib.suppress(queue.Empty):
            while True:
                number = self._queue.get(timeout=timeout)
                timeout = 0.0
                asked = asked or number in (signal.SIGTERM, signal.SIGINT)
        self.stop_requested = self.stop_requested or asked
        return asked

    def pause(self, seconds: float) -> None:
        """Sleep during the preparation; a request to stop ends it."""
        deadline = time.monotonic() + seconds
        while not self.stop_requested and time.monotonic() < deadline:
            self.wait(deadline - time.monotonic())
        if self.stop_requested:
            raise Stopped


class Supervisor:
    """Watches one child until it has ended."""

    def __init__(
        self,
        plan: Plan,
        *,
        child: Child,
        tracker: Tracker,
        record: Record,
        output: Output,
        signals: Signals,
        lock: Optional[CacheLock],
    ) -> None:
        self._plan = plan
        self._child = child
        self._tracker = tracker
        self._record = record
        self._output = output
        self._signals = signals
        self._lock = lock
        self._directory = Path(plan.output_dir)
        self._started = time.time()
        self._slow_look = self._next_line = 0.0
        self._saving: Optional[tuple[str, int, int]] = None
        self._evaluation_seen = False
        self._watchdog = Watchdog(
            plan.stall_seconds, plan.logging_steps, plan.finish_timeout, silent_evaluation=plan.silent_evaluation
        )
        self.ended_by: Optional[str] = None
        self.superseded = False

    def on_chunk(self, data: bytes) -> None:
        """Output of the child, in the pump's thread: only this bar tells that an evaluation goes on."""
        if EVALUATION_BAR in data:
            self._evaluation_seen = True

    def run(self, on_stop: Callable[[], None]) -> None:
        """Until the child has ended, by itself or by the runner."""
        while not self._child.reap():
            if self._signals.wait(LOOK_SECONDS):
                self._child.forward(signal.SIGTERM, elastic=self._plan.elastic)  # first: all else may have to wait
                if self._plan.nodes > 1:
                    self._record.leave_stop()
                on_stop()
                self._output.say("swiftop: asked to stop, the training has been told")
            self._look()
        self._release(loaded=self._tracker.lines > 0)
        self._tracker.poll()

    def _look(self) -> None:
        now, tracker = time.monotonic(), self._tracker
        if tracker.poll() and tracker.train_lines:
            self._watchdog.sign_of_life(now)
            self._output.calm(now)
            if tracker.evaluations:
                self._watchdog.evaluated(now)
        if tracker.summary_seen:
            self._watchdog.summary(now)
        if self._evaluation_seen:
            self._evaluation_seen = False
            tracker.saw_evaluation()
            if tracker.progress.phase == EVALUATING:
                self._watchdog.sign_of_life(now)
        if now >= self._slow_look:
            self._slow_look = now + SLOW_LOOK_SECONDS
            self._slowly(now)
        if now >= self._next_line:
            self._next_line = now + self._plan.progress_interval
            self.print_progress()
        self._act(now)

    def _slowly(self, now: float) -> None:
        if self._lock is not None and (self._tracker.lines or self._arguments_written()):
            self._release(loaded=True)
        progress = self._tracker.progress
        if progress.phase != PREPARING:
            saving = checkpoints.saving(self._directory, self._started)
            if saving != self._saving:
                self._saving = saving
                self._watchdog.sign_of_life(now)
            if saving is not None and progress.phase in (TRAINING, EVALUATING):
                progress.phase = SAVING
            elif saving is None and progress.phase == SAVING:
                progress.phase = TRAINING
            update_checkpoint(progress, self._plan)
        try:
            self._record.check()
        except Superseded as error:
            self._output.say(f"swiftop: {error}; stopping at once, so that two never write")
            self.superseded = True
            self._child.kill()

    def _act(self, now: float) -> None:
        if self.ended_by is not None or self.superseded:
            return
        self.ended_by = self._watchdog.verdict(
            now,
            seconds_per_step=self._tracker.progress.seconds_per_step,
            nan_lines=self._tracker.nan_lines,
            stopping=self._signals.stop_requested,
        )
        if self.ended_by is not None:
            what = "its tracker does not finish" if self.ended_by == FLUSHING else self.ended_by
            self._output.say(f"swiftop: ending the training: {what}")
            self._child.kill()

    def _arguments_written(self) -> bool:
        """ms-swift writes ``args.json`` when model and datasets are loaded and encoded, just before the first step."""
        try:
            return (self._directory / "args.json").stat().st_mtime >= self._started - 1
        except OSError:
            return False

    def _release(self, *, loaded: bool) -> None:
        if self._lock is not None:
            self._lock.release(loaded=loaded)
            self._lock = None

    def print_progress(self) -> None:
        """The line that the operator reads from the log when it cannot reach the pod."""
        self._output.say(PROGRESS_PREFIX + json.dumps(self._tracker.progress.to_json(), allow_nan=False))


def update_checkpoint(progress: Progress, plan: Plan) -> None:
    """Newest complete checkpoint of the directory into the progress."""
    directory = Path(plan.output_dir)
    newest = checkpoints.candidates(directory)[:1]
    if newest and newest[0].name == f"checkpoint-{progress.checkpoint_step}":
        return  # known already: its files need not be read again
    found = checkpoints.find(directory, world_size=plan.world_size, resumable=plan.resume)
    if found is not None:
        apply_checkpoint(progress, found)


def apply_checkpoint(progress: Progress, found: checkpoints.Checkpoint) -> None:
    """Numbers of a checkpoint into the progress."""
    progress.checkpoint_step, progress.checkpoint_time = found.step, round(found.time)
    if found.best_step is not None:
        progress.best_step, progress.best_metric = found.best_step, found.best_metric


def snapshot(tracker: Tracker) -> Callable[[], dict[str, Any]]:
    """For the HTTP server's thread."""
    return tracker.progress.to_json
