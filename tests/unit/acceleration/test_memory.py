"""The memory that a training needs, against what was measured on GPUs; what is chosen, and what is advised."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from swiftop.acceleration.memory import SHARE, Shape, Training, choose, estimate, fit, shape_of

QWEN_7B = {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
    "vocab_size": 152064,
}
SHAPE = Shape(28, 3584, 28, 4, 128, 18944, 152064, 7_615_487_488)
PACK = 3072
FUSED = Training(SHAPE, length=PACK, checkpointing=False, liger=True, fused=True)
PLAIN = Training(SHAPE, length=PACK)

# Qwen2.5-7B's shape, LoRA of rank 8 on all linear layers. Allocated at the peak, unless it says "reserved". The last
# number of each is the error of the estimate in %.
MEASURED: dict[str, tuple[Training, float, float]] = {
    "fused, 4 packs": (replace(FUSED, rows=4), 53.8, 0.0),
    "fused, 4 packs, through ms-swift, reserved": (replace(FUSED, rows=4), 54.0, -0.4),
    "fused, 2 packs": (replace(FUSED, rows=2), 34.1, 0.1),
    "fused, 1 pack": (FUSED, 24.3, 0.1),
    "fused, checkpointing, 8 packs, reserved": (replace(FUSED, rows=8, checkpointing=True), 23.2, -0.7),
    "fused, 8 bits, 4 packs": (replace(FUSED, rows=4, eightbit=True), 69.2, 0.3),
    "fused, 8 bits, 4 packs, through ms-swift, reserved": (replace(FUSED, rows=4, eightbit=True), 70.6, -1.7),
    "fused, 4 packs, through ms-swift, H200, reserved": (replace(FUSED, rows=4), 54.1, -0.6),
    "fused, checkpointing, 8 packs, H200, reserved": (replace(FUSED, rows=8, checkpointing=True), 23.2, -0.7),
    "fused, 8 bits, 4 packs, H200, reserved": (replace(FUSED, rows=4, eightbit=True), 68.6, 1.2),
    "plain, liger, no checkpointing, 4 packs, H200, reserved": (
        replace(PLAIN, liger=True, checkpointing=False, rows=4),
        91.1,
        3.2,
    ),
    "plain, 8 packs, through ms-swift, H200, reserved": (replace(PLAIN, rows=8), 54.7, 1.7),
    "plain, 8 packs": (replace(PLAIN, rows=8), 50.0, 11.2),
    "plain, 8 packs, through ms-swift, reserved": (replace(PLAIN, rows=8), 56.9, -2.2),
    "plain, 8 packs, without a trainer": (replace(PLAIN, rows=8), 54.3, 2.4),
    "plain, liger, 8 packs": (replace(PLAIN, rows=8, liger=True), 29.0, -2.0),
    "plain, liger, 8 packs, reserved": (replace(PLAIN, rows=8, liger=True), 31.5, -9.8),
    "plain, liger, 8 packs, without a trainer": (replace(PLAIN, rows=8, liger=True), 29.5, -3.7),
    "plain, liger, no checkpointing, 1 pack": (replace(PLAIN, liger=True, checkpointing=False), 33.5, 2.6),
    "plain, liger, no checkpointing, 1 pack, reserved": (replace(PLAIN, liger=True, checkpointing=False), 33.8, 1.7),
    "plain, liger, no checkpointing, no dropout, 1 pack": (
        replace(PLAIN, liger=True, checkpointing=False, dropout=False),
        30.0,
        3.7,
    ),
    "padded, 8 rows": (replace(PLAIN, rows=8, padded=True), 60.2, 1.1),
    "padded, 8 rows, H100, reserved": (replace(PLAIN, rows=8, padded=True), 75.6, -19.5),
    "padded, liger, 8 rows, reserved": (replace(PLAIN, rows=8, padded=True, liger=True), 36.9, -12.3),
}


@pytest.mark.parametrize("name", MEASURED)
def test_the_estimate_is_near_what_was_measured(name: str) -> None:
    training, measured, error = MEASURED[name]
    assert (estimate(training) / measured - 1) * 100 == pytest.approx(error, abs=0.06)


def test_the_shape_is_read_from_a_models_configuration() -> None:
    assert shape_of(QWEN_7B) == SHAPE  # the real one has 129,024 numbers more: the bias of q, k and v
    tied = {**QWEN_7B, "tie_word_embeddings": True, "head_dim": 64}
    found = shape_of(tied)
    assert found is not None
    assert (found.head_dim, found.parameters) == (64, 6_659_448_320)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {**QWEN_7B, "num_experts": 128},
        {**QWEN_7B, "n_routed_experts": 64},
        {**QWEN_7B, "vision_config": {"depth": 27}},
        {**QWEN_7B, "hidden_size": "3584"},
        {**QWEN_7B, "num_hidden_layers": 0},
        {**QWEN_7B, "vocab_size": True},
        {"text_config": QWEN_7B},
    ],
)
def test_a_model_that_is_no_plain_decoder_has_no_shape(config: dict[str, Any]) -> None:
    assert shape_of(config) is None


def _chosen(training: Training, gib: float, accumulation: int, **fixed: bool) -> tuple[int, int, bool] | None:
    found = choose(training, gib * SHARE, accumulation=accumulation, **fixed)
    return None if found is None else (found.rows, found.accumulation, found.checkpointing)


@pytest.mark.parametrize(
    ("gib", "chosen"),
    [
        (141, (4, 8, False)),  # no more than is faster
        (80, (4, 8, False)),
        (40, (2, 16, False)),
        (32, (1, 32, False)),
        (28, (1, 32, False)),  # 24.3 GiB
        (26, (8, 4, True)),
        (24, (4, 8, True)),
        (18, (1, 32, True)),
        (16, None),
    ],
)
def test_the_fastest_settings_that_fit_are_chosen(gib: float, chosen: tuple[int, int, bool] | None) -> None:
    asked = replace(FUSED, rows=8, checkpointing=True)
    assert _chosen(asked, gib, 4) == chosen


def test_what_the_spec_gives_is_kept() -> None:
    asked = replace(FUSED, rows=8, checkpointing=True)
    assert _chosen(asked, 80, 4, batch=False) == (8, 4, True)
    assert _chosen(asked, 80, 4, checkpointing=False) == (8, 4, True)
    assert _chosen(replace(asked, checkpointing=False), 80, 4, batch=False) == (8, 4, True)
    assert _chosen(replace(asked, checkpointing=False), 80, 4, batch=False, checkpointing=False) is None


def test_each_choice_keeps_the_product() -> None:
    for rows, accumulation in ((1, 7), (3, 5), (6, 4), (1, 1)):
        found = choose(replace(FUSED, rows=rows), 80, accumulation=accumulation)
        assert found is not None
        assert found.rows * found.accumulation == rows * accumulation


def test_rows_that_are_too_long_for_one_are_checkpointed() -> None:
    found = choose(replace(FUSED, length=32_768), 80 * SHARE, accumulation=16)
    assert found is not None
    assert (found.rows, found.checkpointing, round(found.gib)) == (1, True, 26)


def _advised(training: Training, gib: float) -> list[tuple[str, int, int]]:
    return [
        (change.what, change.training.rows, change.training.length) for change in fit(training, gib * SHARE).changes
    ]


def test_what_fits_needs_no_change() -> None:
    found = fit(PLAIN, 24 * SHARE)
    assert found.fits
    assert found.changes == ()


def test_each_single_change_that_makes_it_fit_is_told() -> None:
    assert _advised(replace(PLAIN, rows=8), 40) == [("Liger", 8, 3072), ("BatchSize", 4, 3072), ("MaxLength", 8, 1536)]
    assert _advised(PLAIN, 16) == [("Quantization", 1, 3072), ("Gpus", 1, 3072)]
    assert _advised(replace(FUSED, rows=4), 24) == [("Checkpointing", 4, 3072), ("MaxLength", 4, 512)]
    assert _advised(replace(PLAIN, full=True), 40) == [("Gpus", 1, 3072)]


def test_where_no_single_change_does_all_together_may() -> None:
    assert _advised(replace(PLAIN, rows=64, checkpointing=False), 20) == [("Together", 1, 3072)]
    assert _advised(replace(PLAIN, full=True, stage=3, gpus=64, length=1 << 20), 4) == []


def test_shards_and_quantized_weights_need_less() -> None:
    full = replace(PLAIN, full=True, liger=True)
    assert estimate(full) == pytest.approx(58.2, abs=0.1)
    shards = [round(estimate(replace(full, stage=stage, gpus=8)), 1) for stage in (1, 2, 3)]
    assert shards == [40.5, 28.1, 15.7]
    assert estimate(replace(PLAIN, bits=4)) == pytest.approx(10.9, abs=0.1)
    assert estimate(replace(PLAIN, rank=64)) - estimate(PLAIN) == pytest.approx(2.1, abs=0.1)
