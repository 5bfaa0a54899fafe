"""What the training has reached, read from ms-swift's ``logging.jsonl`` as it grows.

The file is the source because stdout is a Python dict repr mixed with redrawn progress bars. One thing is not in it:
the beginning of an evaluation, which only the ``Val:`` bar shows; the output pump passes that on as ``saw_evaluation``.
On a resume ms-swift appends, so reading starts at the end of what is there.
The last line carries the whole log history, many MB after a long run: of each line only the first 64 KiB are kept,
where all that matters stands.
The speed is the log's own ``train_speed(s/it)``. ms-swift 3.7 writes ``train_speed(iter/s)`` instead, which counts the
steps before a resume as if this execution had done them: what it tells is the time since the start, and the speed is
that between two lines. Without either the runner's own clock tells the time.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from .. import report
from ..dropped import DroppedRows
from ..report import attribute, number

PREPARING, TRAINING, EVALUATING, SAVING, FINISHED = range(5)
LINE_LIMIT = 64 * 1024
READ_SIZE = 64 * 1024
WALK_SECONDS = 5.0
_STEP = re.compile(rb'"global_step/max_steps": "(\d{1,12})/\d')
_HISTORY = ', "log_history"'
_STEPS = re.compile(r"^(\d{1,12})/(\d{1,12})$")


@dataclass
class Report:
    """What the training tells of itself; None where nothing is known yet. The attributes are ``report.TRAINING``."""

    updated: int = 0
    phase: int = PREPARING
    step: Optional[int] = None
    max_steps: Optional[int] = None
    epoch: Optional[float] = None
    loss: Optional[float] = None
    eval_loss: Optional[float] = None
    learning_rate: Optional[float] = None
    grad_norm: Optional[float] = None
    seconds_per_step: Optional[float] = None
    eta_seconds: Optional[int] = None
    memory_gib: Optional[float] = None
    checkpoint_step: Optional[int] = None
    checkpoint_time: Optional[int] = None
    best_step: Optional[int] = None
    best_metric: Optional[float] = None
    checkpoint_eval_loss: Optional[float] = None
    best_eval_loss: Optional[float] = None
    tracker_workspace: Optional[str] = None
    data_rows: Optional[int] = None
    data_dropped: Optional[int] = None
    data_too_long: Optional[int] = None
    data_truncated: Optional[int] = None
    validation_rows: Optional[int] = None
    validation_dropped: Optional[int] = None

    def take_rows(self, rows: DroppedRows) -> None:
        """What is known of dropped rows. Of rows that are cut ms-swift never says how many."""
        train, validation = rows.train, rows.validation
        if train is not None:
            self.data_rows, self.data_dropped, self.data_too_long = train.rows, train.dropped, train.too_long
            self.data_truncated = 0 if rows.truncates is False else None
        if validation is not None:
            self.validation_rows, self.validation_dropped = validation.rows, validation.dropped

    def to_json(self) -> dict[str, Any]:
        """The members by their names in the report."""
        return {member.name: getattr(self, attribute(member.name)) for member in report.TRAINING}


class LineReader:
    """Whole lines that were added to a file since the last reading, each cut to ``LINE_LIMIT`` bytes."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self._path = path
        self._offset = offset
        self._part = b""

    def skip(self, offset: int) -> None:
        """Go on from ``offset``."""
        self._offset, self._part = offset, b""

    def read(self) -> list[bytes]:
        """New complete lines. A file that shrank was replaced and is read from its start."""
        try:
            size = self._path.stat().st_size
        except OSError:
            return []
        if size < self._offset:
            self._offset, self._part = 0, b""
        if size == self._offset:
            return []
        lines: list[bytes] = []
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                while chunk := file.read(READ_SIZE):
                    self._offset += len(chunk)
                    self._split(chunk, lines)
        except OSError:
            pass  # a network volume may fail for a moment; the next reading goes on from the same place
        return lines

    def _split(self, chunk: bytes, lines: list[bytes]) -> None:
        first, *rest = chunk.split(b"\n")
        self._part = (self._part + first)[:LINE_LIMIT]
        for piece in rest:
            lines.append(self._part)
            self._part = piece[:LINE_LIMIT]


def last_step(path: Path) -> Optional[int]:
    """The step of the last line that names one; None when there is no such line near the end of the file."""
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, 2) - LINE_LIMIT, 0))
            found = _STEP.findall(file.read(LINE_LIMIT))
    except OSError:
        return None
    return int(found[-1]) if found else None


def end_last_line(path: Path, *, repair: bool) -> int:
    """Size of the log, where new lines start; ``repair`` ends the line that a killed execution left unfinished."""
    try:
        with path.open("rb+" if repair else "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - 1, 0))
            if repair and file.read(1) not in (b"\n", b""):
                file.write(b"\n")
                size += 1
            return size
    except OSError:
        return 0


def parse_line(raw: bytes) -> Optional[dict[str, Any]]:
    """One line as a dict, without the history of the last one; None when it is not a JSON object."""
    text = raw.decode("utf-8", "replace").strip()
    at = text.find(_HISTORY)
    if at >= 0:
        text = text[:at] + "}"
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


class TrainingLog:
    """Follows one execution: feeds on lines of ``logging.jsonl`` and keeps the current ``Report``."""

    def __init__(self, reader: LineReader, clock: Callable[[], float] = time.monotonic) -> None:
        self.report = Report(updated=round(time.time()))
        self.loop_ended = False  # "train_runtime": the training loop ended by itself
        self.summary_seen = False  # the last line; written after an exception as well
        self.lines = 0
        self.train_lines = 0
        self.evaluations = 0
        self.nan_lines = 0  # in a row
        self._reader = reader
        self._clock = clock
        self._start: Optional[int] = None  # the step that this execution began with
        self._first: dict[bool, tuple[float, int]] = {}  # when which step was logged first, by whose clock

    def skip(self, offset: int) -> None:
        """Start behind what an earlier execution has logged."""
        self._reader.skip(offset)

    def poll(self) -> bool:
        """Read what is new; whether there was something."""
        lines = self._reader.read()
        for raw in lines:
            data = parse_line(raw)
            if data is not None:
                self.lines += 1
                self._take(data)
        if lines:
            self.report.updated = round(time.time())
        return bool(lines)

    def saw_evaluation(self) -> None:
        """The output shows an evaluation's bar."""
        if self.report.phase in (TRAINING, SAVING):
            self.report.phase = EVALUATING

    def _take(self, data: dict[str, Any]) -> None:
        now = self.report
        if "last_model_checkpoint" in data:
            self.summary_seen = True
            now.step = _integer(data.get("global_step"), now.step)
            return
        self._take_common(data)
        if "train_runtime" in data:
            self.loop_ended = True
            now.phase = FINISHED
        elif "eval_loss" in data or "eval_runtime" in data:
            self.evaluations += 1
            now.eval_loss = _or(number(data.get("eval_loss")), now.eval_loss)
            now.phase = TRAINING
        elif "loss" in data:
            self.train_lines += 1
            self.nan_lines = 0 if _finite(data["loss"]) else self.nan_lines + 1
            now.loss = number(data["loss"])
            now.learning_rate = number(data.get("learning_rate"))
            now.grad_norm = number(data.get("grad_norm"))
            now.phase = TRAINING

    def _take_common(self, data: dict[str, Any]) -> None:
        now = self.report
        steps = _STEPS.match(str(data.get("global_step/max_steps", "")))
        if steps:
            if self._start is None:
                self._start = now.step or 0
            now.step, now.max_steps = int(steps.group(1)), int(steps.group(2))
            now.seconds_per_step = _or(number(self._speed(data, now.step)), now.seconds_per_step)
        now.epoch = _or(number(data.get("epoch")), now.epoch)
        now.memory_gib = _or(number(data.get("memory(GiB)")), now.memory_gib)
        if now.seconds_per_step is not None and now.step is not None and now.max_steps is not None:
            left = number(max(now.max_steps - now.step, 0) * now.seconds_per_step)
            now.eta_seconds = None if left is None else round(left)

    def _speed(self, data: dict[str, Any], step: int) -> Optional[float]:
        """Mean seconds per step of this execution, None while nobody can tell."""
        seconds, rate = number(data.get("train_speed(s/it)")), number(data.get("train_speed(iter/s)"))
        if seconds:
            return seconds
        if not rate and self._first.get(True):
            return None  # a line of an evaluation, between others that tell the speed
        at = step / rate if rate else self._clock()
        since, first = self._first.setdefault(bool(rate), (at, step))
        if step > first:
            return round((at - since) / (step - first), 6)
        done = step - (self._start or 0)
        return round(at / done, 6) if rate and done > 0 else None


def _finite(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def _or(value: Optional[float], default: Optional[float]) -> Optional[float]:
    return default if value is None else value


def _integer(value: Any, default: Optional[int]) -> Optional[int]:
    return value if isinstance(value, int) and number(value) is not None else default


def written_since(roots: list[Path], since: float) -> bool:
    """Whether a file below these folders was written since then. Looks for ``WALK_SECONDS`` at most."""
    deadline, waiting = time.monotonic() + WALK_SECONDS, [str(root) for root in roots]
    while waiting and time.monotonic() < deadline:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.stat(follow_symlinks=False).st_mtime >= since:
                        return True
        except OSError:
            continue
    return False
