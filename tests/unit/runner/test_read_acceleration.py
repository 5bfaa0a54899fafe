"""What a pod tells of its acceleration: nothing of it is believed that is not a known word or a number in range."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftop.runner.protocol import Acceleration, TrainSettings
from swiftop.runner.report import ACCELERATION_PARTS, Accelerated, read_acceleration
from swiftop.runner.typed_json import from_json, to_json

TOLD: dict[str, Any] = {
    "active": True,
    "parts": ["attention", "linears", "batch"],
    "skipped": [["mlp", "CheckFailed"], ["liger", "NotInstalled"]],
    "perDeviceBatchSize": 4,
    "gradientAccumulationSteps": 8,
    "gradientCheckpointing": False,
    "estimatedGiB": 54.25,
    "gpuGiB": 79.1,
}
FOUND = Accelerated(
    active=True,
    parts=("attention", "linears", "batch"),
    skipped=(("mlp", "CheckFailed"), ("liger", "NotInstalled")),
    per_device_batch_size=4,
    gradient_accumulation_steps=8,
    gradient_checkpointing=False,
    estimated_gib=54.25,
    gpu_gib=79.1,
)


def read(**members: Any) -> Accelerated | None:
    return read_acceleration({"version": 1, "acceleration": {**TOLD, **members}})


def test_a_sound_report() -> None:
    assert read() == FOUND
    assert read_acceleration({"acceleration": {"active": False}}) == Accelerated(active=False)


@pytest.mark.parametrize("document", [None, [], "x", {}, {"acceleration": None}, {"acceleration": [TOLD]}])
def test_none(document: object) -> None:
    assert read_acceleration(document) is None


@pytest.mark.parametrize("active", [None, 1, "true", []])
def test_whether_it_is_active_has_to_be_told(active: object) -> None:
    assert read(active=active) is None


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        (None, ()),
        ("attention", ()),
        ({"attention": 1}, ()),
        (["attention", "attention", 1, None, ["mlp"], {"mlp": 1}, "warp"], ("attention",)),
        (["loader", "attention"], ("attention", "loader")),
        ([*["x"] * 100, "attention"], ()),
    ],
)
def test_parts_are_known_words_once_each(said: object, parts: tuple[str, ...]) -> None:
    found = read(parts=said)
    assert found is not None
    assert found.parts == parts


@pytest.mark.parametrize(
    ("said", "skipped"),
    [
        ({"mlp": "CheckFailed"}, ()),
        ([["mlp"], ["mlp", "A", "B"], "mlp", None, [1, "A"], ["mlp", 1]], ()),
        ([["warp", "NoDrive"], [["mlp"], "A"]], ()),
        ([["mlp", "two words"], ["mlp", "lower"], ["mlp", ""], ["mlp", "A" * 65], ["mlp", "A\n"]], ()),
        ([["mlp", "A"], ["mlp", "B"]], (("mlp", "B"),)),
        ([["mlp", "A"]] * 1000, (("mlp", "A"),)),
    ],
)
def test_what_is_skipped_is_a_part_and_a_word(said: object, skipped: tuple[tuple[str, str], ...]) -> None:
    found = read(skipped=said)
    assert found is not None
    assert found.skipped == skipped


@pytest.mark.parametrize("value", [None, "4", True, 0, -1, 1.5, float("nan"), float("inf"), 10**9, [4]])
def test_an_odd_count_is_left_out_and_nothing_else(value: object) -> None:
    found = read(perDeviceBatchSize=value)
    assert found == Accelerated(**{**FOUND.__dict__, "per_device_batch_size": None})


@pytest.mark.parametrize("value", [None, "4", False, 0, -0.5, float("nan"), float("-inf"), 10**9])
def test_an_odd_size_is_left_out_and_nothing_else(value: object) -> None:
    assert read(estimatedGiB=value) == Accelerated(**{**FOUND.__dict__, "estimated_gib": None})
    assert read(gradientCheckpointing=1) == Accelerated(**{**FOUND.__dict__, "gradient_checkpointing": None})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(ACCELERATION_PARTS),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.sampled_from(sorted(TOLD)), JSON)
def test_whatever_a_pod_says(member: str, value: object) -> None:
    found = read(**{member: value})
    assert found is None or (len(found.parts) <= len(ACCELERATION_PARTS) and len(found.skipped) <= 9)


def test_the_plan_survives_the_way() -> None:
    settings = TrainSettings(acceleration=Acceleration("Approximate", ("gradient_checkpointing",)))
    assert from_json(TrainSettings, to_json(settings)) == settings
    assert "acceleration" not in to_json(TrainSettings())
