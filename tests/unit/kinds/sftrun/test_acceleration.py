"""What a run's plan asks for, what becomes of its pod's word in the status, and the condition that follows."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.kinds.sftrun import acceleration
from swiftop.model.conditions import Aspect
from swiftop.runner.protocol import Acceleration, TrainSettings
from swiftop.runner.report import Accelerated
from swiftop.runner.typed_json import from_json
from tests.support.objects import IMAGE, children_of, problems_of, sample, spec_of
from tests.unit.kinds.sftrun.samples import NAMES
from tests.unit.kinds.sftrun.test_plan import made

TOLD = Accelerated(
    active=True,
    parts=("attention", "linears", "batch"),
    skipped=(("mlp", "CheckFailed"), ("liger", "NotInstalled")),
    per_device_batch_size=4,
    gradient_accumulation_steps=8,
    gradient_checkpointing=False,
    estimated_gib=54.25,
    gpu_gib=79.1,
)
STATUS = {
    "active": True,
    "parts": ["attention", "linears", "batch"],
    "skipped": [{"part": "mlp", "why": "CheckFailed"}, {"part": "liger", "why": "NotInstalled"}],
    "perDeviceBatchSize": 4,
    "gradientAccumulationSteps": 8,
    "gradientCheckpointing": False,
    "estimatedGiB": 54.25,
}
QLORA = {"quantization": {"method": "bnb", "bits": 4}}


@pytest.mark.parametrize(
    ("members", "mode"),
    [
        ({}, "Auto"),
        ({"tuner": QLORA}, "Auto"),
        ({"tuner": {"type": "full"}}, "Off"),
        ({"tuner": {"type": "adalora"}}, "Off"),
        ({"resources": {"gpus": 0}}, "Off"),
        ({"resources": {"gpus": 0}, "training": {"acceleration": "Auto"}}, "Off"),
        ({"training": {"acceleration": "Auto"}, "tuner": {"type": "full"}}, "Off"),
        ({"training": {"acceleration": "Auto"}}, "Auto"),
        ({"training": {"acceleration": "Approximate"}}, "Approximate"),
        ({"training": {"acceleration": "Off"}}, "Off"),
        ({"runtime": {"swiftVersion": "3.7"}}, "Off"),
        ({"runtime": {"swiftVersion": "3.12"}}, "Auto"),
        ({"runtime": {"swiftVersion": "9.9"}}, "Auto"),
    ],
)
def test_what_holds_for_a_spec(members: dict[str, Any], mode: str) -> None:
    spec = spec_of(**members)
    assert acceleration.mode(spec) == mode
    assert (acceleration.planned(spec) is None) is (mode == "Off")


def test_what_the_spec_sets_itself_stays_as_it_is() -> None:
    spec = spec_of(
        training={"gradientCheckpointing": True, "perDeviceBatchSize": 8, "learningRate": "2e-4"},
        extraArgs=[{"name": "dataloader_prefetch_factor", "value": "2"}],
    )
    found = ("learning_rate", "per_device_train_batch_size", "gradient_checkpointing", "dataloader_prefetch_factor")
    assert acceleration.planned(spec) == Acceleration("Auto", found)


def test_a_whole_batch_may_be_split_as_it_fits() -> None:
    assert acceleration.given(spec_of(training={"globalBatchSize": 32, "packing": False})) == ("packing",)


def test_the_plan_of_a_run_says_it() -> None:
    on = {"model": {"id": "a/b"}, "datasets": [{"id": "a/c"}], "output": {"ephemeral": True}, "resources": {"gpus": 1}}
    assert from_json(TrainSettings, made(on).settings).acceleration == Acceleration()
    assert from_json(TrainSettings, made(on, training={"acceleration": "Off"}).settings).acceleration is None


@pytest.mark.parametrize("name", NAMES)
def test_off_is_what_ms_swift_does_with_the_same_command(name: str) -> None:
    def job(mode: str | None) -> dict[str, Any]:
        run = sample(name)
        training = run.spec.training.model_copy(update={"acceleration": mode})
        runtime = run.spec.runtime.model_copy(update=IMAGE)
        spec = run.spec.model_copy(update={"training": training, "runtime": runtime})
        *_, found = children_of(run.model_copy(update={"spec": spec}))
        env = found["spec"]["template"]["spec"]["containers"][0].pop("env")
        return {item["name"]: item.get("value") for item in env}

    def command(env: dict[str, Any]) -> str:
        text: str = env["SWIFTOP_PLAN"]
        return text[: text.index('"settings"')]

    off, absent = job("Off"), job(None)
    assert '"acceleration"' not in off["SWIFTOP_PLAN"]
    assert ('"acceleration"' in absent["SWIFTOP_PLAN"]) is sample(name).spec.accelerable
    assert command(off) == command(absent)
    assert {**off, "SWIFTOP_PLAN": ""} == {**absent, "SWIFTOP_PLAN": ""}


@pytest.mark.parametrize("mode", [None, "Auto", "Off"])
@pytest.mark.parametrize("version", ["3.7", "3.12", "4.6"])
def test_every_release_takes_it(mode: str | None, version: str) -> None:
    training = {"acceleration": mode} if mode else {}
    assert problems_of(spec_of(training={"globalBatchSize": 8, **training}), version) == []


def test_the_status_is_what_the_pod_told() -> None:
    assert acceleration.status(TOLD, {}) == STATUS
    assert acceleration.status(Accelerated(active=False), {"acceleration": STATUS}) == {"active": False}


def test_what_an_earlier_pod_told_stays_until_the_next_one_trains() -> None:
    assert acceleration.status(None, {"acceleration": STATUS}) == STATUS
    assert acceleration.status(None, {}) is None


NOTHING = {"active": False, "skipped": [{"part": "linears", "why": "Quantized"}]}


@pytest.mark.parametrize(
    ("mode", "known", "finished", "aspect"),
    [
        ("Off", None, False, Aspect("False", "AccelerationOff")),
        ("Off", None, True, Aspect("False", "AccelerationOff")),
        ("Auto", None, False, Aspect("Unknown", "Pending")),
        (
            "Auto",
            None,
            True,
            Aspect("False", "NotAccelerated", "the training did not tell of it: see its log, and docs/acceleration.md"),
        ),
        (
            "Auto",
            STATUS,
            False,
            Aspect("True", "Accelerated", "attention, linears, batch; without mlp (CheckFailed), liger (NotInstalled)"),
        ),
        ("Auto", {"active": True, "parts": ["loader"]}, True, Aspect("True", "Accelerated", "loader")),
        (
            "Approximate",
            NOTHING,
            False,
            Aspect("False", "NotAccelerated", "without linears (Quantized): docs/acceleration.md explains the words"),
        ),
        (
            "Auto",
            {"active": False},
            False,
            Aspect("False", "NotAccelerated", "no part of it fits: see docs/acceleration.md"),
        ),
    ],
)
def test_the_condition(mode: Any, known: dict[str, Any] | None, aspect: Aspect, *, finished: bool) -> None:
    assert acceleration.aspect(mode, known, finished=finished) == aspect
