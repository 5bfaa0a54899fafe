"""How a run is accelerated: what its plan asks for, what its pod tells of it, and the condition that follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from swiftop.api.v1alpha1.sftrun import SFTRunSpec
from swiftop.model.conditions import Aspect
from swiftop.model.kind import Status
from swiftop.reasons import Reason
from swiftop.runner.protocol import Acceleration
from swiftop.runner.report import Accelerated
from swiftop.swift.argv import passed
from swiftop.swift.releases import DEFAULT, RELEASES

Mode = Literal["Auto", "Approximate", "Off"]

PAGE = "docs/acceleration.md"


def mode(spec: SFTRunSpec, version: str = "") -> Mode:
    """What holds for a run, whatever its spec says or leaves out; ``version`` is the ms-swift that it really got."""
    release = RELEASES.get(version or spec.runtime.swift_version or DEFAULT)
    known = release is None or release.accelerated
    return (spec.training.acceleration or "Auto") if spec.accelerable and known else "Off"


def planned(spec: SFTRunSpec) -> Acceleration | None:
    """What the plan says of it; None for ms-swift's own path."""
    found = mode(spec)
    return None if found == "Off" else Acceleration(found, given(spec))


def given(spec: SFTRunSpec) -> tuple[str, ...]:
    """Flags of the training that the spec itself sets, by a field or in extraArgs: these stay as they are.

    ``globalBatchSize`` is not among them: it says how large a step is, not how it is split.
    """
    return tuple(dict.fromkeys((*passed(spec.training), *(arg.name for arg in spec.extra_args))))


def status(told: Accelerated | None, previous: Mapping[str, Any]) -> Status | None:
    """``status.acceleration``. A pod that has not begun to train leaves what an earlier one told."""
    if told is None:
        return previous.get("acceleration")
    members = {
        "active": told.active,
        "parts": list(told.parts),
        "skipped": [{"part": part, "why": why} for part, why in told.skipped],
        "perDeviceBatchSize": told.per_device_batch_size,
        "gradientAccumulationSteps": told.gradient_accumulation_steps,
        "gradientCheckpointing": told.gradient_checkpointing,
        "estimatedGiB": told.estimated_gib,
    }
    return {name: value for name, value in members.items() if value is not None and value != []}


def aspect(wanted: Mode, known: Mapping[str, Any] | None, *, finished: bool) -> Aspect:
    """The condition: whether what was asked for is at work."""
    if known is None:
        if wanted == "Off":
            return Aspect("False", Reason.ACCELERATION_OFF)
        if not finished:
            return Aspect("Unknown", Reason.PENDING)
        return Aspect("False", Reason.NOT_ACCELERATED, f"the training did not tell of it: see its log, and {PAGE}")
    without = ", ".join(f"{one['part']} ({one['why']})" for one in known.get("skipped") or ())
    if not known["active"]:
        text = f"without {without}: {PAGE} explains the words" if without else f"no part of it fits: see {PAGE}"
        return Aspect("False", Reason.NOT_ACCELERATED, text)
    parts = ", ".join(known.get("parts") or ())
    return Aspect("True", Reason.ACCELERATED, "; without ".join(text for text in (parts, without) if text))
