"""How often an object was interrupted, and whether it gets anywhere between.

Each execution that is taken away (eviction, preemption, node loss, deleted pod) is one interruption. It is learned from
its pod, or, when the pod has vanished with its termination message, from a later execution, which reads the record on
the volume: several pods may have come and gone before anybody looked. What the spec's own ``suspend`` stops is none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from swiftop.batch.ending import cause_of, in_order, is_interruption
from swiftop.batch.observe import Observed
from swiftop.model.facts import Cause, JobFacts, PodFacts, Report
from swiftop.model.times import seconds_of, text_of
from swiftop.observe.ending import pod_cause
from swiftop.reasons import Reason
from swiftop.runner import causes
from swiftop.runner.report import Previous

REMEMBERED = 10
FRUITLESS = 3
"""Interruptions in a row without a new kept step that end the object: an eviction must not repeat for ever."""

_SAME_SECONDS = 120.0  # between the end of a pod and the Job controller's word on it, at most

# Members of a report. A program without steps reports neither: each of its interruptions is without headway.
_STEP, _KEPT = "step", "checkpointStep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interruption:
    """One execution that was taken away."""

    time: str
    cause: str
    pod: str  # UID: by it an interruption is counted once
    step: int | None = None  # reached
    kept: int | None = None  # of the newest complete checkpoint then

    def to_status(self) -> dict[str, Any]:
        """Item of ``status.interruptions``."""
        lost = None if self.step is None else max(self.step - (self.kept or 0), 0)
        found = {
            "time": self.time,
            "cause": self.cause,
            "pod": self.pod,
            "step": self.step,
            "checkpointStep": self.kept,
            "lostSteps": lost,
        }
        return {name: value for name, value in found.items() if value is not None}


def recorded(items: Iterable[Mapping[str, Any]]) -> tuple[Interruption, ...]:
    """Those of a status."""
    return tuple(
        Interruption(
            time=item.get("time", ""),
            cause=item.get("cause", ""),
            pod=item.get("pod", ""),
            step=item.get("step"),
            kept=item.get("checkpointStep"),
        )
        for item in items
    )


def updated(
    known: Sequence[Interruption], observed: Observed, *, kept: int | None, stopped: str
) -> tuple[Interruption, ...]:
    """``known`` and those that are new.

    ``kept`` is the newest checkpoint of the status, ``stopped`` when the object was last suspended: what ended before
    that was stopped by its own wish.
    """
    # A pod and its successor may both tell of one end; the pod knows better.
    told = [one for end in observed.previous for one in _reported(end, stopped)]
    reported = [one for one in told if not _known_by_its_job(one, known, {other.pod for other in told})]
    seen = [one for one in _seen(observed, kept) if not _known_by_its_pod(one, observed.job, known)]
    found = {one.pod: one for one in (*reported, *seen)}
    # A failure that was answered by a retry is none, though the next execution finds no more than that it ended.
    counted = {one.pod for one in known} | {observed.job.retry_of if observed.job else ""}
    forgotten = known[0].time if len(known) >= REMEMBERED else ""  # a pod may outlive the memory of its end
    new = [one for pod, one in found.items() if pod not in counted and one.time > forgotten]
    return tuple(sorted((*known, *new), key=lambda one: one.time))[-REMEMBERED:]


def _known_by_its_job(one: Interruption, known: Sequence[Interruption], pods: Collection[str]) -> bool:
    """Whether it stands there already, under its Job, since nobody knew its pod any more; ``pods`` are no Jobs."""
    unseen = [
        other for other in known
        if other.cause == Reason.POD_DELETED and other.step is None and other.pod not in pods
    ]  # fmt: skip
    return any(abs(seconds_of(other.time) - seconds_of(one.time)) < _SAME_SECONDS for other in unseen)


def _known_by_its_pod(one: Interruption, job: JobFacts | None, known: Sequence[Interruption]) -> bool:
    """Whether it was seen on the pod before that went, and what comes now is the Job controller's word on it."""
    if job is None or one.pod != job.uid:
        return False
    born, end = seconds_of(job.created), seconds_of(one.time)
    return any(born <= (at := seconds_of(other.time)) and abs(at - end) < _SAME_SECONDS for other in known)


def fruitless(interruptions: Sequence[Interruption]) -> int:
    """How many of the last ones came without a new kept step since the one before."""
    count = 0
    before = [None, *(one.kept for one in interruptions)]
    for one, earlier in reversed(list(zip(interruptions, before, strict=False))):
        if (one.kept or 0) > (earlier or 0):
            break
        count += 1
    return count


def _seen(observed: Observed, kept: int | None) -> list[Interruption]:
    """Of several ranks one is interrupted and takes the others along: one interruption by attempt.

    It goes by the pod of rank 0, of which the next report tells too; when that pod is gone, that report alone.
    """
    job = observed.job
    if job is None or job.deleting:
        return []
    taken = [(pod, cause) for pod in in_order(observed.pods) if (cause := pod_cause(pod)) and is_interruption(cause)]
    ended = cause_of(job, observed) if job.failed else None
    if not observed.pods and ended and is_interruption(ended):  # all of them have vanished
        return [Interruption(time=job.finished, cause=str(ended.reason), pod=job.uid, kept=kept)]
    if len({pod.index for pod in observed.pods}) > 1:
        leader = observed.leader
        if not taken or not is_interruption(ended) or leader is None or leader.index:
            return []
        return [_of_pod(*taken[0], kept, key=leader.uid)]
    # What was taken away before it started has lost nothing, and may wait in a queue.
    return [_of_pod(pod, cause, kept, key=pod.uid) for pod, cause in taken if pod.started]


def _of_pod(pod: PodFacts, cause: Cause, kept: int | None, *, key: str) -> Interruption:
    outcome = pod.ended.outcome if pod.ended else None
    report: Report = outcome.report if outcome else {}
    return Interruption(
        time=pod.finished or pod.deleting or pod.created,
        cause=str(cause.reason),
        pod=key,
        step=_whole(report.get(_STEP)),
        kept=_whole(report.get(_KEPT, kept)),
    )


def _reported(previous: Previous, stopped: str) -> list[Interruption]:
    if previous.reason not in (causes.INTERRUPTED.reason, causes.LOST.reason):
        return []
    if previous.time <= seconds_of(stopped):
        return []
    return [
        Interruption(
            time=text_of(previous.time),
            cause=previous.reason,
            pod=previous.pod,
            step=previous.step,
            kept=previous.kept_step,
        )
    ]


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
