"""The members of a status that all kinds have that end; a kind adds its own.

Of the last status only facts are read that cannot be derived again. Everything else is made anew each time; equal
content means no write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.workload import BatchResource, output_of
from swiftop.batch.conditions import COMMON, aspects_of
from swiftop.batch.interruptions import recorded as recorded_interruptions
from swiftop.batch.interruptions import updated
from swiftop.batch.observe import Observed
from swiftop.batch.situation import Recorded
from swiftop.model.conditions import Aspects, by_type, written
from swiftop.model.facts import Cause, JobFacts, PodFacts
from swiftop.model.kind import Frame, Status
from swiftop.model.times import seconds_of, text_of
from swiftop.model.verdict import Blocked, Failed, Finished, Phase, Suspended, Waiting
from swiftop.observe.report import tail
from swiftop.reasons import FAULTY, ConditionType, Reason, State
from swiftop.runner.typed_json import to_json
from swiftop.swift.paths import OUTPUT_DIR, identity_of, output_dir

OVERTAKEN = (
    "the spec was edited in the moment of the start, and the work goes on as it was before: status.resolved.command "
    "has its flags; apply an object with a new name for the edit"
)


def recorded(obj: Mapping[str, Any], observed: Observed, *, gpus: int | None, now: float) -> Recorded:
    """Of the last status what cannot be derived again, brought up to date with what is observed."""
    status, job = obj.get("status") or {}, observed.job
    conditions = by_type(status)
    suspended, summary = conditions.get(ConditionType.SUSPENDED, {}), conditions.get(ConditionType.SUCCEEDED, {})
    said, since = summary.get("message", ""), suspended.get("lastTransitionTime", "")
    return Recorded(
        attempts=max(job.attempt if job else 0, status.get("attempts") or 0),
        retries=max(job.retries if job else 0, status.get("retries") or 0),
        started=status.get("startTime") or "",
        following=status.get("nextAttempt") or 0,
        suspended=suspended.get("status") == "True",
        said=said,
        doing=said if summary.get("reason") == Reason.RUNNING else "",
        waiting_since=max(obj["metadata"].get("creationTimestamp", ""), since),
        gpu_seconds=_gpu_seconds(gpus, observed, status, now=now),
        output=bool(status.get("output")),
        interruptions=updated(
            recorded_interruptions(status.get("interruptions") or ()),
            observed,
            kept=(status.get("checkpoint") or {}).get("step"),
            stopped=since,
        ),
    )


def status_of(
    frame: Frame[Any, Observed],
    *,
    types: Sequence[str],
    aspects: Aspects,
    reported: bool,
    warning: str,
    gpus: int | None,
) -> Status:
    """Common members; ``aspects`` are those of the kind's own conditions ``types``, ``reported`` whether there was
    ever a report of the work, ``gpus`` how many each pod holds (None: not known any more)."""
    previous, observed, outlook = frame.previous, frame.observed, frame.outlook
    known = recorded(frame.obj, frame.before, gpus=gpus, now=frame.now)
    before, job = by_type(previous), observed.job
    warnings = [text for text in (OVERTAKEN if _overtaken(frame) else "", warning) if text]
    common = aspects_of(outlook, observed=observed, before=before, warning="; ".join(warnings))
    generation, over = frame.obj["metadata"]["generation"], isinstance(outlook, Finished | Failed)
    return {
        "conditions": written(
            {**common, **aspects},
            (*COMMON, *types),
            before=before,
            generation=generation,
            now=text_of(frame.now),
        ),
        "state": str(_state(frame, reported)),
        "observedGeneration": generation,
        "attempts": max(known.attempts, job.attempt if job else 0),
        "retries": max(known.retries, job.retries if job else 0, frame.following.retries if frame.following else 0)
        or None,
        "nextAttempt": _following(frame, job, known),
        "interruptions": [one.to_status() for one in known.interruptions] or None,
        "startTime": known.started or observed.started or None,
        "output": output_status(frame),
        "completionTime": previous.get("completionTime") or _completed(job, frame.now) if over else None,
        "gpuSeconds": known.gpu_seconds or None,
        "failure": _failure(outlook),
        "resolved": _resolved(frame, started=bool(known.started)),
    }


def output_status(frame: Frame[Any, Observed]) -> Status | None:
    """``status.output``: where the results lie, from the first attempt on; nowhere when they end with the pod."""
    resource: BatchResource | None = frame.resource
    if resource is None:
        return frame.previous.get("output")
    output = output_of(resource.spec)
    if output is None or output.ephemeral or not (frame.observed.job or frame.previous.get("output")):
        return None
    claim = output.persistent_volume_claim
    made = names.output_claim_name(resource.DEFINITION.resource, resource.metadata.name)
    path = output_dir(output, identity_of(resource)).removeprefix(f"{OUTPUT_DIR}/")
    return {"claimName": claim.claim_name if claim else made, "path": path}


def present(status: Mapping[str, Any]) -> Status:
    """``status`` without what is not there: absent members are left out, not null."""
    return {name: value for name, value in status.items() if value not in (None, {}, "")}


def _following(frame: Frame[Any, Observed], job: JobFacts | None, known: Recorded) -> int | None:
    """Kept until the Job that is to go is gone and its successor there."""
    if frame.following is not None:
        return frame.following.attempt
    going = job is None or job.deleting
    over = isinstance(frame.outlook, Finished | Failed)
    return known.following if going and known.following and not over else None


def _overtaken(frame: Frame[Any, Observed]) -> bool:
    """An edit that came between the creation of the Job and the first report of its start."""
    known = by_type(frame.previous).get(ConditionType.VALIDATED, {}).get("message", "")
    job, first = frame.observed.job, not frame.previous.get("startTime") and frame.observed.started
    if first and job is not None and frame.digest:
        edited = job.generation != frame.obj["metadata"]["generation"]  # and not the platform's defaults alone
        return edited and bool(job.digest) and job.digest != frame.digest
    return OVERTAKEN in known


def _gpu_seconds(gpus: int | None, observed: Observed, previous: Mapping[str, Any], *, now: float) -> int:
    """GPUs times the seconds that pods held them; never less than once said, since pods are deleted."""
    known: int = previous.get("gpuSeconds") or 0
    if not gpus:
        return known
    before = observed.job.gpu_seconds if observed.job else 0
    return max(known, before + int(sum(_held(pod, now) for pod in observed.pods) * gpus))


def _held(pod: PodFacts, now: float) -> float:
    if not pod.scheduled_at or (pod.over and not pod.finished):
        return 0.0
    return max(0.0, (seconds_of(pod.finished) if pod.finished else now) - seconds_of(pod.scheduled_at))


def _completed(job: JobFacts | None, now: float) -> str:
    return (job.finished if job else "") or text_of(now)


def _failure(outlook: object) -> Status | None:
    match outlook:
        case Failed(cause) | Waiting(failed=Cause() as cause):
            found = {
                "reason": str(cause.reason),
                "message": cause.message,
                "suggestion": cause.suggestion,
                "log": tail(cause.log),
            }
            return {name: value for name, value in found.items() if value}
    return None


def _resolved(frame: Frame[Any, Observed], *, started: bool) -> Status | None:
    """Pinned by the first start of a container; until then it is what the newest Job was made with."""
    known, pinned = frame.previous.get("resolved"), frame.pinned
    if pinned is None or (known and started):
        return known
    return present(
        {
            "image": pinned.image,
            "swiftVersion": pinned.swift_version,
            "command": pinned.command,
            "digest": pinned.digest,
            "source": dict(pinned.source),
            "datasets": to_json(pinned.datasets) or None,
        }
    )


def _state(frame: Frame[Any, Observed], reported: bool) -> State:
    outlook = frame.outlook
    if isinstance(outlook, Suspended):
        return State.SUSPENDED if outlook.cause.reason == Reason.SUSPENDED else State.STOPPING
    if isinstance(outlook, Waiting):
        return _waiting_state(outlook, reported=reported)
    if isinstance(outlook, Blocked):
        return _blocked_state(outlook)
    return _STATES[type(outlook)]


_STATES: Mapping[type, State] = {
    Finished: State.SUCCEEDED,
    Failed: State.FAILED,
}


def _blocked_state(blocked: Blocked) -> State:
    """Of an object of which nothing is made for now."""
    return State.INVALID if blocked.cause.reason in FAULTY else State.PENDING


def _waiting_state(waiting: Waiting, *, reported: bool) -> State:
    if waiting.cause.reason == Reason.JOB_SUSPENDED:
        return State.SUSPENDED
    if waiting.phase is Phase.RUNNING and waiting.cause.reason != Reason.LOADING:
        return State.RUNNING
    if waiting.resuming or reported:  # the pod that got so far may be gone
        return State.RESUMING
    return State.PENDING if waiting.phase is Phase.PENDING else State.PREPARING
