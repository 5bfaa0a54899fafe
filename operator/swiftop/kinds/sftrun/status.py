"""What the status of a run has beside what all kinds have that end: progress, checkpoints, tracking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.batch.kind import Own
from swiftop.batch.observe import Observed
from swiftop.kinds.sftrun import acceleration, data, memory
from swiftop.kinds.sftrun.check import warnings
from swiftop.kinds.sftrun.display import progress_texts, spec_texts
from swiftop.kinds.sftrun.tracking import tracking_url
from swiftop.model.conditions import Aspect, as_before, by_type
from swiftop.model.facts import Report
from swiftop.model.kind import Frame, Status
from swiftop.model.times import text_of
from swiftop.model.verdict import Failed, Finished, Outlook, Phase, Waiting
from swiftop.reasons import ConditionType, Reason
from swiftop.runner import causes
from swiftop.swift.paths import identity_of, output_dir

VOLATILE = frozenset({"data", "progress", "checkpoint", "bestCheckpoint", "display"})

# Members of a report that the status shows under the same name; the others have a place of their own.
SHOWN = (
    "step",
    "maxSteps",
    "epoch",
    "loss",
    "evalLoss",
    "learningRate",
    "gradNorm",
    "secondsPerStep",
    "etaSeconds",
    "memoryGiB",
)


def own(frame: Frame[SFTRun, Observed]) -> Own:
    """Members, conditions and warning of a run. What its spec tells stays when it cannot be read any more."""
    run, previous, report = frame.resource, frame.previous, frame.observed.report
    runs = isinstance(frame.outlook, Waiting) and frame.outlook.phase is Phase.RUNNING
    progress = _progress(report, previous, runs=runs)
    checkpoint, best = _checkpoints(report, run, previous)
    rows, accelerated = data.status(report, previous), acceleration.status(frame.observed.acceleration, previous)
    members: Status = {
        "progress": progress,
        "checkpoint": checkpoint,
        "bestCheckpoint": best,
        "data": rows,
        "acceleration": accelerated,
        "tracking": _tracking(run, report, previous),
        "display": {**progress_texts(progress or {}), **(spec_texts(run.spec) if run else _kept_texts(previous))},
    }
    return Own(
        members=members,
        aspects={
            ConditionType.CHECKPOINT_AVAILABLE: (
                Aspect("True", Reason.CHECKPOINT_SAVED) if checkpoint else Aspect("False", Reason.NO_CHECKPOINT)
            ),
            ConditionType.PROGRESS_AVAILABLE: _heard(frame.outlook, frame.observed, by_type(previous)),
            ConditionType.DATA_COMPLETE: data.complete(rows),
            ConditionType.ACCELERATED: _accelerated(frame, accelerated),
        },
        warning="; ".join(str(problem) for problem in warnings(run.spec)) if run else "",
        reported=bool(progress),
    )


def explained(frame: Frame[SFTRun, Observed]) -> Frame[SFTRun, Observed]:
    """The runner says what helps against an end like this; from the spec follows what helps this run."""
    run, outlook = frame.resource, frame.outlook
    if run is None or not isinstance(outlook, Failed) or outlook.cause.reason != causes.CUDA_OUT_OF_MEMORY.reason:
        return frame
    advice = memory.advice(run.spec, frame.observed.acceleration)
    return replace(frame, outlook=Failed(replace(outlook.cause, suggestion=advice))) if advice else frame


def _accelerated(frame: Frame[SFTRun, Observed], known: Status | None) -> Aspect:
    if frame.resource is None:
        return as_before(by_type(frame.previous), ConditionType.ACCELERATED)
    resolved = frame.previous.get("resolved") or {}
    version = frame.pinned.swift_version if frame.pinned is not None else resolved.get("swiftVersion", "")
    wanted = acceleration.mode(frame.resource.spec, version)
    return acceleration.aspect(wanted, known, finished=isinstance(frame.outlook, Finished))


def _tracking(run: SFTRun | None, report: Report | None, previous: Mapping[str, Any]) -> Status | None:
    """Once known, the link stays: a later pod may end before it knows it."""
    if run is None:
        return previous.get("tracking")
    url = tracking_url(run.spec, identity_of(run), str((report or {}).get("trackerWorkspace", "")))
    return {"url": url} if url else previous.get("tracking")


def _progress(report: Report | None, previous: Mapping[str, Any], *, runs: bool) -> Status | None:
    """A pod that still prepares knows no step: what an earlier one reached stays, but for the time that is left."""
    if report is None or report.get("step") is None:
        known: Status = dict(previous.get("progress") or {})
    else:
        known = {name: report[name] for name in SHOWN if name in report}
    if not runs:
        known.pop("etaSeconds", None)
    return known or None


def _checkpoints(
    report: Report | None, run: SFTRun | None, previous: Mapping[str, Any]
) -> tuple[Status | None, Status | None]:
    checkpoint, best = previous.get("checkpoint"), previous.get("bestCheckpoint")
    if report is None or run is None:
        return checkpoint, best
    if (step := report.get("checkpointStep")) is not None:
        checkpoint = {"step": step, "path": _path(run, step)}
        if (time := report.get("checkpointTime")) is not None:
            checkpoint["time"] = text_of(float(time))
        if (loss := report.get("checkpointEvalLoss")) is not None:
            checkpoint["evalLoss"] = loss
    if (step := report.get("bestStep")) is not None:
        best = {"step": step, "path": _path(run, step)}
        if (metric := report.get("bestMetric")) is not None:
            best["metric"] = metric
        if (loss := report.get("bestEvalLoss")) is not None:
            best["evalLoss"] = loss
    return checkpoint, best


def _path(run: SFTRun, step: object) -> str:
    return f"{output_dir(run.spec.output, identity_of(run))}/checkpoint-{step}"


def _heard(outlook: Outlook, observed: Observed, before: Mapping[str, Mapping[str, Any]]) -> Aspect:
    if not isinstance(outlook, Waiting) or outlook.phase is not Phase.RUNNING:
        return Aspect("False", Reason.NOT_RUNNING)
    if not observed.reachable:
        text = "neither the pod's progress page nor its log can be read: does a NetworkPolicy keep the operator away?"
        return Aspect("False", Reason.PROGRESS_UNAVAILABLE, text)
    if observed.heard is not None:
        return Aspect("True", Reason.PROGRESS_REPORTED)
    # Not heard yet, as after a restart of the operator: what was known holds, and nothing is written.
    known = before.get(ConditionType.PROGRESS_AVAILABLE)
    if known is not None and known["reason"] in (Reason.PROGRESS_REPORTED, Reason.PROGRESS_UNAVAILABLE):
        return as_before(before, ConditionType.PROGRESS_AVAILABLE)
    return Aspect("Unknown", Reason.STARTING)


def _kept_texts(previous: Mapping[str, Any]) -> dict[str, str]:
    shown = previous.get("display") or {}
    return {name: shown[name] for name in ("gpus", "model", "dataset") if name in shown}
