"""Work of our own that needs the libraries of the image, in a process of its own: PID 1 imports none of them.

A task reads its request from a file, tells how far it is in a second one and its result in a third, all as JSON. None
of them holds a secret: tokens are in the environment.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

from . import causes
from .classify import Judged
from .ends import EndClass
from .program import Step
from .record import read_json

_PACKAGE = __name__.rpartition(".")[0]  # swiftop_runner in the zip file, swiftop.runner in the sources
_LONGEST_MESSAGE = 1000
_ROOT = Path(__file__).parents[_PACKAGE.count(".") + 1]

Progress = Callable[[Mapping[str, Any]], None]
Work = Callable[[Mapping[str, Any], Progress], Mapping[str, Any]]


class Refused(Exception):
    """A task ends without a result, for a known cause."""

    def __init__(self, cause: EndClass, message: str) -> None:
        message = " ".join(message[:_LONGEST_MESSAGE].split())  # a tensor's name may have megabytes
        super().__init__(message)
        self.judged = Judged(cause, message)


@dataclass(frozen=True)
class Task:
    """One task as PID 1 sees it. ``module`` is below the runner's package, as in ``hub.push``."""

    name: str
    module: str
    request: Mapping[str, Any]
    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="swiftop-task-")))

    def step(self, *, without: Collection[str] = ()) -> Step:
        """The process that does it, and which variables of the pod it does not see."""
        (self.directory / "request").write_text(json.dumps(self.request), encoding="utf-8")
        command = (sys.executable, "-m", f"{_PACKAGE}.{self.module}", str(self.directory))
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])  # the pod's own goes on
        return Step(self.name, command, environ={"PYTHONPATH": path}, without=frozenset(without))

    @property
    def progress(self) -> dict[str, Any]:
        """What it told last of how far it is."""
        return _read(self.directory / "progress")

    @property
    def told_at(self) -> Optional[int]:
        """When it told that, None before it has."""
        try:
            return (self.directory / "progress").stat().st_mtime_ns
        except OSError:
            return None

    @property
    def result(self) -> dict[str, Any]:
        """What it found; empty when it did not come so far."""
        return _read(self.directory / "result")

    @property
    def refused(self) -> Optional[Judged]:
        """Why it gave up, in its own words."""
        told = _read(self.directory / "refused")
        cause = causes.BY_REASON.get(str(told.get("reason")))
        return Judged(cause, str(told.get("message"))) if cause is not None else None


def main(work: Work) -> int:
    """What the module of a task does when it is run: the exit code is that of its cause."""
    directory = Path(sys.argv[1])

    def progress(told: Mapping[str, Any]) -> None:
        _write(directory / "progress", told)

    try:
        result = work(_read(directory / "request"), progress)
    except Refused as error:
        cause, message = error.judged.cause, error.judged.message
        _write(directory / "refused", {"reason": cause.reason, "message": message})
        sys.stderr.write(f"swiftop: {message}\n")
        return cause.exit_code
    _write(directory / "result", result)
    return 0


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """The reader sees the old file or the new one. Nothing has to survive the pod, and a disk is not waited for."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(json.dumps(content, ensure_ascii=False).encode())
    part.replace(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return dict(found) if isinstance(found, dict) else {}
