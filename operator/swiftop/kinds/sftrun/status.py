"""The whole new status of a run: pure, from the last status, the verdict and what was observed.

Of the last status only facts are read that cannot be derived again: when it started, how often, what was pinned, the
last progress of a pod that is gone. Everything else is made anew each time; equal content means no write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.batch import conditions
from swiftop.kinds.sftrun.build import Resolved
from swiftop.kinds.sftrun.check import warnings
from swiftop.kinds.sftrun.display import progress_texts, spec_texts
from swiftop.kinds.sftrun.tracking import tracking_url
from swiftop.model.facts import Cause, JobFacts, Observed, Progress
from swiftop.model.times import seconds_of, text_of
from swiftop.model.verdict import Fail, Finish, Phase, Verdict, Wait
from swiftop.observe.report import tail
from swiftop.reasons import ConditionType, State
from swiftop.swift.paths import Identity, output_dir

Status = dict[str, Any]

OVERTAKEN = (
    "the spec was edited in the moment of the start, and the training runs as it was before: status.resolved.command "
    "has its flags; apply a run with a new name for the edit"
)

_PROGRESS_FIELDS = {
    "step": "step",
    "max_steps": "maxSteps",
    "epoch": "epoch",
    "loss": "loss",
    "eval_loss": "evalLoss",
    "learning_rate": "learningRate",
    "grad_norm": "gradNorm",
    "seconds_per_step": "secondsPerStep",
    "eta_seconds": "etaSeconds",
    "memory_gib": "memoryGiB",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """What the status needs of a run's spec: small, and kept as long as the run is active."""

    gpus: int  # per node
    gpu_resource: str
    output_dir: str
    url: Callable[[str], str | None]  # of the workspace that the runner tells of
    deadline: int | None
    texts: Mapping[str, str]
    warning: str = ""  # what is allowed but has no effect


def view_of(run: SFTRun) -> RunView:
    """View of a run."""
    spec = run.spec
    identity = Identity(run.metadata.name, run.metadata.uid, run.metadata.namespace)
    return RunView(
        gpus=spec.resources.gpus,
        gpu_resource=spec.resources.gpu_resource,
        output_dir=output_dir(spec.output, identity),
        url=partial(tracking_url, spec, identity),
        deadline=spec.lifecycle.active_deadline_seconds,
        texts=spec_texts(spec),
        warning="; ".join(str(problem) for problem in warnings(spec)),
    )


def status_of(
    *,
    view: RunView | None,
    generation: int,
    previous: Mapping[str, Any],
    verdict: Verdict,
    observed: Observed,
    resolved: Resolved | None,
    now: float,
) -> Status:
    """New status. ``view`` is None for a spec that does not parse: what it told before then stays."""
    before = conditions.held(previous)
    over = isinstance(verdict, Finish | Fail)
    reported = _last_progress(observed)
    progress = _progress(reported, previous, over=over)
    checkpoint, best = _checkpoints(reported, view, previous)
    warning = _warning(view, previous, resolved, generation)
    aspects = conditions.aspects_of(
        verdict, observed=observed, before=before, warning=warning
    ) | conditions.progress_aspects(
        verdict,
        before=before,
        heard=observed.progress is not None,
        reachable=observed.reachable,
        checkpoint=bool(checkpoint),
    )
    job = observed.job
    texts = view.texts if view else _kept_texts(previous)
    content: Status = {
        "conditions": conditions.written(aspects, before=before, generation=generation, now=text_of(now)),
        "state": str(_state(verdict, progress, observed)),
        "observedGeneration": generation,
        "progress": progress,
        "checkpoint": checkpoint,
        "bestCheckpoint": best,
        "attempts": max(job.attempt if job else 0, previous.get("attempts") or 0),
        "startTime": previous.get("startTime") or (job.created if job else None),
        "completionTime": previous.get("completionTime") or _completed(job, now) if over else None,
        "gpuSeconds": _gpu_seconds(view, observed, previous, now=now),
        "tracking": _tracking(view, reported, previous),
        "failure": _failure(verdict.cause) if isinstance(verdict, Fail) else None,
        "resolved": previous.get("resolved") or _resolved(resolved),
        "display": {**progress_texts(progress or {}), **texts},
    }
    return {name: value for name, value in content.items() if value not in (None, {})}


def _warning(view: RunView | None, previous: Mapping[str, Any], resolved: Resolved | None, generation: int) -> str:
    """What is allowed but has no effect: settings, and an edit that came between the start and its first report."""
    first = resolved is not None and "resolved" not in previous
    told = conditions.held(previous).get(ConditionType.VALIDATED, {}).get("message", "")
    overtaken = resolved.generation not in (0, generation) if first and resolved else OVERTAKEN in told
    parts = (OVERTAKEN if overtaken else "", view.warning if view else "")
    return "; ".join(part for part in parts if part)


def _tracking(view: RunView | None, reported: Progress | None, previous: Mapping[str, Any]) -> Status | None:
    """Once known, the link stays: a later pod may end before it knows it."""
    if view is None:
        return previous.get("tracking")
    url = view.url(reported.tracker_workspace if reported else "")
    return {"url": url} if url else previous.get("tracking")


def _last_progress(observed: Observed) -> Progress | None:
    """The leader's last words are newer than anything that was heard of it before."""
    leader = observed.leader
    outcome = leader.end.outcome if leader and leader.end else None
    return (outcome.progress if outcome else None) or observed.progress


def _progress(reported: Progress | None, previous: Mapping[str, Any], *, over: bool) -> Status | None:
    """A pod that still prepares knows no step: what an earlier one reached stays."""
    if reported is None or reported.step is None:
        known: Status = dict(previous.get("progress") or {})
    else:
        values = {name: getattr(reported, field) for field, name in _PROGRESS_FIELDS.items()}
        known = {name: value for name, value in values.items() if value is not None}
    if over:
        known.pop("etaSeconds", None)
    return known or None


def _checkpoints(
    reported: Progress | None, view: RunView | None, previous: Mapping[str, Any]
) -> tuple[Status | None, Status | None]:
    checkpoint, best = previous.get("checkpoint"), previous.get("bestCheckpoint")
    if reported is None or view is None:
        return checkpoint, best
    if reported.checkpoint_step is not None:
        checkpoint = {"step": reported.checkpoint_step, "path": _path(view, reported.checkpoint_step)}
        if reported.checkpoint_time is not None:
            checkpoint["time"] = text_of(reported.checkpoint_time)
    if reported.best_step is not None:
        best = {"step": reported.best_step, "path": _path(view, reported.best_step)}
        if reported.best_metric is not None:
            best["metric"] = reported.best_metric
    return checkpoint, best


def _path(view: RunView, step: int) -> str:
    return f"{view.output_dir}/checkpoint-{step}"


def _gpu_seconds(view: RunView | None, observed: Observed, previous: Mapping[str, Any], *, now: float) -> int | None:
    """GPUs times the seconds that pods held them; never less than once said, since pods are deleted."""
    known: int = previous.get("gpuSeconds") or 0
    if view is None or not view.gpus:
        return known or None
    held = sum(
        max(0.0, (seconds_of(pod.end.finished) if pod.end else now) - seconds_of(pod.scheduled_at))
        for pod in observed.pods
        if pod.scheduled_at
    )
    return max(known, int(held * view.gpus)) or None


def _completed(job: JobFacts | None, now: float) -> str:
    return (job.finished if job else "") or text_of(now)


def _failure(cause: Cause) -> Status:
    found = {
        "reason": str(cause.reason),
        "message": cause.message,
        "suggestion": cause.suggestion,
        "log": tail(cause.log),
    }
    return {name: value for name, value in found.items() if value}


def _resolved(resolved: Resolved | None) -> Status | None:
    if resolved is None:
        return None
    return {"image": resolved.image, "swiftVersion": resolved.swift_version, "command": resolved.command}


def _kept_texts(previous: Mapping[str, Any]) -> dict[str, str]:
    shown = previous.get("display") or {}
    return {name: shown[name] for name in ("gpus", "model", "dataset") if name in shown}


def _state(verdict: Verdict, progress: Mapping[str, Any] | None, observed: Observed) -> State:
    if isinstance(verdict, Finish):
        return State.SUCCEEDED
    if isinstance(verdict, Fail):
        return State.FAILED
    if not isinstance(verdict, Wait):
        return State.PENDING
    if verdict.phase is Phase.RUNNING:
        # Who cannot be heard is taken to train.
        return State.RUNNING if progress or not observed.reachable else State.PREPARING
    if verdict.resuming or progress:  # the pod that got so far may be gone
        return State.RESUMING
    return State.PENDING if verdict.phase is Phase.PENDING else State.PREPARING
