"""The next step of an object that is not over: facts in, one verdict out. The first rule that applies wins.

Pure and level-triggered: the same facts give the same verdict however often and in which order events arrived. Nothing
here reads the printed word ``status.state``; of the status only facts count that cannot be derived again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from swiftop import names
from swiftop.batch.ending import After, advised, after, finished_well
from swiftop.batch.interruptions import FRUITLESS, fruitless
from swiftop.batch.situation import SIDECAR_SECONDS, Situation, is_retry, resuming, unreadable
from swiftop.model.facts import Cause, JobFacts
from swiftop.model.times import seconds_of
from swiftop.model.verdict import Create, Delete, Ensure, Failed, Finished, Phase, Suspended, Verdict, Waiting
from swiftop.reasons import Reason
from swiftop.runner import causes
from swiftop.runner.protocol import FINISHED

# Seconds until the next reconcile where no watch tells of a change: Events are not watched.
_EVENTS_SECONDS = 10.0
_POLL_SECONDS = 60.0
_SHORT_SECONDS, _SHORT_ONES = 60.0, 5  # as many attempts may be shorter before the next one has to wait
_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 300.0  # before another attempt; each pause is twice the one before

Rule = Callable[[Situation], Verdict | None]


def decide(situation: Situation) -> Verdict:
    """Verdict of the first rule that applies."""
    return next(verdict for rule in _RULES if (verdict := rule(situation)) is not None)


# The end


def _finish(s: Situation) -> Verdict | None:
    if not s.finished:
        return None
    leader = s.observed.leader
    said = leader.ended.outcome if leader and leader.ended else None
    if said is None or said.outcome != FINISHED:
        return Verdict(Finished(Reason.FINISHED, s.words.finished))
    return Verdict(Finished(said.reason or Reason.FINISHED, said.message or s.words.finished))


def _fail(s: Situation) -> Verdict | None:
    """What another attempt would not help, or may not try again."""
    cause = s.failure
    if cause is None:
        return None
    follows = after(cause)
    if follows is After.END:
        return Verdict(Failed(advised(cause, s.advice)))
    if s.policy is None:
        return unreadable(s)
    tries = s.policy.max_retries
    if follows is After.RETRY and not s.counted and s.retries >= tries:
        message = f"{cause.message} (retries used up: {tries})" if tries else cause.message
        return Verdict(Failed(advised(replace(cause, message=message), s.advice)))
    return None


def _no_progress(s: Situation) -> Verdict | None:
    taken = s.recorded.interruptions
    if fruitless(taken) < FRUITLESS:
        return None
    text = f"it was interrupted {FRUITLESS} times in a row before {s.words.headway} (last: {taken[-1].cause})"
    # Its Job may still exist and will be deleted: what its last pod said is said here or nowhere.
    log = next((pod.ended.outcome.log for pod in reversed(s.observed.pods) if pod.ended and pod.ended.outcome), "")
    return Verdict(Failed(Cause(causes.NO_PROGRESS.reason, text, s.words.steadier, log)))


def _fail_without_job(s: Situation) -> Verdict | None:
    """What has started is never started again, whoever deleted its Job, unless that was written down before."""
    if s.observed.job is not None or not s.recorded.started or s.recorded.following:
        return None
    return Verdict(Failed(Cause(Reason.JOB_DELETED, "its Job was deleted before its end was seen", s.advice)))


def _pending_too_long(s: Situation) -> Verdict | None:
    if s.until_deadline != 0.0 or s.suspending or s.policy is None:
        return None
    limit, why = s.policy.pending_deadline, s.recorded.said
    text = f"no container has started within spec.lifecycle.pendingDeadlineSeconds ({limit} s)"
    advice = "raise spec.lifecycle.pendingDeadlineSeconds, or change what it waits for"
    cause = Cause(Reason.PENDING_DEADLINE_EXCEEDED, f"{text}: {why}" if why else text, advice)
    return Verdict(Failed(cause))


# Suspended


def _suspend(s: Situation) -> Verdict | None:
    job = s.observed.job
    if not s.suspending or (job is not None and not job.over and finished_well(s.observed)):
        return None  # the Job controller is about to say that the work is done
    if job is None or job.failed:
        suspended = Suspended(Cause(Reason.SUSPENDED, "suspended by spec.suspend", "set it to false to go on"))
        return Verdict(suspended, following=_following(s, job) if job else None)
    return _remove(s, job, Suspended(s.overdue or _stopping("and saves what it can first")))


def _stopping(text: str) -> Cause:
    return Cause(Reason.STOPPING, f"it is stopped by spec.suspend, {text}")


# The next attempt


def _start(s: Situation) -> Verdict | None:
    if s.observed.job is not None:
        return None
    if s.unreadable is not None or s.policy is None:
        return unreadable(s)
    if s.source is not None:
        return Verdict(s.source, requeue_after=s.until_deadline)
    # An attempt whose Job went before a container of it ran has left nothing: its number is free.
    attempt = s.recorded.following or max(s.recorded.attempts, 1)
    waiting = Waiting(Phase.PENDING, _job_created(), resuming=bool(s.recorded.started))
    return Verdict(waiting, (Create(attempt, s.retries, s.recorded.gpu_seconds),))


def _next_attempt(s: Situation) -> Verdict | None:
    """After an interruption at once, after a failure that may pass with growing pauses."""
    cause, job = s.failure, s.observed.job
    if cause is None or job is None:
        return None
    if not job.over:  # another container keeps its pod alive, and the GPUs with it
        return _remove(s, job, Waiting(Phase.PENDING, resuming(cause, "its pod is removed first"), resuming=True))
    following = _following(s, job)
    pause = _pause(s, cause, following)
    left = seconds_of(job.finished) + pause - s.now
    if left > 0:
        retry = f" (retry {following.retries} of {s.policy.max_retries})" if is_retry(cause) and s.policy else ""
        text = f"attempt {following.attempt} follows in {pause:.0f} s{retry}"
        waiting = Waiting(Phase.PENDING, resuming(cause, text), resuming=True, failed=cause)
        return Verdict(waiting, requeue_after=left, following=following)
    return Verdict(Waiting(Phase.PENDING, _job_created(), resuming=True), (following,))


def _following(s: Situation, job: JobFacts) -> Create:
    """The attempt after a failed one."""
    cause = s.failure
    retry = cause is not None and is_retry(cause)
    lost = next((pod.uid for pod in s.observed.current if pod.over), "") if retry else ""
    retries = s.retries + 1 if retry and not s.counted else s.retries
    return Create(job.attempt + 1, retries, s.recorded.gpu_seconds, retry_of=lost)


def _pause(s: Situation, cause: Cause, following: Create) -> float:
    """No pause after an execution that was taken away in its work; what hardly starts may go on so for ever."""
    if is_retry(cause):
        times = following.retries
    elif s.observed.started and not _short(s):
        return 0.0
    else:
        times = following.attempt - (_SHORT_ONES if s.observed.started else 1)
    if times < 1:
        return 0.0
    return min(_FIRST_PAUSE * 2.0 ** min(times - 1, 16), _LONGEST_PAUSE)


def _short(s: Situation) -> bool:
    """Whether the newest execution was over so soon that many like it would be a loop."""
    leader = s.observed.leader
    if leader is None or not leader.started or not leader.finished:
        return False
    return seconds_of(leader.finished) - seconds_of(leader.started) < _SHORT_SECONDS


def _remove(s: Situation, job: JobFacts, outlook: Suspended | Waiting) -> Verdict:
    """Delete the Job, once it is written down which attempt follows."""
    following = _following(s, job)
    if s.recorded.following != following.attempt:
        return Verdict(outlook, requeue_after=0.0, following=following)
    delete = () if job.deleting else (Delete(names.JOB, job.name, job.uid),)
    return Verdict(outlook, delete, s.until_overdue or _POLL_SECONDS, following)


# An attempt on its way


def _wait_for_deletion(s: Situation) -> Verdict | None:
    job = s.observed.job
    if job is None or not job.deleting:
        return None
    soon = s.until_overdue or _POLL_SECONDS
    if s.recorded.suspended:  # as long as its pods are there, it is the suspension that ends them
        return Verdict(Suspended(s.overdue or _stopping("and goes on once its pods have ended")), requeue_after=soon)
    reason = Reason.RESUMING if s.has_started else Reason.PENDING
    cause = s.overdue or Cause(reason, "its Job is being deleted, and its pods end before it")
    return Verdict(Waiting(Phase.PENDING, cause, s.has_started), requeue_after=soon)


def _wait_for_lost_node(s: Situation) -> Verdict | None:
    lost = s.overdue
    return Verdict(Waiting(Phase.PENDING, lost, resuming=True), requeue_after=_POLL_SECONDS) if lost else None


def _wait_for_others(s: Situation) -> Verdict | None:
    """A queue of the cluster, or a person, keeps the Job from having pods, and it alone lets it go on."""
    job = s.observed.job
    if job is None or job.over or not job.suspended:
        return None
    leaving = any(not pod.over for pod in s.observed.current)
    cause = Cause(
        Reason.JOB_SUSPENDED,
        f"Job {job.name} is suspended, and not by spec.suspend" + (": its pods are ended" if leaving else ""),
        "a queue of the cluster (such as Kueue) lets it go on by itself; what a person has suspended goes on with "
        f'kubectl patch job {job.name} --type merge -p \'{{"spec":{{"suspend":false}}}}\'',
    )
    return _waiting(s, Phase.PENDING, cause, events=False)


def _wait_for_pods(s: Situation) -> Verdict | None:
    job, obstacle = s.observed.job, s.observed.obstacle
    if s.observed.pods or job is None:
        return None
    refused = job.started and not job.active
    return _waiting(s, Phase.PENDING, obstacle or _job_created(), events=refused or obstacle is not None)


def _wait_for_nodes(s: Situation) -> Verdict | None:
    unplaced = [pod for pod in s.observed.current if not pod.scheduled and not pod.over]
    if not unplaced:
        return None
    cause = next((pod.unschedulable for pod in unplaced if pod.unschedulable is not None), None)
    if cause is None:
        # The same words as before the pod existed: a moment that is not worth a write.
        return _waiting(s, Phase.PENDING, _job_created(), events=False)
    volume = cause.reason == Reason.VOLUME_PENDING
    if volume and s.observed.obstacle is not None:
        cause = s.observed.obstacle
    return _waiting(s, Phase.PENDING, cause, events=volume)


def _wait_for_containers(s: Situation) -> Verdict | None:
    idle = [pod for pod in s.observed.current if not pod.running_since and not pod.over]
    if not idle:
        return None
    blocked = next((pod.waiting for pod in idle if pod.waiting is not None), s.observed.obstacle)
    cause = blocked or Cause(Reason.STARTING, "pulling the image, mounting the volumes")
    return _waiting(s, Phase.STARTING, cause, events=not any(pod.waiting for pod in idle))


def _wait_for_replacement(s: Situation) -> Verdict | None:
    lost = [pod for pod in s.observed.current if pod.over and pod.disruption]
    if not lost:
        return None
    text = lost[0].disruption_message or "its pod was interrupted"
    cause = Cause(Reason.RESUMING, f"waiting for a new pod: {text}")
    return Verdict(Waiting(Phase.PENDING, cause, resuming=True), (Ensure(),))


def _run(s: Situation) -> Verdict | None:
    """Also while a pod has ended and the Job controller has not said what that means: a moment, not worth a write."""
    ended = SIDECAR_SECONDS if any(pod.over for pod in s.observed.current) else None
    soon = min((seconds for seconds in (ended, s.until_overdue) if seconds is not None), default=None)
    doing = s.doing
    waiting = Waiting(Phase.RUNNING, doing, resuming=doing.reason == Reason.LOADING and s.loads_again)
    return Verdict(waiting, (Ensure(repair=s.apart),), soon, poll=_POLL_SECONDS)


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
    _wait_for_others,
    _wait_for_pods,
    _wait_for_nodes,
    _wait_for_containers,
    _wait_for_replacement,
    _run,
)


def _waiting(s: Situation, phase: Phase, cause: Cause, *, events: bool) -> Verdict:
    """``events``: what it waits for is told by Kubernetes Events alone, which are asked for from time to time."""
    repair = cause.reason in (Reason.CONFIG_MAP_MISSING, Reason.CLAIM_MISSING) or s.apart or s.unclaimed
    waiting = Waiting(phase, cause, s.again_in_attempt)
    ensure = Ensure(repair=repair, replace=not s.has_started)
    soon = min((seconds for seconds in (s.until_deadline, s.until_overdue) if seconds is not None), default=None)
    return Verdict(waiting, (ensure,), soon, poll=_EVENTS_SECONDS if events else None)


def _job_created() -> Cause:
    return Cause(Reason.JOB_CREATED, "the Job is created, its pod not yet")
