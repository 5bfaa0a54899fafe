"""What a verdict depends on, and what its rules ask of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from swiftop.api.v1alpha1.workload import BatchSpec, output_of
from swiftop.batch.ending import After, after, cause_of, finished_well, is_interruption
from swiftop.batch.interruptions import Interruption
from swiftop.batch.observe import Observed
from swiftop.model.facts import Cause, PodFacts
from swiftop.model.times import seconds_of
from swiftop.model.verdict import Blocked, Verdict, Waiting
from swiftop.observe.ending import pod_cause, suited
from swiftop.reasons import Reason
from swiftop.runner import causes

# How long the Job controller has to see that a main container has ended, before another container of the pod is taken
# to keep the pod alive; and how long past its grace period a pod may exist.
SIDECAR_SECONDS = 10.0
OVERDUE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a kind calls its work."""

    thing: str  # run, export, upload
    working: str  # "the training runs"
    preparing: str  # what its pod does before it reports anything
    finished: str
    kept: str = ""  # what is left of the work on its output when it fails
    program: str = "train"  # of the runner
    headway: str = "a new checkpoint was kept"  # what several interruptions in a row came before
    steadier: str = causes.NO_PROGRESS.suggestion  # what to do about them


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the spec says about attempts."""

    suspend: bool = False
    max_retries: int = 3
    pending_deadline: int | None = None
    ranks: int = 1
    gpus: int = 0  # of each rank
    volume: bool = False  # whether a claim is made for it

    @classmethod
    def of(cls, spec: BatchSpec) -> Policy:
        """The policy of any kind that ends."""
        output = output_of(spec)
        return cls(
            suspend=spec.suspend,
            max_retries=spec.lifecycle.max_retries,
            pending_deadline=spec.lifecycle.pending_deadline_seconds,
            ranks=spec.resources.nodes,
            gpus=spec.resources.gpus,
            volume=output is not None and output.volume is not None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Of the last status what cannot be derived again, brought up to date with what is observed."""

    attempts: int = 0
    retries: int = 0
    started: str = ""  # when the first container of all started
    following: int = 0  # the attempt that is to follow once the Job is gone: whoever deleted it, it was meant to go
    suspended: bool = False
    said: str = ""  # what was said last
    doing: str = ""  # likewise, of a container that works
    waiting_since: str = ""  # creation, or the end of the last suspension
    gpu_seconds: int = 0
    output: bool = False  # whether results lie where they outlive the pods
    interruptions: tuple[Interruption, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a verdict depends on. ``policy`` is None for a spec that cannot be read: ``unreadable`` says why."""

    policy: Policy | None
    unreadable: Blocked | None = None
    source: Waiting | Blocked | None = None  # what it refers to and what is not ready yet
    recorded: Recorded
    observed: Observed
    words: Words
    now: float

    @property
    def has_started(self) -> bool:
        """Whether a container of any attempt has ever started: from then on the spec is fixed."""
        return bool(self.recorded.started or self.observed.started)

    @property
    def suspending(self) -> bool:
        """Whether the spec asks to be suspended."""
        return self.policy is not None and self.policy.suspend

    @property
    def retries(self) -> int:
        """Failures so far that were answered by a new attempt."""
        return max(self.recorded.retries, self.observed.job.retries if self.observed.job else 0)

    @property
    def counted(self) -> bool:
        """Whether it is written down that another attempt follows the newest one, and ``retries`` counts it."""
        return self.observed.job is not None and self.recorded.following > self.observed.job.attempt

    @property
    def failure(self) -> Cause | None:
        """Cause of the newest attempt's end; None when it has not failed."""
        job = self.observed.job
        if job is None or self.finished or (job.deleting and not job.failed):
            return None
        if job.failed or (self.ended_beside_others and not finished_well(self.observed)):
            return suited(cause_of(job, self.observed), self.words.program)
        return self.exceeded

    @property
    def exceeded(self) -> Cause | None:
        """The kubelet's end of a pod that writes too much to its node's disk: its successor in the Job would too."""
        found = (pod_cause(pod) for pod in self.observed.pods)
        return next((cause for cause in found if cause and cause.reason == Reason.EPHEMERAL_STORAGE_EXCEEDED), None)

    @property
    def finished(self) -> bool:
        """Whether the work is done: by the Job's word, or by that of all main containers, whatever others do."""
        job = self.observed.job
        if job is None:
            return False
        return job.complete or ((job.failed or self.ended_beside_others) and finished_well(self.observed))

    @property
    def ended_beside_others(self) -> bool:
        """Whether all main containers have ended while another container, such as a mesh's, keeps a pod alive."""
        current = self.observed.current
        if not current or not all(pod.over for pod in current) or not any(pod.phase == "Running" for pod in current):
            return False
        if any(pod.disruption or pod.deleting for pod in current):
            return False  # the pod goes by itself
        return self.now - max(seconds_of(pod.finished) for pod in current) >= SIDECAR_SECONDS

    @property
    def overdue(self) -> Cause | None:
        """A pod that should be gone and is not: its node does not answer, and nobody else may remove it safely."""
        stuck = next((pod for pod in self.leaving if self.now >= gone_at(pod)), None)
        if stuck is None:
            return None
        return Cause(
            Reason.NODE_LOST,
            f"node {stuck.node} does not answer: pod {stuck.name} should have ended at {stuck.deleting}",
            f"when the node is gone for good, delete its Node object (kubectl delete node {stuck.node}); when it is "
            f"down, taint it: kubectl taint node {stuck.node} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute",
        )

    @property
    def leaving(self) -> list[PodFacts]:
        """Pods that are being deleted and have not ended."""
        return [pod for pod in self.observed.current if pod.deleting and not pod.over]

    @property
    def until_overdue(self) -> float | None:
        """Seconds until a pod that is being deleted is overdue; None when there is none, or it is."""
        left = [gone_at(pod) - self.now for pod in self.leaving]
        return min((seconds for seconds in left if seconds > 0), default=None)

    @property
    def until_deadline(self) -> float | None:
        """Seconds until the pending deadline; None when there is none, or a container has started."""
        limit = self.policy.pending_deadline if self.policy else None
        if limit is None or self.has_started:
            return None
        return max(limit - (self.now - seconds_of(self.recorded.waiting_since)), 0.0)

    @property
    def apart(self) -> bool:
        """Whether ranks may be looking for a Service that is gone, which is not watched: before any was heard."""
        observed = self.observed
        return self.policy is not None and self.policy.ranks > 1 and bool(observed.pods) and observed.heard is None

    @property
    def unclaimed(self) -> bool:
        """Whether the volume made for it is gone: the scheduler looks again once it is made anew, not before."""
        return self.policy is not None and self.policy.volume and not self.observed.claimed

    @property
    def doing(self) -> Cause:
        """What a container that runs does. Not heard yet, as after a restart of the operator, what was known holds."""
        heard = self.observed.heard
        if not self.observed.reachable or (heard is not None and heard.get("phase")):
            return Cause(Reason.RUNNING, self.words.working)
        if heard is None and self.recorded.doing:
            return Cause(Reason.RUNNING, self.recorded.doing)
        return Cause(Reason.LOADING, self.words.preparing)

    @property
    def loads_again(self) -> bool:
        """Whether a container that loads does so for the second time."""
        job, pods, current = self.observed.job, self.observed.pods, self.observed.current
        replaced = len(pods) > len(current) or any(pod.over and pod.disruption for pod in pods)
        return replaced or bool(self.recorded.interruptions) or (job is not None and job.attempt > 1)

    @property
    def again_in_attempt(self) -> bool:
        """Whether the newest execution follows an earlier one."""
        return self.loads_again or bool(self.recorded.started)

    @property
    def advice(self) -> str:
        """What to do after an end that has no advice of its own."""
        kept = f"{self.words.kept}; " if self.recorded.output else ""
        return f"{kept}apply a {self.words.thing} with a new name to try again"


def gone_at(pod: PodFacts) -> float:
    """When a pod that is being deleted is overdue."""
    return seconds_of(pod.deleting) + OVERDUE_SECONDS


def is_retry(cause: Cause) -> bool:
    """Whether another attempt after this cause uses up a retry."""
    return after(cause) is After.RETRY


def unreadable(s: Situation) -> Verdict:
    """No attempt can be made of a spec that cannot be read, as one of another version."""
    return Verdict(s.unreadable or Blocked(Cause(Reason.INVALID_SPEC, "the spec cannot be read"), stalled=True))


def resuming(cause: Cause, text: str) -> Cause:
    """What is said of an attempt that follows another one."""
    reason = Reason.RESUMING if is_interruption(cause) else cause.reason
    return replace(cause, reason=reason, message=f"{cause.message}; {text}")
