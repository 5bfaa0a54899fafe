"""What the spec alone tells of the memory that a run needs: as a warning, and as advice after it ran out of it."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.kinds.sftrun import check, memory
from swiftop.runner.report import Accelerated
from tests.support.objects import sample, spec_of

H100, A100, L4 = "NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-40GB", "NVIDIA-L4"
SEVEN_B = {"model": {"id": "Qwen/Qwen2.5-7B-Instruct"}}
PACKED = {"packing": True, "attention": "flash_attn", "maxLength": 3072}


def on(product: str) -> dict[str, Any]:
    return {"placement": {"nodeSelector": {"nvidia.com/gpu.product": product}}}


def chosen(gib: float, **members: Any) -> tuple[int, int, bool] | None:
    known = memory.estimated(spec_of(**{**SEVEN_B, **members}))
    assert known is not None
    found = known.on(gib)
    return None if found is None else (found.rows, found.accumulation, found.checkpointing)


@pytest.mark.parametrize(
    ("training", "gib", "found"),
    [
        ({"globalBatchSize": 32}, 80, (4, 8, False)),
        ({"globalBatchSize": 32}, 40, (2, 16, False)),
        ({"globalBatchSize": 32}, 24, (4, 8, True)),
        ({"globalBatchSize": 32}, 12, None),
        ({}, 80, (4, 4, False)),  # 16 samples a step, as in ms-swift
        ({"perDeviceBatchSize": 8, "gradientAccumulationSteps": 4}, 80, (8, 4, True)),
        ({"gradientCheckpointing": True, "globalBatchSize": 32}, 80, (8, 4, True)),
        ({"gradientAccumulationSteps": 4}, 80, (1, 4, False)),
        ({"globalBatchSize": 32, "acceleration": "Off"}, 80, (1, 32, True)),
        ({"globalBatchSize": 32, "packing": False}, 80, (1, 32, False)),  # of several rows the shorter are padded
        ({"globalBatchSize": 32, "deepspeed": "zero3"}, 80, (1, 32, True)),
        ({"globalBatchSize": 32, "deepspeed": "zero2"}, 80, (4, 8, False)),
    ],
)
def test_what_the_spec_leaves_open_is_chosen_for_the_gpu(
    training: dict[str, Any], gib: float, found: tuple[int, int, bool] | None
) -> None:
    assert chosen(gib, training={**PACKED, **training}) == found


def test_a_step_is_shared_by_the_gpus() -> None:
    assert chosen(80, training={**PACKED, "globalBatchSize": 32}, resources={"gpus": 8}) == (4, 1, False)
    groups = {**PACKED, "globalBatchSize": 32, "sequenceParallelSize": 2}
    assert chosen(80, training=groups, resources={"gpus": 8}) == (1, 8, True)  # as it is rendered


@pytest.mark.parametrize(
    "members",
    [
        {"model": {"id": "me/my-model"}},
        {"training": {"packing": False}},  # how long the samples are, only the data tells
        {"training": {**PACKED, "attention": "sdpa", "packing": False, "precision": "fp32"}},
        {"training": {**PACKED, "deepspeed": "zero3_offload"}},
        {"training": {**PACKED, "task": {"type": "embedding"}}},
        {"training": PACKED, "tuner": {"type": "adalora"}},
        {"training": PACKED, "tuner": {"modulesToSave": ["lm_head"]}},
        {"training": PACKED, "resources": {"gpus": 4, "processesPerNode": 1}},
        {"training": PACKED, "extraArgs": [{"name": "fsdp", "value": "fsdp2"}]},
        {"training": {"maxLength": 3072}, "resources": {"gpus": 0}},
    ],
)
def test_without_all_that_counts_there_is_no_estimate(members: dict[str, Any]) -> None:
    spec = spec_of(**{**SEVEN_B, **members})
    assert memory.estimated(spec) is None
    assert memory.advice(spec, None) == ""


@pytest.mark.parametrize(
    ("members", "part"),
    [
        ({"tuner": {"rank": 65}}, {"fused": False, "liger": True, "rank": 65}),
        ({"tuner": {"targetModules": ["q_proj"]}}, {"fused": False}),
        ({"tuner": {"targetModules": ["all-linear"]}}, {"fused": True}),
        ({"runtime": {"swiftVersion": "3.7"}}, {"fused": False, "liger": False}),
        (on("Tesla-T4"), {"fused": False, "liger": False}),
        ({"tuner": {"quantization": {"method": "bnb", "bits": 4}}}, {"fused": False, "bits": 4}),
        ({"training": {**PACKED, "deepspeed": "zero3"}, "resources": {"gpus": 2}}, {"stage": 3, "fused": False}),
        ({"training": {**PACKED, "acceleration": "Approximate"}}, {"fused": True, "eightbit": True}),
        ({"training": {**PACKED, "acceleration": "Off"}}, {"fused": False, "liger": False}),
        ({"training": {**PACKED, "liger": False}}, {"liger": False, "fused": True}),
        ({"training": {"maxLength": 512}}, {"padded": True, "length": 512}),
        ({"tuner": {"dropout": "0"}}, {"dropout": False, "padded": False}),
        ({"tuner": {"type": "full"}}, {"full": True, "fused": False}),
    ],
)
def test_what_the_estimate_is_made_of(members: dict[str, Any], part: dict[str, Any]) -> None:
    known = memory.estimated(spec_of(**{**SEVEN_B, "training": PACKED, **members}))
    assert known is not None
    assert {name: getattr(known.training, name) for name in part} == part


def test_what_does_not_fit_is_warned_of_with_what_makes_it_fit() -> None:
    training = {"maxLength": 4096, "acceleration": "Off", "perDeviceBatchSize": 8}
    (warning,) = check.warnings(spec_of(**SEVEN_B, training=training, **on(A100)))
    assert str(warning) == (
        "spec.resources: the training needs about 76 GiB of a GPU's memory, and 35 of the 39 GiB of "
        "NVIDIA-A100-SXM4-40GB can be planned with (it fits with training.perDeviceBatchSize: 2 and "
        "gradientAccumulationSteps: 8 (30 GiB), or with training.maxLength: 1280 (34 GiB))"
    )
    assert check.warnings(spec_of(**SEVEN_B, training={**training, "perDeviceBatchSize": 2}, **on(A100))) == []
    assert check.warnings(spec_of(**SEVEN_B, training=training)) == []


def test_what_may_be_chosen_is_chosen_before_it_is_warned_of() -> None:
    spec = {**SEVEN_B, "training": {**PACKED, "globalBatchSize": 32}}
    assert check.warnings(spec_of(**spec, **on(L4))) == []
    large = {**spec, "model": {"id": "Qwen/Qwen2.5-72B-Instruct"}}
    (warning,) = check.warnings(spec_of(**large, **on(H100)))
    assert warning.suggestion == (
        "it fits with tuner.quantization: {method: bnb, bits: 4} (49 GiB), or with training.deepspeed: zero3 and 4 "
        "GPUs (42 GiB)"
    )


def test_where_nothing_helps_larger_gpus_do() -> None:
    large = {"model": {"id": "Qwen/Qwen2.5-72B-Instruct"}, "training": {**PACKED, "deepspeed": "zero3"}}
    spec = spec_of(**large, tuner={"type": "full"}, resources={"gpus": 64}, **on("Tesla-T4"))
    (warning,) = check.warnings(spec)
    assert warning.suggestion == "use GPUs with more memory, or more of them"


def test_advice_after_an_end_for_want_of_memory() -> None:
    seeds = sample("sftrun-7b").spec.model_copy(
        update={"training": sample("sftrun-7b").spec.training.model_copy(update={"acceleration": "Off"})}
    )
    assert memory.advice(seeds, None) == (
        "By the estimate the training needs about 56 GiB of each GPU: try it with training.liger: true (28 GiB), or "
        "with training.perDeviceBatchSize: 4 and gradientAccumulationSteps: 8 (35 GiB), or with training.maxLength: "
        "2432 (47 GiB)."
    )


def test_advice_counts_what_the_pod_had_chosen() -> None:
    spec = sample("sftrun-7b-fast").spec
    told = Accelerated(
        active=True,
        parts=("attention", "linears", "mlp", "liger", "batch", "checkpointing"),
        per_device_batch_size=4,
        gradient_accumulation_steps=8,
        gradient_checkpointing=False,
        gpu_gib=44.5,
    )
    assert memory.advice(spec, told) == (
        "By the estimate the training needs about 54 GiB of each GPU, and there are 44: try it with "
        "training.gradientCheckpointing: true (19 GiB), or with training.perDeviceBatchSize: 2 and "
        "gradientAccumulationSteps: 16 in place of globalBatchSize (34 GiB), or with training.maxLength: 1920 (39 GiB)."
    )


def test_what_was_to_fit_and_did_not_has_to_need_clearly_less() -> None:
    told = Accelerated(active=True, parts=("linears", "liger"), gradient_checkpointing=True, gpu_gib=141.0)
    text = memory.advice(spec_of(**SEVEN_B, training={**PACKED, "perDeviceBatchSize": 8}), told)
    assert text.startswith("By the estimate the training needs about 23 GiB of each GPU, and there are 141: try it")
    assert "perDeviceBatchSize: 4 and gradientAccumulationSteps: 4 (19 GiB)" in text
