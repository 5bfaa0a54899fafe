"""What may be decided about a run: the words between deciding, acting and reporting."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from swiftop.model.facts import Cause

_RAREST = 300.0  # seconds between two looks at what has not changed for long


class Phase(Enum):
    """How far an attempt has come."""

    PENDING = auto()  # no pod, or one without a node
    STARTING = auto()  # on a node, the container does not run yet
    RUNNING = auto()


@dataclass(frozen=True, slots=True)
class StartAttempt:
    """Create the Job of this attempt."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Blocked:
    """The attempt cannot be started. ``stalled``: only the user can help."""

    cause: Cause
    stalled: bool
    wake: float | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """The attempt is on its way."""

    phase: Phase
    cause: Cause
    wake: float | None = None  # seconds, where no watch would tell
    resuming: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """The training is done."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Fail:
    """The training has failed, for good."""

    cause: Cause


Verdict = StartAttempt | Blocked | Wait | Finish | Fail


def patience(wake: float, waited: float) -> float:
    """Seconds until another look at what has been so for ``waited`` seconds.

    What was so for an hour will be so for another minute: a thousand runs behind a quota must not ask all the time.
    """
    return max(wake, min(waited / 2, _RAREST))
