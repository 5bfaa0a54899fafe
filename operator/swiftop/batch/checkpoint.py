"""A checkpoint of a run, maybe one to come, as another object refers to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.refs import RunCheckpoint
from swiftop.batch.origin import Origin, at_rest, origin, unusable
from swiftop.model.conditions import by_type
from swiftop.model.facts import Cause
from swiftop.model.kind import Object
from swiftop.model.verdict import Blocked, Phase, Waiting
from swiftop.reasons import ConditionType, Reason
from swiftop.swift import paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who refers to the checkpoint, and where in its spec."""

    thing: str  # export, deployment
    field: str  # source.sftRunRef
    instead: str  # source.persistentVolumeClaim
    known: str = ""  # reason that was said of the run last


def awaited(wanted: RunCheckpoint, run: Object | None, reader: Reader) -> Waiting | Blocked | None:
    """What is waited for before the checkpoint can be used; None when it is there."""
    name = wanted.name
    if run is None:
        return _absent(name, reader)
    status = run.get("status") or {}
    if hopeless := _hopeless(wanted, run.get("spec") or {}, status):
        return hopeless
    if not _kept(wanted, status) and not at_rest(status):
        to_come = f"checkpoint of step {wanted.checkpoint}" if wanted.checkpoint.isdecimal() else "end"
        text = f"SFTRun {name} has not come to its {to_come}"
        advice = f"wait; the {reader.thing} then starts by itself"
        return Waiting(Phase.PENDING, Cause(Reason.SOURCE_PENDING, text, advice))
    return _unfit(wanted, status, reader)


def located(wanted: RunCheckpoint, run: Object | None) -> Origin:
    """Folder of the checkpoint.

    What nobody knows yet stands in brackets, for ``swiftop preview`` alone: nothing is started without it.
    """
    found = origin(run) or Origin(names.output_claim_name(names.SFTRUN, wanted.name), f"{wanted.name}-<uid>", "")
    status = (run or {}).get("status") or {}
    steps = {"last": status.get("checkpoint"), "best": status.get("bestCheckpoint")}
    known = steps.get(wanted.checkpoint) if wanted.checkpoint in steps else {"step": wanted.checkpoint}
    step = (known or {}).get("step") or f"<{wanted.checkpoint}>"
    return replace(found, path=paths.join(found.path, f"checkpoint-{step}"))


def _hopeless(wanted: RunCheckpoint, spec: Mapping[str, Any], status: Mapping[str, Any]) -> Blocked | None:
    """What the run's spec tells before its end; of a run that is over the store keeps its results alone."""
    name, fixed = wanted.name, bool(status.get("startTime"))
    if (spec.get("output") or {}).get("ephemeral"):
        return unusable(f"the output of SFTRun {name} is ephemeral: it ends with its pod", "name another run")
    extra = {arg.get("name", ""): arg.get("value") for arg in spec.get("extraArgs") or ()}
    if (spec.get("checkpoints") or {}).get("saveStrategy") == "no" and not status.get("checkpoint"):
        advice = "name another run" if fixed else f"remove checkpoints.saveStrategy of SFTRun {name}"
        return unusable(f"SFTRun {name} saves no checkpoint: its checkpoints.saveStrategy is no", advice)
    validated = spec.get("validation") or any("val_dataset" in arg for arg in extra)
    if wanted.checkpoint == "best" and spec and not validated and not status.get("bestCheckpoint"):
        advice = "use checkpoint: last" if fixed else f"use checkpoint: last, or give SFTRun {name} a validation"
        return _no_best(name, "is", advice)
    return None


def _no_best(name: str, verb: str, advice: str) -> Blocked:
    text = f"SFTRun {name} has no best checkpoint: it {verb} trained without validation"
    return Blocked(Cause(Reason.NO_BEST_CHECKPOINT, text, advice), stalled=True)


def _absent(name: str, reader: Reader) -> Blocked:
    if reader.known in (Reason.SOURCE_PENDING, Reason.SOURCE_DELETED):
        text = f"SFTRun {name} was deleted before this {reader.thing} could start"
        advice = f"create it again, or name its checkpoint by {reader.instead}"
        return Blocked(Cause(Reason.SOURCE_DELETED, text, advice), stalled=True)
    text = f"SFTRun {name} does not exist, and {reader.field} names it"
    return Blocked(Cause(Reason.SOURCE_MISSING, text, "create it, or fix the name in the spec"), stalled=False)


def _kept(wanted: RunCheckpoint, status: Mapping[str, Any]) -> bool:
    """Whether a step that is named is there before the run ends. It stays only if the run keeps so many."""
    newest = (status.get("checkpoint") or {}).get("step")
    return wanted.checkpoint.isdecimal() and newest is not None and int(wanted.checkpoint) <= newest


def _unfit(wanted: RunCheckpoint, status: Mapping[str, Any], reader: Reader) -> Blocked | None:
    name, newest = wanted.name, (status.get("checkpoint") or {}).get("step")
    if not status.get("output"):
        return unusable(f"the output of SFTRun {name} is not on a volume that outlives it", "name another run")
    if newest is None:
        return unusable(f"SFTRun {name} has no complete checkpoint", "name another run")
    if _kept(wanted, status):
        return None
    if wanted.checkpoint.isdecimal():
        text = f"SFTRun {name} has no checkpoint of step {wanted.checkpoint}, its newest is {newest}"
        return unusable(text, f"use a step up to {newest} that it saved, or last")
    return _without_step(wanted, status, reader)


def _without_step(wanted: RunCheckpoint, status: Mapping[str, Any], reader: Reader) -> Blocked | None:
    """Of a run that failed nobody knows whether its last checkpoint is a good one: a person says so by its step."""
    name, newest = wanted.name, (status.get("checkpoint") or {}).get("step")
    if by_type(status).get(ConditionType.SUCCEEDED, {}).get("status") == "False":
        text = f"SFTRun {name} has failed"
        advice = f"name the step that you want in {reader.field}.checkpoint: its newest is {newest}"
        return Blocked(Cause(Reason.SOURCE_FAILED, text, advice), stalled=True)
    if wanted.checkpoint == "best" and not (status.get("bestCheckpoint") or {}).get("step"):
        return _no_best(name, "was", "use checkpoint: last")
    return None
