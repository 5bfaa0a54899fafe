"""Where a training starts from: its own newest checkpoint, that of another run, or nothing.

Node 0 chooses and writes its choice into the record with the execution; the other nodes follow it, for ranks that
resume from different steps never meet.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from .. import preflight
from ..classify import Judged
from ..program import Context
from ..protocol import POD_NAME, POD_UID, TrainSettings
from . import checkpoints, source
from .checkpoints import Checkpoint
from .log import last_step

TELL_SECONDS = 60.0  # between two lines about a wait


@dataclass(frozen=True)
class Start:
    """A checkpoint to start from, and the flags that make ms-swift do so."""

    checkpoint: Checkpoint
    flags: tuple[str, ...]
    own: bool = True
    weights_only: bool = False

    @property
    def path(self) -> str:
        """Of the checkpoint."""
        return self.checkpoint.path


class Starter:
    """Chooses the start of one execution and begins it in the record."""

    def __init__(self, context: Context, settings: TrainSettings) -> None:
        self._context = context
        self._settings = settings
        self._directory = context.directory

    def choose(self) -> Union[Start, Judged, None]:
        """Where to start, None for the beginning; ``Judged`` when what was asked for cannot be had."""
        return self._choose() if self._context.rank == 0 else self._follow()

    def _choose(self) -> Union[Start, Judged, None]:
        kept = self._newest(resumable=self._settings.resume)
        self._tell_previous(kept)
        own = kept if self._settings.resume else None
        found: Union[Checkpoint, Judged, None] = own
        if own is None and self._settings.resume_from is not None:
            found = source.find(self._settings.resume_from, self._context.plan.world_size, self._settings.max_steps)
        start = None if isinstance(found, Judged) else found
        environ = self._context.environ
        self._context.record.begin(
            attempt=self._context.plan.attempt,
            pod={"pod": environ.get(POD_UID) or socket.gethostname(), "podName": environ.get(POD_NAME) or ""},
            command=self._context.plan.command,
            start=start.path if start else None,
            step=start.step if start else None,
        )
        return self._start(found) if isinstance(found, Checkpoint) else found

    def _newest(self, *, resumable: bool) -> Optional[Checkpoint]:
        world_size = self._context.plan.world_size
        return checkpoints.find(self._directory, world_size=world_size, resumable=resumable)

    def _tell_previous(self, kept: Optional[Checkpoint]) -> None:
        """Say how the execution before ended, and write it down when it could not do so itself."""
        record, logged = self._context.record, self._directory / "logging.jsonl"
        before = record.last_execution
        if not before:
            return
        how = f"{before['outcome']}: {before.get('message')}" if "outcome" in before else "and left no message"
        self._context.output.say(f"swiftop: execution {before.get('epoch')} ended {how}")
        times = [before.get("start"), kept.time if kept else None, _written(logged)]
        at = max(time for time in (*times, 0) if isinstance(time, (int, float)))
        record.close(at=min(at, time.time()), step=last_step(logged), kept_step=kept.step if kept else None)

    def _follow(self) -> Union[Start, Judged, None]:
        """Wait for node 0's choice. Without a limit: its pod may wait long for a GPU or its image, and the Job has a
        deadline of its own."""
        told, record, attempt = -TELL_SECONDS, self._context.record, self._context.plan.attempt
        while not record.join(attempt):
            if time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                self._context.output.say(f"swiftop: waiting for node 0 to begin attempt {attempt}")
            self._context.signals.pause(1)
            problem = preflight.load_record(record)
            if problem is not None:
                return problem
        path = record.last_execution.get("checkpoint")
        if not path:
            return None
        found = checkpoints.read(Path(path), world_size=self._context.plan.world_size, resumable=False)
        return self._start(found) if found else None

    def _start(self, found: Checkpoint) -> Start:
        asked = self._settings.resume_from
        if asked is None or Path(found.path).parent == self._directory:
            return Start(found, ("--resume_from_checkpoint", found.path))
        flags = source.flags(asked, found)
        return Start(found, flags, own=False, weights_only=asked.weights_only)


def _written(path: Path) -> Optional[float]:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
