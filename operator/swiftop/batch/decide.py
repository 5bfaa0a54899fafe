"""The next step of an object that is not over: facts in, one verdict out. The first rule that applies wins.

Pure and level-triggered: the same facts give the same verdict however often and in which order events arrived. Nothing
here reads the printed word ``status.state``; of the status only facts count that cannot be derived again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from swiftop import names
from swiftop.batch.ending import After, advised, after, cause_of, finished_well, is_interruption
from swiftop.batch.interruptions import FRUITLESS, Interruption, fruitless
from swiftop.batch.observe import Observed
from swiftop.model.facts import Cause, JobFacts, PodFacts
from swiftop.model.times import seconds_of
from swiftop.model.verdict import Blocked, Create, Delete, Ensure, Failed, Finished, Phase, Suspended, Verdict, Waiting
from swiftop.reasons import Reason
from swiftop.runner import causes
from swiftop.runner.protocol import FINISHED

# Seconds until the next reconcile where no watch tells of a change: Events are not watched.
_EVENTS_SECONDS = 10.0
_POLL_SECONDS = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 300.0  # before a retry; each pause is twice the one before
# How long the Job controller has to see that a main container has ended, before another container of the pod is taken
# to keep the pod alive; and how long past its grace period a pod may exist.
_SIDECAR_SECONDS = 10.0
_OVERDUE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What a kind calls its work."""

    thing: str  # run, export, upload
    working: str  # "the training runs"
    preparing: str  # what its pod does before it reports anything
    finished: str
    kept: str  # what is left of the work when it fails


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the spec says about attempts."""

    suspend: bool = False
    max_retries: int = 3
    pending_deadline: int | None = None
    ranks: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Of the last status only what cannot be derived again."""

    attempts: int = 0
    retries: int = 0
    started: str = ""  # when the first container of all started
    following: int = 0  # the attempt that is to follow once the Job is gone: whoever deleted it, it was meant to go
    doing: str = ""  # what was said last of a container that runs
    waiting_since: str = ""  # creation, or the end of the last suspension
    gpu_seconds: int = 0
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
        return self.policy is not None and self.policy.suspend


Rule = Callable[[Situation], Verdict | None]


def decide(situation: Situation) -> Verdict:
    """Verdict of the first rule that applies."""
    return next(verdict for rule in _RULES if (verdict := rule(situation)) is not None)


# The end


def _finish(s: Situation) -> Verdict | None:
    job, leader = s.observed.job, s.observed.leader
    if job is None or not (job.complete or (_ended_long_ago(s) and finished_well(s.observed))):
        return None
    said = leader.ended.outcome if leader and leader.ended else None
    if said is None or said.outcome != FINISHED:
        return Verdict(Finished(Reason.FINISHED, s.words.finished))
    return Verdict(Finished(said.reason or Reason.FINISHED, said.message or s.words.finished))


def _fail(s: Situation) -> Verdict | None:
    """What another attempt would not help, or may not try again."""
    cause = _failure(s)
    if cause is None:
        return None
    follows = after(cause)
    if follows is After.END:
        return Verdict(Failed(advised(cause, _again(s))))
    if s.policy is None:
        return _unreadable(s)
    if follows is After.RETRY and _retries(s) >= s.policy.max_retries:
        tries = s.policy.max_retries
        message = f"{cause.message} (tried again {tries} times)" if tries else cause.message
        return Verdict(Failed(advised(replace(cause, message=message), _again(s))))
    return None


def _no_progress(s: Situation) -> Verdict | None:
    taken = s.recorded.interruptions
    if fruitless(taken) < FRUITLESS:
        return None
    text = f"it was interrupted {FRUITLESS} times in a row before a new checkpoint was kept (last: {taken[-1].cause})"
    # Its Job still exists and will be deleted: what its last pod said is said here or nowhere.
    log = next((pod.ended.outcome.log for pod in reversed(s.observed.pods) if pod.ended and pod.ended.outcome), "")
    return Verdict(Failed(Cause(causes.NO_PROGRESS.reason, text, causes.NO_PROGRESS.suggestion, log)))


def _fail_without_job(s: Situation) -> Verdict | None:
    """What has started is never started again, whoever deleted its Job, unless that was written down before."""
    if s.observed.job is not None or not s.recorded.started or s.recorded.following:
        return None
    return Verdict(Failed(Cause(Reason.JOB_DELETED, "its Job was deleted before its end was seen", _again(s))))


def _pending_too_long(s: Situation) -> Verdict | None:
    limit = s.policy.pending_deadline if s.policy else None
    if limit is None or s.has_started or s.suspending or s.now - seconds_of(s.recorded.waiting_since) < limit:
        return None
    why = _waits_for(s)
    text = f"no container has started within spec.lifecycle.pendingDeadlineSeconds ({limit} s): {why.message}"
    return Verdict(Failed(Cause(Reason.PENDING_DEADLINE_EXCEEDED, text, why.suggestion)))


# Suspended


def _suspend(s: Situation) -> Verdict | None:
    """Said first and done then: a Job that is gone while the status says Suspended was not deleted by a stranger."""
    if not s.suspending:
        return None
    job = s.observed.job
    if job is None or job.failed:
        return Verdict(Suspended(Cause(Reason.SUSPENDED, "suspended by spec.suspend", "set it to false to go on")))
    text = "it is stopped by spec.suspend, and saves what it can first"
    return _removal(s, job, Suspended(_overdue(s) or Cause(Reason.STOPPING, text)), _retries(s))


# The next attempt


def _start(s: Situation) -> Verdict | None:
    if s.observed.job is not None:
        return None
    if s.unreadable is not None or s.policy is None:
        return _unreadable(s)
    if s.source is not None:
        return Verdict(s.source, requeue_after=_poll_before_deadline(s))
    # An attempt whose Job went before a container of it ran has left nothing: its number is free.
    attempt = s.recorded.following or max(s.recorded.attempts, 1)
    create = Create(attempt, s.recorded.retries, s.recorded.gpu_seconds)
    return Verdict(Waiting(Phase.PENDING, _job_created(), resuming=bool(s.recorded.started)), (create,))


def _next_attempt(s: Situation) -> Verdict | None:
    """After an interruption at once, after a failure that may pass with growing pauses."""
    cause, job = _failure(s), s.observed.job
    if cause is None or job is None:
        return None
    retry = after(cause) is After.RETRY
    counted = s.recorded.following > job.attempt  # when that was written down
    number = _retries(s) + 1 if retry and not counted else _retries(s)
    if not job.over:  # another container keeps its pod alive, and the GPUs with it
        waiting = Waiting(Phase.PENDING, _resuming(cause, "its pod is removed first"), resuming=True)
        return _removal(s, job, waiting, number)
    pause = min(_FIRST_PAUSE * 2.0 ** (number - 1), _LONGEST_PAUSE) if retry else 0.0
    left = seconds_of(job.finished) + pause - s.now
    if left > 0:
        text = f"attempt {job.attempt + 1} follows in {pause:.0f} s (retry {number} of {_max_retries(s)})"
        waiting = Waiting(Phase.PENDING, _resuming(cause, text), resuming=True, failed=cause)
        return Verdict(waiting, requeue_after=left)
    waiting = Waiting(Phase.PENDING, _job_created(), resuming=True)
    return Verdict(waiting, (Create(job.attempt + 1, number, s.recorded.gpu_seconds),))


# An attempt on its way


def _wait_for_deletion(s: Situation) -> Verdict | None:
    job = s.observed.job
    if job is None or not job.deleting:
        return None
    if lost := _overdue(s):
        return Verdict(Waiting(Phase.PENDING, lost, resuming=s.has_started), requeue_after=_POLL_SECONDS)
    text = "its Job is being deleted, and its pods end before it"
    waiting = Waiting(Phase.PENDING, Cause(Reason.RESUMING if s.has_started else Reason.PENDING, text), s.has_started)
    return Verdict(waiting, requeue_after=_POLL_SECONDS)


def _wait_for_lost_node(s: Situation) -> Verdict | None:
    lost = _overdue(s)
    return Verdict(Waiting(Phase.PENDING, lost, resuming=True), requeue_after=_POLL_SECONDS) if lost else None


def _wait_for_pods(s: Situation) -> Verdict | None:
    job = s.observed.job
    if s.observed.pods or job is None:
        return None
    refused = job.started and not job.active
    seconds = _EVENTS_SECONDS if refused or s.observed.obstacle is not None else None
    return _waiting(s, Phase.PENDING, s.observed.obstacle or _job_created(), seconds)


def _wait_for_nodes(s: Situation) -> Verdict | None:
    unplaced = [pod for pod in s.observed.current if not pod.scheduled and not pod.over]
    if not unplaced:
        return None
    cause = next((pod.unschedulable for pod in unplaced if pod.unschedulable is not None), None)
    if cause is None:
        # The same words as before the pod existed: a moment that is not worth a write.
        return _waiting(s, Phase.PENDING, _job_created(), None)
    volume = cause.reason == Reason.VOLUME_PENDING
    if volume and s.observed.obstacle is not None:
        cause = s.observed.obstacle
    return _waiting(s, Phase.PENDING, cause, _EVENTS_SECONDS if volume else None)


def _wait_for_containers(s: Situation) -> Verdict | None:
    idle = [pod for pod in s.observed.current if not pod.running_since and not pod.over]
    if not idle:
        return None
    blocked = next((pod.waiting for pod in idle if pod.waiting is not None), s.observed.obstacle)
    cause = blocked or Cause(Reason.STARTING, "pulling the image, mounting the volumes")
    return _waiting(s, Phase.STARTING, cause, None if any(pod.waiting for pod in idle) else _EVENTS_SECONDS)


def _wait_for_replacement(s: Situation) -> Verdict | None:
    lost = [pod for pod in s.observed.current if pod.over and pod.disruption]
    if not lost:
        return None
    text = lost[0].disruption_message or "its pod was interrupted"
    cause = Cause(Reason.RESUMING, f"waiting for a new pod: {text}")
    return Verdict(Waiting(Phase.PENDING, cause, resuming=True), (Ensure(),))


def _run(s: Situation) -> Verdict | None:
    """Also while a pod has ended and the Job controller has not said what that means: a moment, not worth a write."""
    seconds = _SIDECAR_SECONDS if any(pod.over for pod in s.observed.current) else _POLL_SECONDS
    return Verdict(Waiting(Phase.RUNNING, Cause(Reason.RUNNING, _work(s))), (Ensure(repair=_apart(s)),), seconds)


def _work(s: Situation) -> str:
    """What the container does. Not heard yet, as after a restart of the operator, what was known holds."""
    if not s.observed.reachable:
        return s.words.working
    if s.observed.heard is None:
        return s.recorded.doing or s.words.preparing
    return s.words.working if s.observed.heard.get("phase") else s.words.preparing


def _apart(s: Situation) -> bool:
    """Services are not watched; the ranks of a work that has not begun may be looking for one that is gone."""
    return s.policy is not None and s.policy.ranks > 1 and bool(s.observed.pods) and s.observed.heard is None


_RULES: Sequence[Rule] = (
    _finish,
    _fail,
    _no_progress,
    _suspend,
    _fail_without_job,
    _pending_too_long,
    _start,
    _wait_for_deletion,
    _next_attempt,
    _wait_for_lost_node,
    _wait_for_pods,
    _wait_for_nodes,
    _wait_for_containers,
    _wait_for_replacement,
    _run,
)


# What the rules share


def _unreadable(s: Situation) -> Verdict:
    """No attempt can be made of a spec that cannot be read, as one of another version."""
    return Verdict(s.unreadable or Blocked(Cause(Reason.INVALID_SPEC, "the spec cannot be read"), stalled=True))


def _removal(s: Situation, job: JobFacts, outlook: Suspended | Waiting, retries: int) -> Verdict:
    """Delete the Job, once it is written down which attempt follows."""
    following = Create(job.attempt + 1, retries)
    if s.recorded.following != following.attempt:
        return Verdict(outlook, requeue_after=0.0, following=following)
    delete = () if job.deleting else (Delete(names.JOB, job.name, job.uid),)
    return Verdict(outlook, delete, _POLL_SECONDS, following)


def _waiting(s: Situation, phase: Phase, cause: Cause, seconds: float | None) -> Verdict:
    repair = cause.reason in (Reason.CONFIG_MAP_MISSING, Reason.CLAIM_MISSING) or _apart(s)
    deadline = _poll_before_deadline(s)
    soonest = min((pause for pause in (seconds, deadline) if pause is not None), default=None)
    return Verdict(
        Waiting(phase, cause, _again_in_attempt(s)), (Ensure(repair=repair, replace=not s.has_started),), soonest
    )


def _poll_before_deadline(s: Situation) -> float | None:
    """Seconds until the pending deadline, when there is one."""
    limit = s.policy.pending_deadline if s.policy else None
    if limit is None or s.has_started:
        return None
    return max(limit - (s.now - seconds_of(s.recorded.waiting_since)), 0.0)


def _failure(s: Situation) -> Cause | None:
    """Cause of the newest attempt's end; None when it has not failed."""
    job = s.observed.job
    if job is None or job.complete or (job.deleting and not job.failed):
        return None
    if job.failed or (_ended_long_ago(s) and not finished_well(s.observed)):
        return cause_of(job, s.observed)
    return None


def _ended_long_ago(s: Situation) -> bool:
    """Whether all main containers have ended while another container, such as a mesh's, keeps a pod alive."""
    current = s.observed.current
    if not current or not all(pod.over for pod in current) or not any(pod.phase == "Running" for pod in current):
        return False
    if any(pod.disruption or pod.deleting for pod in current):
        return False  # the pod goes by itself
    return s.now - max(seconds_of(pod.finished) for pod in current) >= _SIDECAR_SECONDS


def _overdue(s: Situation) -> Cause | None:
    """A pod that should be gone and is not: its node does not answer, and nobody else may remove it safely."""
    stuck = next((pod for pod in s.observed.current if pod.deleting and not pod.over and _late(pod, s.now)), None)
    if stuck is None:
        return None
    return Cause(
        Reason.NODE_LOST,
        f"node {stuck.node or '?'} does not answer: pod {stuck.name} should have ended at {stuck.deleting}",
        f"when the node is gone for good, delete its Node object (kubectl delete node {stuck.node}); when it is down, "
        f"taint it: kubectl taint node {stuck.node} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute",
    )


def _late(pod: PodFacts, now: float) -> bool:
    return now - seconds_of(pod.deleting) >= _OVERDUE_SECONDS


def _waits_for(s: Situation) -> Cause:
    """What an object waits for that has no container yet, as the rules below would say it."""
    for rule in (_start, _wait_for_pods, _wait_for_nodes, _wait_for_containers):
        verdict = rule(s)
        if verdict is not None and isinstance(verdict.outlook, Waiting | Blocked):
            return verdict.outlook.cause
    return _job_created()


def _again_in_attempt(s: Situation) -> bool:
    """Whether the newest execution follows an earlier one."""
    observed = s.observed
    earlier = len(observed.pods) > len(observed.current) or any(pod.over and pod.disruption for pod in observed.pods)
    return earlier or bool(s.recorded.started)


def _retries(s: Situation) -> int:
    return max(s.recorded.retries, s.observed.job.retries if s.observed.job else 0)


def _max_retries(s: Situation) -> int:
    return s.policy.max_retries if s.policy else 0


def _again(s: Situation) -> str:
    return f"{s.words.kept}; apply a {s.words.thing} with a new name to try again"


def _resuming(cause: Cause, text: str) -> Cause:
    reason = Reason.RESUMING if is_interruption(cause) else cause.reason
    return Cause(reason, f"{cause.message}; {text}", cause.suggestion, cause.log)


def _job_created() -> Cause:
    return Cause(Reason.JOB_CREATED, "the Job is created, its pod not yet")
