"""What the core of the runner asks of a program: the work that a pod is there for.

The core (``main``, ``supervise``) is PID 1, passes output and signals on, serves the report and tells the end. A
program says which processes are started one after the other, and what their ends mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional, Protocol

from .classify import EndedChild, Judged
from .output import Output
from .protocol import MASTER_ADDR, NODE_RANK, Plan
from .record import Record
from .report import BadRow, Member
from .signals import Signals

Route = Callable[[], tuple[str, bytes]]  # content type and body of an answer


@dataclass(frozen=True)
class Step:
    """One process to run to its end."""

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)  # on top of the pod's
    without: frozenset[str] = frozenset()  # variables of the pod that this process must not see
    elastic: bool = False  # torchrun is the process: its workers are told to stop, not itself


@dataclass(frozen=True)
class Ended:
    """How an execution ended."""

    outcome: str
    judged: Judged
    bad_rows: tuple[BadRow, ...] = ()  # of a dataset


@dataclass(frozen=True)
class Reached:
    """How far an execution is, for the record."""

    step: Optional[int] = None
    kept_step: Optional[int] = None  # what is safe on the volume


@dataclass(frozen=True)
class Context:
    """What the core gives to a program."""

    plan: Plan
    environ: Mapping[str, str]  # of the children: without the plan, secrets cleaned
    rank: int  # of this node
    output: Output
    signals: Signals
    record: Record

    @property
    def directory(self) -> Path:
        """Where the results go."""
        return Path(self.plan.output_dir)


class Program(Protocol):
    """One kind of work. Apart from ``saw`` and ``report`` everything is called in the main thread."""

    members: tuple[Member, ...]  # of its report: /progress and /metrics have these
    routes: Mapping[str, Route]  # what else it answers over HTTP, by path

    def begin(self) -> Optional[Ended]:
        """Record, resume point, and what would fail later and dearer; ``Ended`` when nothing is to be started."""

    def steps(self) -> Iterator[Step]:
        """The processes, one after the other."""

    def saw(self, data: bytes) -> None:
        """Output of the running process, redacted, in the pump's thread."""

    def check(self, now: float) -> Optional[str]:
        """Once a second while a process runs; why it has to be ended, None while it may go on."""

    def stop(self) -> None:
        """The pod was asked to stop, and the running process has been told."""

    def judge(self, step: Step, end: EndedChild, evidence: str) -> Optional[Ended]:
        """What the end of a process means; None: go on with the next step."""

    def complete(self) -> Ended:
        """All steps have ended, and ``judge`` has ended nothing."""

    def conclude(self, ended: Ended) -> None:
        """Last facts into the report, before it is told for the last time."""

    def report(self) -> dict[str, Any]:
        """Members of the report as they are now, from any thread."""

    def reached(self) -> Reached:
        """How far it is."""


def fill(command: tuple[str, ...], *, rank: int, master_addr: Optional[str]) -> tuple[str, ...]:
    """Put this node's rank and the rendezvous name in for their placeholders.

    Kubernetes expands ``$(VAR)`` in a container's command only, and the command of ms-swift is in the plan.
    """
    values = {NODE_RANK: str(rank), MASTER_ADDR: master_addr or "127.0.0.1"}
    return tuple(values.get(arg, arg) for arg in command)
