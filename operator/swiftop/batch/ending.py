"""Why an attempt failed, and what that means for the next one.

One cause out of all that its pods and the Job controller say. Of several pods the first one that knows a real cause
(`swiftop.observe.ending`) wins: what the others say is mostly its echo.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from enum import Enum, auto

from swiftop.batch.observe import Observed
from swiftop.model.facts import Cause, JobFacts, PodFacts
from swiftop.model.times import seconds_of
from swiftop.observe.ending import VAGUE, pod_cause
from swiftop.reasons import Reason
from swiftop.runner import causes
from swiftop.runner.ends import EXIT_INTERRUPTED


class After(Enum):
    """What follows a failed attempt."""

    CONTINUE = auto()  # it was interrupted from outside: a new attempt, as often as it makes headway
    RETRY = auto()  # the cause may pass: a new attempt, spec.lifecycle.maxRetries times
    END = auto()  # the same would happen again


_INTERRUPTED = frozenset(
    {Reason.PREEMPTED, Reason.NODE_LOST, Reason.EVICTED, Reason.POD_DELETED, causes.INTERRUPTED.reason}
)
_MAY_PASS = frozenset(
    {cause.reason for cause in causes.BY_REASON.values() if cause.transient}
    | {Reason.NODE_REFUSED_POD, Reason.CONTAINER_START_FAILED, Reason.CONTAINER_LOST}
)
# Causes share exit codes: where one of them may pass, a bounded number of further attempts is the lesser harm.
_CODES_THAT_MAY_PASS = frozenset(cause.exit_code for cause in causes.BY_REASON.values() if cause.transient)
# "Container trainer for pod team/run-1-x failed with exit code 5 matching FailJob rule at index 1"
_EXIT_CODE = re.compile(r"failed with exit code ([0-9]{1,3})\b")


def after(cause: Cause) -> After:
    """What follows an attempt that failed for this cause."""
    if cause.reason in _INTERRUPTED:
        return After.CONTINUE
    return After.RETRY if cause.reason in _MAY_PASS else After.END


def is_interruption(cause: Cause | None) -> bool:
    """Whether a pod ended because it was taken away."""
    return cause is not None and cause.reason in _INTERRUPTED


def cause_of(job: JobFacts, observed: Observed) -> Cause:
    """Cause of a failed attempt."""
    known = [cause for pod in in_order(observed.current) if (cause := pod_cause(pod)) is not None]
    found = next((cause for cause in known if cause.reason not in VAGUE), None)
    # An interruption takes the other ranks down, and their echo may be heard first.
    found = found or next((cause for cause in known if is_interruption(cause)), known[0] if known else None)
    if job.failure_reason == "DeadlineExceeded" and (found is None or found.reason in VAGUE):
        return Cause(
            Reason.DEADLINE_EXCEEDED,
            "the attempt took longer than spec.lifecycle.activeDeadlineSeconds",
            "raise spec.lifecycle.activeDeadlineSeconds, or ask for less work",
        )
    if found is not None:
        return found
    if not observed.pods:
        return _without_pods(job)
    return Cause(Reason.FAILED, job.failure_message or "the Job failed")


def _without_pods(job: JobFacts) -> Cause:
    """The pods are gone with what they said; of a documented exit code the Job controller wrote down the number."""
    code = _EXIT_CODE.search(job.failure_message) if job.failure_reason == "PodFailurePolicy" else None
    if code is None or int(code[1]) == EXIT_INTERRUPTED:
        return Cause(Reason.POD_DELETED, "its pod was deleted before the end")
    text = f"the container ended with exit code {code[1]}, and its pod with what it said is gone"
    reason = Reason.CONTAINER_LOST if int(code[1]) in _CODES_THAT_MAY_PASS else causes.UNKNOWN.reason
    return Cause(reason, text, "docs/reasons.md lists what the exit code may mean")


def finished_well(observed: Observed) -> bool:
    """Whether the main containers of all ranks ended well, whatever other containers of their pods do."""
    current = observed.current
    return bool(current) and all(
        pod.phase == "Succeeded" or (pod.ended is not None and pod.ended.exit_code == 0) for pod in current
    )


def in_order(pods: Iterable[PodFacts]) -> list[PodFacts]:
    """The pod that ended first is first: a failing rank takes the others down."""
    return sorted(pods, key=lambda pod: (seconds_of(pod.finished) if pod.ended else float("inf"), pod.index))


def advised(cause: Cause, suggestion: str) -> Cause:
    """``cause`` with this suggestion, where it has none of its own."""
    return cause if cause.suggestion else replace(cause, suggestion=suggestion)
