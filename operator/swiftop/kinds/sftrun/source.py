"""``checkpoints.from``: the checkpoint of another run that a run starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.sftrun import SFTRun, SFTRunSpec
from swiftop.batch.origin import SOURCE_DIR, Origin, at_rest, unusable
from swiftop.model.facts import Cause
from swiftop.model.kind import Object, Reference
from swiftop.model.verdict import Blocked, Phase, Waiting
from swiftop.reasons import Reason
from swiftop.runner.protocol import Source
from swiftop.swift import paths


def reference(run: SFTRun) -> Reference | None:
    """The other run, if there is one."""
    source = run.spec.checkpoints.source
    if source is None:
        return None
    return Reference(names.SFTRUN, run.metadata.namespace, source.sft_run_ref.name)


def readiness(run: SFTRun, other: Object | None) -> Waiting | Blocked | None:
    """What the run waits for before it may start; None when the checkpoint is there."""
    source = run.spec.checkpoints.source
    if source is None:
        return None
    name, step = source.sft_run_ref.name, source.sft_run_ref.step
    if other is None:
        text = f"SFTRun {name} does not exist, and checkpoints.from names it"
        return Blocked(Cause(Reason.SOURCE_MISSING, text, "create it, or fix the name in the spec"), stalled=False)
    status = other.get("status") or {}
    if hopeless := _hopeless(run, name, other):
        return hopeless
    if not at_rest(status):
        text = f"SFTRun {name} has not ended, and this run starts from its last checkpoint"
        return Waiting(
            Phase.PENDING,
            Cause(Reason.SOURCE_PENDING, text, f"wait, or suspend SFTRun {name} to start from where it is"),
        )
    return _unfit(name, step, status)


def _hopeless(run: SFTRun, name: str, other: Object) -> Blocked | None:
    """What no waiting would change."""
    spec = other.get("spec") or {}  # of a run that is over the store keeps its results alone
    origin = (((spec.get("checkpoints") or {}).get("from") or {}).get("sftRunRef") or {}).get("name")
    started = (other.get("status") or {}).get("startTime")
    if origin == run.metadata.name and not started:
        return unusable(f"SFTRun {name} waits for this run, and this run for it", "remove checkpoints.from in one")
    if (spec.get("output") or {}).get("ephemeral"):
        return unusable(f"the output of SFTRun {name} is ephemeral: it ends with its pod", "name another run")
    return None


def _unfit(name: str, step: int | None, status: Mapping[str, Any]) -> Blocked | None:
    newest = (status.get("checkpoint") or {}).get("step")
    if not status.get("output"):
        return unusable(f"the output of SFTRun {name} is not on a volume that outlives it", "name another run")
    if newest is None:
        return unusable(f"SFTRun {name} has no complete checkpoint", "name another run")
    if step is not None and step > newest:
        advice = f"use a step up to {newest} that it saved, or leave step out"
        return unusable(f"SFTRun {name} has no checkpoint of step {step}, its newest is {newest}", advice)
    return None


def recorded(planned: Source | None) -> dict[str, str]:
    """``status.resolved.source``: where the results lie that a Job was made with."""
    if planned is None:
        return {}
    claim, _, path = planned.directory.removeprefix(f"{SOURCE_DIR}/").partition("/")
    return {"claimName": claim, "path": path, "uid": planned.uid}


def planned(spec: SFTRunSpec, found: Origin | None) -> Source | None:
    """What the runner is told of it."""
    source = spec.checkpoints.source
    if source is None or found is None:
        return None
    return Source(
        directory=found.directory,
        uid=found.uid,
        tuner=spec.tuner.type,
        step=source.sft_run_ref.step,
        weights_only=source.weights_only,
        rank=spec.tuner.rank,
        model=paths.model_path(spec.model),
    )
