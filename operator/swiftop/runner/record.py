"""``swiftop-run.json``: whose output directory this is, which execution may write to it, and how each one ended.

The file is written before anything else, and what cannot be read is never taken for an empty one: a run that is
finished would be trained again. It keeps two runs on one claim apart (by UID), is the fence between two
executions of one run (a node that was thought lost comes back: the runner that sees a higher epoch than its own stops
at once), remembers that a run is finished, so that it is never trained a second time, and tells the other nodes which
checkpoint node 0 chose. Of each execution it keeps how it began and ended, so that the next one can tell it: a
termination message may vanish with its pod, and an execution that is killed with its node leaves none.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Optional

from . import causes
from .protocol import FINISHED, INTERRUPTED
from .report import Previous, read_previous

NAME = "swiftop-run.json"
STOP_MARK = "swiftop-stop-"
PAUSES = (0.2, 1.0, 3.0)  # between tries to read it: a network volume may fail for a moment
KEEP = 20  # executions remembered
LARGEST = 4 << 20  # bytes of a file that the runner itself reads


class ForeignDirectory(Exception):
    """The directory belongs to another run."""


class Superseded(Exception):
    """A newer execution of this run has started."""


class Unreadable(Exception):
    """The record is there, but cannot be read."""


class Record:
    """The record as this execution sees it."""

    def __init__(self, directory: Path, *, uid: str) -> None:
        self.path = directory / NAME
        self.uid = uid
        self.epoch = 0
        self.execution: Optional[str] = None  # two that start at the same moment count the same epoch
        self.data: dict[str, Any] = {}

    def load(self) -> Mapping[str, Any]:
        """Read the file; an absent one is an empty record. Refuses another run's."""
        self.data = _read(self.path, pauses=PAUSES)
        if self.data.get("uid", self.uid) != self.uid:
            raise ForeignDirectory(f"{self.path.parent} belongs to run UID {self.data['uid']}")
        return self.data

    @property
    def finished(self) -> Optional[str]:
        """Reason of a finished run, None while it is not finished."""
        return str(self.data.get("reason")) if self.data.get("outcome") == FINISHED else None

    @property
    def last_execution(self) -> dict[str, Any]:
        """The newest execution, empty when there was none."""
        executions = self.data.get("executions") or [{}]
        return dict(executions[-1])

    def close(self, *, at: float, step: Optional[int], kept_step: Optional[int]) -> None:
        """Write for an execution that left no end what is known of it; ``begin`` saves it."""
        last = self.last_execution
        if last and "outcome" not in last:
            last.update(end=round(at), outcome=INTERRUPTED, reason=causes.LOST.reason, step=step, keptStep=kept_step)
            self.data["executions"][-1] = last

    @property
    def previous(self) -> tuple[Previous, ...]:
        """How the execution before this one ended, and those before that in the same attempt or the one before it.

        Of older attempts nothing is told: which of their ends was answered by a retry is not known any more.
        """
        executions = self.data.get("executions") or []
        before, attempt = (executions[:-1] if self.epoch else executions), self.last_execution.get("attempt") or 0
        told = [one for one in before[:-1] if (one.get("attempt") or 0) >= attempt - 1] + before[-1:]
        return read_previous({"previous": [{**one, "time": one.get("end")} for one in told]})

    def begin(
        self,
        *,
        attempt: int,
        pod: Mapping[str, str],
        command: tuple[str, ...],
        start: Optional[str] = None,
        step: Optional[int] = None,
    ) -> None:
        """Count this execution and write it down. ``start`` is the checkpoint that it goes on from, of ``step``."""
        self.epoch, self.execution = self.data.get("epoch", 0) + 1, os.urandom(8).hex()
        execution = {
            "epoch": self.epoch,
            "id": self.execution,
            "attempt": attempt,
            **pod,
            "start": round(time.time()),
            "checkpoint": start,
            "startStep": step,
        }
        self.data = {
            "version": 1,
            "uid": self.uid,
            "commandHash": hashlib.sha256(json.dumps(command).encode()).hexdigest(),
            "epoch": self.epoch,
            "executions": [*(self.data.get("executions") or []), execution][-KEEP:],
            "outcome": None,
            "reason": None,
        }
        self._write()
        for mark in self.path.parent.glob(f"{STOP_MARK}*"):
            with contextlib.suppress(OSError):
                mark.unlink()

    def join(self, attempt: int) -> bool:
        """On another node than the first: take part in the execution that node 0 began for this attempt, if it did."""
        if self.last_execution.get("attempt") != attempt:
            return False
        self.epoch, self.execution = self.data["epoch"], self.last_execution.get("id")
        return True

    def end(self, *, outcome: str, reason: str, message: str, step: Optional[int], kept_step: Optional[int]) -> None:
        """Write down how this execution ended. A superseded one writes nothing: the file is no longer its own."""
        self._compare(_read(self.path, pauses=PAUSES))
        self.data["executions"][-1].update(
            end=round(time.time()), outcome=outcome, reason=reason, message=message, step=step, keptStep=kept_step
        )
        if outcome == FINISHED:
            self.data.update(outcome=outcome, reason=reason)
        self._write()

    def check(self) -> None:
        """Raise when another execution has taken over. Called often: what cannot be read now is read the next time."""
        with contextlib.suppress(Unreadable, OSError):
            self._compare(_read(self.path))

    def _compare(self, newest: Mapping[str, Any]) -> None:
        if not newest:
            return
        epoch, execution = newest.get("epoch", 0), (newest.get("executions") or [{}])[-1].get("id")
        if newest.get("uid") != self.uid or epoch > self.epoch or (epoch == self.epoch and execution != self.execution):
            raise Superseded(f"execution {epoch} has taken over from {self.epoch}")

    def leave_stop(self) -> None:
        """Tell the other nodes that this one was asked to stop: their training ends as if it were finished."""
        if self.epoch:
            with contextlib.suppress(OSError):
                self._stop_mark.touch()

    @property
    def stop_left(self) -> bool:
        """Whether any node was asked to stop. A listing, because a network volume remembers what was not there."""
        try:
            return self._stop_mark.name in os.listdir(self.path.parent)  # noqa: PTH208 - see above
        except OSError:
            return False

    @property
    def _stop_mark(self) -> Path:
        return self.path.with_name(f"{STOP_MARK}{self.epoch}")

    def _write(self) -> None:
        write_atomic(self.path, json.dumps(self.data, indent=1).encode())


def write_atomic(path: Path, content: bytes) -> None:
    """Readers see the old file or the new one, after a crash as well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    with contextlib.suppress(OSError):  # not every network volume can do this
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def opened(path: Path) -> BinaryIO:
    """A file on a volume that others may write to: PID 1 waits for no pipe. Raises ``OSError``."""
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.EINVAL, "it is not a file")
    return os.fdopen(number, "rb")


def read_json(path: Path) -> Any:
    """What a small file on a volume holds that others may write to; one without an end is not taken into memory.

    Raises ``OSError``, and ``ValueError`` for what is no such file.
    """
    with opened(path) as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST >> 20} MiB")
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def uid_of(directory: Path) -> Optional[str]:
    """The run whose output directory this is; None without a record. Raises ``Unreadable``."""
    return _read(directory / NAME, pauses=PAUSES).get("uid")


def _read(path: Path, pauses: tuple[float, ...] = ()) -> dict[str, Any]:
    for pause in (*pauses, None):
        try:
            data = read_json(path)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except PermissionError:
            raise
        except OSError as error:
            trouble = error.strerror or str(error)
        except ValueError:
            trouble = "it is damaged"
        else:
            if _sound(data):
                return dict(data)
            trouble = "it is damaged"
        if pause is not None:
            time.sleep(pause)
    raise Unreadable(f"{path} cannot be read: {trouble}")


def _sound(data: object) -> bool:
    if not isinstance(data, dict) or not isinstance(data.get("uid"), str) or not isinstance(data.get("epoch"), int):
        return False
    executions = data.get("executions")
    return isinstance(executions, list) and all(isinstance(execution, dict) for execution in executions)
