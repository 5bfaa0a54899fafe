"""What reading the cluster yields, as frozen values: all that `decide` and `status` know of child objects."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """Why something waits or failed. ``reason`` is one word of a closed list, the rest is for people."""

    reason: str
    message: str
    suggestion: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One report of the runner. None is what it does not know (yet)."""

    phase: int = 0  # 0 preparing, 1 training, 2 evaluating, 3 saving, 4 finished
    step: int | None = None
    max_steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    seconds_per_step: float | None = None
    eta_seconds: int | None = None
    memory_gib: float | None = None
    checkpoint_step: int | None = None
    checkpoint_time: int | None = None
    best_step: int | None = None
    best_metric: float | None = None
    tracker_workspace: str = ""  # whose key it is, as only the tracker's server knows


PREPARING = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an execution ended, in the runner's words."""

    outcome: str  # finished, interrupted or failed
    reason: str
    message: str = ""
    suggestion: str = ""
    log: str = ""
    progress: Progress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """One attempt."""

    name: str
    uid: str
    owner_uid: str  # of its controller, empty when it has none
    attempt: int
    created: str
    started: bool = False  # the Job controller has worked on it
    active: int = 0  # pods that exist and have not ended
    deleting: bool = False
    complete: bool = False
    failed: bool = False
    failure_reason: str = ""
    failure_message: str = ""
    finished: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How the trainer container of a pod ended."""

    exit_code: int
    reason: str  # the kubelet's: Completed, Error, OOMKilled, ContainerCannotRun, ...
    message: str  # its raw termination message
    finished: str
    outcome: Outcome | None = None  # the runner's own words, when it came to say them


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """One execution of an attempt, on one node."""

    name: str
    uid: str
    index: int
    created: str
    phase: str
    ip: str = ""
    deleting: bool = False
    reason: str = ""  # of the pod's status: Evicted, NodeLost, ...
    message: str = ""
    disruption: str = ""  # reason of the condition DisruptionTarget
    disruption_message: str = ""
    scheduled: bool = False
    scheduled_at: str = ""
    unschedulable: Cause | None = None
    waiting: Cause | None = None  # why its container does not start
    running_since: str = ""
    end: End | None = None

    @property
    def over(self) -> bool:
        """Whether this execution has ended."""
        return self.phase in ("Succeeded", "Failed") or self.end is not None


@dataclass(frozen=True, slots=True)
class Observed:
    """All there is to know about the children of one run."""

    job: JobFacts | None = None
    pods: tuple[PodFacts, ...] = ()  # every execution that still exists, oldest first
    obstacle: Cause | None = None  # what events tell about a pod that does not come to life
    progress: Progress | None = None
    reachable: bool = True  # False when the training does not answer

    @property
    def current(self) -> tuple[PodFacts, ...]:
        """The newest execution of each rank, in order of rank."""
        newest = {pod.index: pod for pod in self.pods}
        return tuple(newest[index] for index in sorted(newest))

    @property
    def leader(self) -> PodFacts | None:
        """The pod of rank 0, which writes checkpoints and reports progress."""
        current = self.current
        return current[0] if current else None
