"""What preview tells of a run beside its command."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.kinds.sftrun.notes import notes
from swiftop.kinds.sftrun.prepare import prepare
from swiftop.model.kind import World
from swiftop.workload.defaults import defaults_of
from tests.support.objects import IMAGE, MINIMAL, run_of

FAST: dict[str, Any] = {
    "model": {"id": "Qwen/Qwen2.5-7B-Instruct"},
    "training": {"globalBatchSize": 32, "packing": True, "attention": "flash_attn", "maxLength": 3072},
}


def shown(defaults: Defaults | None = None, **members: Any) -> list[str]:
    run = run_of({**MINIMAL, "runtime": IMAGE, **members})
    return list(notes(prepare(run, World(defaults=defaults or Defaults(), runner_config_map="r"))))


def test_what_would_be_chosen_on_gpus_of_several_sizes() -> None:
    assert shown(**FAST) == [
        "acceleration: Auto",
        "estimated for a GPU of (with liger, where the image has it):",
        "  24 GiB   perDeviceBatchSize 4, gradientAccumulationSteps 8, gradientCheckpointing true: about 19 GiB",
        "  40 GiB   perDeviceBatchSize 2, gradientAccumulationSteps 16, gradientCheckpointing false: about 34 GiB",
        "  80 GiB   perDeviceBatchSize 4, gradientAccumulationSteps 8, gradientCheckpointing false: about 54 GiB",
        "  141 GiB  perDeviceBatchSize 4, gradientAccumulationSteps 8, gradientCheckpointing false: about 54 GiB",
    ]


def test_of_gpus_that_are_known_these_alone_count() -> None:
    data = {"placement": "{nodeSelector: {nvidia.com/gpu.product: NVIDIA-A100-SXM4-40GB}}"}
    metadata = {"name": "swiftop-defaults", "namespace": "swiftop-system"}
    platform = defaults_of({"metadata": metadata, "data": data})
    assert shown(platform, **FAST)[-1] == (
        "  NVIDIA-A100-SXM4-40GB (39 GiB)  perDeviceBatchSize 2, gradientAccumulationSteps 16, gradientCheckpointing "
        "false: about 34 GiB"
    )


def test_what_the_spec_sets_and_what_does_not_fit() -> None:
    training = {**FAST["training"], "globalBatchSize": None, "perDeviceBatchSize": 8, "gradientCheckpointing": True}
    training = {name: value for name, value in training.items() if value is not None}
    extra = [{"name": "dataloader_prefetch_factor", "value": "2"}]
    found = shown(model=FAST["model"], training=training, extraArgs=extra)
    assert found[1:4] == [
        "set by the spec, and kept: training.perDeviceBatchSize, training.gradientCheckpointing, extraArgs "
        "dataloader_prefetch_factor",
        "estimated for a GPU of (with liger, where the image has it):",
        "  24 GiB   does not fit; it does with training.perDeviceBatchSize: 4 and gradientAccumulationSteps: 4 "
        "(19 GiB), or with training.maxLength: 2432 (21 GiB), or with tuner.quantization: {method: bnb, bits: 4} "
        "(20 GiB)",
    ]


@pytest.mark.parametrize(
    ("members", "lines"),
    [
        ({"resources": {"gpus": 0}}, []),
        ({"training": {"acceleration": "Off"}}, ["acceleration: Off"]),
        ({"tuner": {"type": "full"}}, ["acceleration: Off"]),
        (
            {"training": {"acceleration": "Approximate"}},
            [
                "acceleration: Approximate",
                "how a step fits the GPU's memory is chosen in the pod: there is no estimate for this spec",
            ],
        ),
    ],
)
def test_without_an_estimate(members: dict[str, Any], lines: list[str]) -> None:
    assert shown(**members) == lines


def test_off_is_estimated_as_it_is() -> None:
    training = {**FAST["training"], "acceleration": "Off"}
    found = shown(model=FAST["model"], training=training)
    assert found[:2] == ["acceleration: Off", "estimated for a GPU of:"]
    assert found[2] == (
        "  24 GiB   perDeviceBatchSize 1, gradientAccumulationSteps 32, gradientCheckpointing true: about 20 GiB"
    )
