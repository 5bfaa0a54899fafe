"""What reading the cluster yields, as frozen values: all that deciding and reporting know of child objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from swiftop.runner.report import Accelerated, BadRow, Previous

Report = Mapping[str, float | str]
"""What a pod says of its work, by member name: ``swiftop.runner.report`` lists the members of each program."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something waits or failed. ``reason`` is one word of a closed list, the rest is for people."""

    reason: str
    message: str
    suggestion: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an execution ended, in the runner's words."""

    outcome: str  # finished, interrupted or failed
    reason: str
    message: str = ""
    suggestion: str = ""
    log: str = ""
    report: Report = field(default_factory=dict)
    previous: tuple[Previous, ...] = ()
    bad_rows: tuple[BadRow, ...] = ()
    acceleration: Accelerated | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """One attempt."""

    name: str
    uid: str
    owner_uid: str  # of its controller, empty when it has none
    attempt: int
    created: str = ""
    digest: str = ""  # of the spec that it was made from
    generation: int = 0  # likewise; 0 when it is not known
    retries: int = 0  # failures that were answered by a new attempt, up to this one
    gpu_seconds: int = 0  # used by the attempts before this one
    retry_of: str = ""  # UID of the pod whose failure it answers
    started: bool = False  # the Job controller has worked on it
    active: int = 0  # pods that exist and have not ended
    deleting: bool = False
    suspended: bool = False  # somebody else wants it to have no pods: swiftop deletes a Job that is to stop
    complete: bool = False
    failed: bool = False
    failure_reason: str = ""
    failure_message: str = ""
    finished: str = ""

    @property
    def over(self) -> bool:
        """Whether the Job controller has said how it ended."""
        return self.complete or self.failed


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A revision that was taken back, and why."""

    revision: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentFacts:
    """What serves, as its controller sees it."""

    name: str
    uid: str
    owner_uid: str
    digest: str = ""  # of what it was made from; the same as the revision of its newest pods
    resolved: str = ""  # JSON of what its pods stay with
    withdrawn: Withdrawn | None = None
    deleting: bool = False
    seen: bool = False  # its controller has worked on this generation
    rolled_out: bool = False  # all pods of its template have been available once
    wanted: int = 0
    replicas: int = 0
    refused: str = ""  # why the API server does not take its pods
    overdue: bool = False  # it made no headway for progressDeadlineSeconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the main container of a pod ended."""

    exit_code: int
    reason: str  # the kubelet's: Completed, Error, OOMKilled, ContainerCannotRun, ...
    message: str  # its raw termination message
    started: str
    finished: str
    outcome: Outcome | None = None  # the runner's own words, when it came to say them


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """One execution of an attempt, on one node."""

    name: str
    uid: str
    index: int
    created: str
    revision: str = ""  # of a pod that serves
    phase: str
    deleting: str = ""  # when it should be gone, its grace period included; empty unless it is being deleted
    reason: str = ""  # of the pod's status: Evicted, NodeLost, ...
    message: str = ""
    disruption: str = ""  # reason of the condition DisruptionTarget
    disruption_message: str = ""
    scheduled: bool = False
    scheduled_at: str = ""
    node: str = ""
    unschedulable: Cause | None = None
    waiting: Cause | None = None  # why a container does not start
    running_since: str = ""
    ready: bool = False  # it has passed its readiness probe
    restarts: int = 0  # of the main container, in a pod that restarts it
    ended: Ended | None = None
    before: Ended | None = None  # how the main container ended before it was restarted

    @property
    def over(self) -> bool:
        """Whether this execution has ended. Other containers of the pod, such as a mesh's, may still run."""
        return self.phase in ("Succeeded", "Failed") or self.ended is not None

    @property
    def started(self) -> str:
        """When its main container started, empty when it has not."""
        return self.running_since or (self.ended.started if self.ended else "")

    @property
    def finished(self) -> str:
        """When its main container ended, empty when that is not known."""
        return self.ended.finished if self.ended else ""
