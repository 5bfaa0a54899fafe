"""The next step of a run that is not over: facts in, one verdict out. A table of rules: the first that applies wins.

Pure and level-triggered: the same facts give the same verdict however often and in which order events arrived. Nothing
here reads the printed word ``status.state``; of the status only facts count that cannot be derived again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from swiftop.batch.ending import cause_of
from swiftop.model.facts import Cause, Observed, PodFacts
from swiftop.model.verdict import Blocked, Fail, Finish, Phase, StartAttempt, Verdict, Wait, patience
from swiftop.reasons import Reason

__all__ = [
    "Blocked",
    "Facts",
    "Fail",
    "Finish",
    "Phase",
    "StartAttempt",
    "Verdict",
    "Wait",
    "decide",
    "patience",
]

# Seconds until another look where no watch tells of a change: Events are not watched.
_LOOK_AT_EVENTS = 10.0
_LOOK_AGAIN = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that a verdict depends on."""

    attempts: int  # started so far, by the status
    observed: Observed


def decide(facts: Facts) -> Verdict:
    """Verdict of the first rule that applies."""
    return next(verdict for rule in _RULES if (verdict := rule(facts)) is not None)


def _start_once(facts: Facts) -> Verdict | None:
    return StartAttempt(1) if facts.observed.job is None and facts.attempts == 0 else None


def _fail_without_job(facts: Facts) -> Verdict | None:
    """A run that was started is never started again, whoever deleted its Job."""
    if facts.observed.job is not None:
        return None
    text = "its Job was deleted before the end of the training was seen"
    return Fail(Cause(Reason.JOB_DELETED, text, "apply a run with a new name to train again"))


def _finish(facts: Facts) -> Verdict | None:
    job, leader = facts.observed.job, facts.observed.leader
    if job is None or not job.complete:
        return None
    said = leader.end.outcome if leader and leader.end else None
    if said is None or said.outcome != "finished":
        return Finish(Reason.FINISHED, "the training is finished")
    return Finish(said.reason or Reason.FINISHED, said.message or "the training is finished")


def _fail(facts: Facts) -> Verdict | None:
    job = facts.observed.job
    return Fail(cause_of(job, facts.observed)) if job is not None and job.failed else None


def _wait_for_pods(facts: Facts) -> Verdict | None:
    if facts.observed.pods:
        return None
    if facts.observed.obstacle is not None:
        return Wait(Phase.PENDING, facts.observed.obstacle, _LOOK_AT_EVENTS)
    job = facts.observed.job
    refused = job is not None and job.started and not job.active
    text = "the Job is created, its pod not yet"
    return Wait(Phase.PENDING, Cause(Reason.JOB_CREATED, text), _LOOK_AT_EVENTS if refused else None)


def _wait_for_nodes(facts: Facts) -> Verdict | None:
    unplaced = [pod for pod in facts.observed.current if not pod.scheduled and not pod.over]
    if not unplaced:
        return None
    cause = next((pod.unschedulable for pod in unplaced if pod.unschedulable is not None), None)
    if cause is None:
        # The same words as before the pod existed: a moment that is not worth a write.
        return Wait(
            Phase.PENDING, Cause(Reason.JOB_CREATED, "the Job is created, its pod not yet"), None, _again(facts)
        )
    volume = cause.reason == Reason.VOLUME_PENDING
    if volume and facts.observed.obstacle is not None:
        cause = facts.observed.obstacle
    return Wait(Phase.PENDING, cause, _LOOK_AT_EVENTS if volume else None, _again(facts))


def _wait_for_containers(facts: Facts) -> Verdict | None:
    idle = [pod for pod in facts.observed.current if not pod.running_since and not pod.over]
    if not idle:
        return None
    blocked = next((pod.waiting for pod in idle if pod.waiting is not None), facts.observed.obstacle)
    cause = blocked or Cause(Reason.STARTING, "the image is pulled and the volumes are mounted")
    wake = None if any(pod.waiting for pod in idle) else _LOOK_AT_EVENTS
    return Wait(Phase.STARTING, cause, wake, _again(facts))


def _wait_for_replacement(facts: Facts) -> Verdict | None:
    lost = [pod for pod in facts.observed.current if pod.over and pod.disruption]
    if not lost:
        return None
    text = lost[0].disruption_message or "its pod was interrupted"
    return Wait(Phase.PENDING, Cause(Reason.RESUMING, f"waiting for a new pod: {text}"), None, resuming=True)


def _run(facts: Facts) -> Verdict | None:
    """Also while a pod has ended and the Job controller has not said what that means: a moment, not worth a write."""
    return Wait(Phase.RUNNING, Cause(Reason.RUNNING, "the training runs"), _LOOK_AGAIN)


def _again(facts: Facts) -> bool:
    """Whether the newest execution follows an earlier one of the same attempt."""
    observed = facts.observed
    return len(observed.pods) > len(observed.current) or any(_interrupted(pod) for pod in observed.pods)


def _interrupted(pod: PodFacts) -> bool:
    return pod.over and bool(pod.disruption)


_RULES: tuple[Callable[[Facts], Verdict | None], ...] = (
    _start_once,
    _fail_without_job,
    _finish,
    _fail,
    _wait_for_pods,
    _wait_for_nodes,
    _wait_for_containers,
    _wait_for_replacement,
    _run,
)
