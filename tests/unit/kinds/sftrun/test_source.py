"""``checkpoints.from``: what is waited for, what cannot be, and how the place is remembered."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop import names
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.batch.origin import Origin, origin, pinned
from swiftop.kinds.sftrun import source
from swiftop.kinds.sftrun.kind import KIND
from swiftop.model.facts import Cause
from swiftop.model.kind import Object, Pinned, Reference, World
from swiftop.model.verdict import Blocked, Create, Phase, Waiting
from swiftop.runner.protocol import Source, TrainSettings
from swiftop.runner.typed_json import from_json
from swiftop.workload.job import plan_of
from tests.support.objects import IMAGE, run_of, sftrun, spec_of

OUTPUT = {"claimName": "other-output", "path": "other-9f8e7d6c"}
ORIGIN = Origin("other-output", "other-9f8e7d6c", "u-2")
VOLUME = {"volume": {"size": "5Gi"}}
REFERENCE = Reference(names.SFTRUN, "team", "other")


def run(step: int | None = None, **members: Any) -> SFTRun:
    ref = {"name": "other", **({"step": step} if step is not None else {})}
    spec = {**sftrun()["spec"], "runtime": IMAGE, "checkpoints": {"from": {"sftRunRef": ref}}, **members}
    return run_of(spec)


def condition(type_: str, status: str, reason: str) -> Object:
    return {"type": type_, "status": status, "reason": reason}


SUCCEEDED, FAILED = condition("Succeeded", "True", "MaxSteps"), condition("Succeeded", "False", "DiskFull")
ACTIVE = condition("Succeeded", "Unknown", "Running")
SUSPENDED, STOPPING = condition("Suspended", "True", "Suspended"), condition("Suspended", "True", "Stopping")


def other(*conditions: Object, **status: Any) -> Object:
    whole = {"conditions": list(conditions), "checkpoint": {"step": 400}, "output": OUTPUT, **status}
    return {
        **sftrun("other", meta={"uid": "u-2"}, output=VOLUME),
        "status": {name: value for name, value in whole.items() if value is not None},
    }


def unusable(text: str, advice: str) -> Blocked:
    return Blocked(Cause("SourceUnusable", text, advice), stalled=True)


NOT_ENDED = Waiting(
    Phase.PENDING,
    Cause(
        "SourcePending",
        "SFTRun other has not ended, and this run starts from its last checkpoint",
        "wait, or suspend SFTRun other to start from where it is",
    ),
)
NO_CHECKPOINT = unusable("SFTRun other has no complete checkpoint", "name another run")
NO_VOLUME = unusable("the output of SFTRun other is not on a volume that outlives it", "name another run")


@pytest.mark.parametrize(
    ("found", "step", "expected"),
    [
        (
            None,
            None,
            Blocked(
                Cause(
                    "SourceMissing",
                    "SFTRun other does not exist, and checkpoints.from names it",
                    "create it, or fix the name in the spec",
                ),
                stalled=False,
            ),
        ),
        (sftrun("other", output=VOLUME), None, NOT_ENDED),
        (other(ACTIVE), None, NOT_ENDED),
        (other(ACTIVE, STOPPING), None, NOT_ENDED),
        (other(ACTIVE, SUSPENDED), None, None),
        (other(SUCCEEDED), None, None),
        (other(FAILED), None, None),  # what it saved before is as good
        (other(SUCCEEDED), 400, None),
        (other(SUCCEEDED), 200, None),  # whether it is still there, the runner sees
        (
            other(SUCCEEDED),
            401,
            unusable(
                "SFTRun other has no checkpoint of step 401, its newest is 400",
                "use a step up to 400 that it saved, or leave step out",
            ),
        ),
        (other(FAILED, checkpoint=None), None, NO_CHECKPOINT),
        (other(SUCCEEDED, output=None), None, NO_VOLUME),
    ],
)
def test_what_a_run_waits_for(found: Object | None, step: int | None, expected: Waiting | Blocked | None) -> None:
    assert source.readiness(run(step), found) == expected


EPHEMERAL = unusable("the output of SFTRun other is ephemeral: it ends with its pod", "name another run")
EACH_OTHER = unusable("SFTRun other waits for this run, and this run for it", "remove checkpoints.from in one")


def starts_from(name: str) -> Object:
    return {"output": VOLUME, "checkpoints": {"from": {"sftRunRef": {"name": name}}}}


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        ({"output": {"ephemeral": True}}, {}, EPHEMERAL),
        ({"output": {"ephemeral": True}}, {"startTime": "2027-01-15T08:00:00Z"}, EPHEMERAL),
        (starts_from("run"), {}, EACH_OTHER),
        # It has started, as from a run of the same name that is gone: it ends.
        (starts_from("run"), {"startTime": "2027-01-15T08:00:00Z"}, NOT_ENDED),
        (starts_from("another"), {}, NOT_ENDED),
        ({"output": VOLUME, "checkpoints": None}, {}, NOT_ENDED),
        # Of a run that is over the store keeps its results alone.
        (None, {"conditions": [SUCCEEDED], "checkpoint": {"step": 400}, "output": OUTPUT}, None),
    ],
)
def test_what_no_waiting_would_change_is_told_at_once(
    spec: Object | None, status: Object, expected: Waiting | Blocked | None
) -> None:
    found = {"metadata": {"name": "other", "namespace": "team", "uid": "u-2"}, "status": status}
    assert source.readiness(run(), found if spec is None else {**found, "spec": spec}) == expected


def test_a_run_without_a_source_refers_to_nothing() -> None:
    alone = run_of(sftrun()["spec"])
    assert KIND.references(alone) == ()
    assert source.readiness(alone, None) is None
    assert KIND.references(run()) == (REFERENCE,)


def test_where_the_results_lie() -> None:
    assert origin(other(SUCCEEDED)) == ORIGIN
    assert ORIGIN.directory == "/swiftop/source/other-output/other-9f8e7d6c"
    assert origin(None) is None
    assert origin(other(SUCCEEDED, output=None)) is None


def test_what_the_runner_is_told() -> None:
    spec = spec_of(
        tuner={"type": "lora", "rank": 16},
        checkpoints={"from": {"sftRunRef": {"name": "o", "step": 5}, "weightsOnly": True}},
    )
    assert source.planned(spec, ORIGIN) == Source(
        directory="/swiftop/source/other-output/other-9f8e7d6c",
        uid="u-2",
        tuner="lora",
        step=5,
        weights_only=True,
        rank=16,
        model="Qwen/Qwen2.5-0.5B-Instruct",
    )
    assert source.planned(spec, None) is None
    assert source.planned(spec_of(), ORIGIN) is None


def job(world: World[Defaults]) -> Object:
    return KIND.build(KIND.prepare(run(), world), Create(1))[-1]


def test_the_volume_is_mounted_read_only_and_its_place_is_pinned_by_the_job() -> None:
    first = job(World(defaults=Defaults(), runner_config_map="r", references={REFERENCE: other(SUCCEEDED)}))
    pod = first["spec"]["template"]["spec"]
    volume = next(v for v in pod["volumes"] if v.get("persistentVolumeClaim") == {"claimName": "other-output"})
    mounts = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == volume["name"]]
    assert mounts == [{"name": volume["name"], "mountPath": "/swiftop/source/other-output", "readOnly": True}]
    pinned = KIND.pinned(first)
    assert pinned is not None
    assert pinned.source == {**OUTPUT, "uid": "u-2"}

    # The other run may be gone by the next attempt.
    later = World(
        defaults=Defaults(),
        runner_config_map="r",
        references={REFERENCE: None},
        pinned=Pinned(pinned.image, pinned.swift_version, "", source=pinned.source),
    )
    for made in (first, job(later)):
        plan = plan_of(made)
        assert plan is not None
        resume_from = from_json(TrainSettings, plan.settings).resume_from
        assert resume_from is not None
        assert (resume_from.directory, resume_from.uid) == (ORIGIN.directory, "u-2")


def test_a_job_without_a_source_pins_none() -> None:
    assert source.recorded(None) == {}
    assert pinned({}) is None
