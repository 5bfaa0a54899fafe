"""``swiftop-run.json``: whose output directory this is, which execution may write to it, and how each one ended.

The file is written before anything else. It keeps two runs on one claim apart (by UID), is the fence between two
executions of one run (a node that was thought lost comes back: the runner that sees a higher epoch than its own stops
at once), remembers that a run is finished, so that it is never trained a second time, and tells the other nodes which
checkpoint node 0 chose.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

NAME = "swiftop-run.json"
KEEP = 20  # executions remembered


class ForeignDirectory(Exception):
    """The directory belongs to another run."""


class Superseded(Exception):
    """A newer execution of this run has started."""


class Record:
    """The record as this execution sees it."""

    def __init__(self, directory: Path, *, uid: str) -> None:
        self.path = directory / NAME
        self.uid = uid
        self.epoch = 0
        self.data: dict[str, Any] = {}

    def load(self) -> Mapping[str, Any]:
        """Read the file; an absent or torn one is an empty record. Refuses another run's."""
        self.data = _read(self.path)
        if self.data.get("uid", self.uid) != self.uid:
            raise ForeignDirectory(f"{self.path.parent} belongs to run UID {self.data['uid']}")
        return self.data

    @property
    def finished(self) -> Optional[str]:
        """Reason of a finished run, None while it is not finished."""
        return str(self.data.get("reason")) if self.data.get("outcome") == "finished" else None

    @property
    def last_execution(self) -> dict[str, Any]:
        """The newest execution, empty when there was none."""
        executions = self.data.get("executions") or [{}]
        return dict(executions[-1])

    def begin(self, *, attempt: int, host: str, command: tuple[str, ...], checkpoint: Optional[str]) -> None:
        """Count this execution and write it down."""
        self.epoch = int(self.data.get("epoch", 0)) + 1
        execution = {
            "epoch": self.epoch,
            "attempt": attempt,
            "host": host,
            "start": round(time.time()),
            "checkpoint": checkpoint,
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

    def join(self, attempt: int) -> bool:
        """On another node than the first: take part in the execution that node 0 began for this attempt, if it did."""
        if self.last_execution.get("attempt") != attempt:
            return False
        self.epoch = int(self.data["epoch"])
        return True

    def end(self, *, outcome: str, reason: str, message: str, step: Optional[int]) -> None:
        """Write down how this execution ended. A superseded one stays silent: the file is not its own any more."""
        self.check()
        execution = {"end": round(time.time()), "outcome": outcome, "reason": reason, "message": message, "step": step}
        self.data["executions"][-1].update(execution)
        if outcome == "finished":
            self.data.update(outcome=outcome, reason=reason)
        self._write()

    def check(self) -> None:
        """Raise when another execution has taken over."""
        newest = _read(self.path)
        if newest.get("uid", self.uid) != self.uid or int(newest.get("epoch", 0)) > self.epoch:
            raise Superseded(f"execution {newest.get('epoch')} has taken over from {self.epoch}")

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


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
