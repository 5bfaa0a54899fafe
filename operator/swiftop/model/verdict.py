"""What is decided about an object: what to do (`Action`) apart from what to say (`Outlook`).

The two vary independently: an object may wait while its Job is deleted, and be finished while nothing is done at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from swiftop.model.facts import Cause
from swiftop.names import Resource

_LONGEST_PAUSE = 300.0  # seconds between two reconciles of what has not changed for long


class Phase(Enum):
    """How far an attempt has come."""

    PENDING = auto()  # no pod, or one without a node
    STARTING = auto()  # on a node, the container does not run yet
    RUNNING = auto()


# What to do


@dataclass(frozen=True, slots=True)
class Create:
    """Create the Job of this attempt, with all that it needs beside it."""

    attempt: int
    retries: int = 0  # failures that were answered by a new attempt so far, this one included
    gpu_seconds: int = 0  # used by the attempts before
    retry_of: str = ""  # UID of the pod whose failure this attempt answers: no interruption, whoever tells of it


@dataclass(frozen=True, slots=True)
class Ensure:
    """Bring children that exist into line with the spec.

    ``repair``: one of them is known to be missing. ``replace``: no container has started yet, so that a Job which was
    made from another spec is made anew.
    """

    repair: bool = False
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete one child by its UID, and all that belongs to it first.

    ``unused``: nothing else that was made uses it, as far as was seen; that is asked of the cluster once more.
    """

    resource: Resource
    name: str
    uid: str
    unused: bool = False


@dataclass(frozen=True, slots=True)
class Apply:
    """Bring all children into line with the spec by server-side apply, and delete those that are no longer wanted.

    ``key`` stands for what besides spec and children decides what they are; ``live``: it has changed, and is read from
    the cluster before anything is made of it. ``repair``: what the pods need beside the children may be missing.
    """

    key: str = ""
    live: bool = False
    repair: bool = False


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take a revision of a Deployment back: to the pods of another one, or to none where ``to`` is empty."""

    name: str
    revision: str
    to: str
    message: str


@dataclass(frozen=True, slots=True)
class Make:
    """Create one child that is not there, an object of ours that has its own children: it is never changed."""

    child: dict[str, Any]


Action = Create | Ensure | Delete | Apply | Withdraw | Make


# What to say


@dataclass(frozen=True, slots=True)
class Waiting:
    """An attempt is on its way. ``failed`` is why the one before it ended, when that is why this one waits."""

    phase: Phase
    cause: Cause
    resuming: bool = False
    failed: Cause | None = None


@dataclass(frozen=True, slots=True)
class Blocked:
    """No attempt can be started. ``stalled``: only a person can help."""

    cause: Cause
    stalled: bool


@dataclass(frozen=True, slots=True)
class Suspended:
    """Stopped, or stopping, by the spec's own wish."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class Finished:
    """Done."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Failed:
    """Failed for good."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class Serving:
    """Something that never ends. ``ready``: it answers now; ``cause`` says why, or why not.

    ``rollout`` says why it is not yet, or no longer, as the spec asks for; ``failing``: it will not get there by
    itself, and what answered goes on answering. None once all of it is as asked for.
    """

    ready: bool
    cause: Cause
    rollout: Cause | None = None
    failing: bool = False
    stalled: bool = False
    told: Cause | None = None  # of a source that is used as it was found
    adapters: str = ""  # digest of those that its pods are to follow, where they do and it is known


Outlook = Waiting | Blocked | Suspended | Finished | Failed | Serving


@dataclass(frozen=True, slots=True)
class Verdict:
    """``requeue_after``: seconds until the next reconcile, where time itself changes something. ``poll``: likewise,
    where something may change that no watch tells of; what has not changed for long is asked less and less often.

    ``following``: the attempt that is to follow once the Job of this one is gone. It is written down before that Job
    is deleted, so that whoever finds no Job knows that no stranger has deleted it.
    """

    outlook: Outlook
    actions: tuple[Action, ...] = ()
    requeue_after: float | None = None
    following: Create | None = None
    poll: float | None = None


def patience(poll: float, waited: float) -> float:
    """Seconds until the next reconcile of what has been so for ``waited`` seconds.

    What was so for an hour will be so for another minute: a thousand runs behind a quota must not ask all the time.
    """
    return max(poll, min(waited / 2, _LONGEST_PAUSE))
