"""The acceleration's plugin in each supported release of the real ms-swift: which settings it changes, and how."""

from __future__ import annotations

import functools
import json
import math
from typing import Any

import pytest

from tests.swift_versions.test_acceptance import ENVIRONMENTS, ready

PACKED = ("--packing", "true", "--attn_impl", "flash_attention_2", "--max_length", "1024")
CASES: dict[str, tuple[float, list[str], tuple[str, ...]]] = {
    "packed": (80, [], PACKED),
    "given": (80, ["per_device_train_batch_size", "gradient_checkpointing"], PACKED),
    "padded": (80, [], ("--max_length", "1024")),
    "zero2": (80, [], (*PACKED, "--deepspeed", "zero2")),
    "zero3": (80, [], (*PACKED, "--deepspeed", "zero3")),
    "small": (0.01, [], PACKED),
}
SETTINGS = ["liger", "batch", "checkpointing", "loader"]


@functools.cache
def resolved(name: str) -> dict[str, Any]:
    """What each case comes to in an environment."""
    version = ENVIRONMENTS[name]
    tuner = "--train_type" if version.startswith("3") else "--tuner_type"
    usual = [
        "--model", "/tmp/models/tiny/Qwen2.5-0.5B-Instruct", tuner, "lora", "--dataset", "/tmp/x.jsonl",
        "--output_dir", "/tmp/out", "--add_version", "false", "--torch_dtype", "bfloat16", "--bf16", "true",
        "--per_device_train_batch_size", "1", "--gradient_accumulation_steps", "12", "--report_to", "none",
    ]  # fmt: skip
    cases = [(gib, fixed, [*usual, *words]) for gib, fixed, words in CASES.values()]
    out = ready(name).run("tests/swift_versions/choose_settings.py", stdin=json.dumps(cases))
    found = json.loads(out.rpartition("RESULTS\n")[2])
    return dict(zip(CASES, found, strict=True))


def plain(**changes: Any) -> dict[str, Any]:
    """What ms-swift itself takes, and what else is to be."""
    return {
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 12,
        "gradient_checkpointing": True,
        "logging_nan_inf_filter": False,
        "dataloader_prefetch_factor": 12,
        "use_liger_kernel": False,
        **changes,
    }


BEST = {"per_device_train_batch_size": 12, "gradient_accumulation_steps": 1, "gradient_checkpointing": False}
EXPECTED: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "packed": (plain(**BEST, dataloader_prefetch_factor=2), {}),
    "given": (plain(), {"batch": "GivenInSpec", "checkpointing": "GivenInSpec"}),
    "padded": (plain(gradient_checkpointing=False), {"batch": "Padded"}),
    "zero2": (plain(**BEST, dataloader_prefetch_factor=2), {}),
    "zero3": (plain(), {"batch": "Sharded", "checkpointing": "Sharded"}),
    "small": (plain(), {"batch": "TooLittleMemory", "checkpointing": "TooLittleMemory"}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", [name for name, version in ENVIRONMENTS.items() if version != "3.7"])
def test_what_the_spec_leaves_open_is_chosen(name: str, case: str) -> None:
    found = resolved(name)[case]
    values, kept = EXPECTED[case]
    skipped = {"liger": "NotInstalled", **kept}
    report = found["report"]
    assert (found["told"], found["plugins"]) == (values, [])
    assert found["own"] == values
    assert {part: why for part, why in report["skipped"] if part in SETTINGS} == skipped
    assert [part for part in report["parts"] if part in SETTINGS] == [part for part in SETTINGS if part not in skipped]
    rows, accumulation = values["per_device_train_batch_size"], values["gradient_accumulation_steps"]
    assert (report["perDeviceBatchSize"], report["gradientAccumulationSteps"]) == (rows, accumulation)
    assert report["gradientCheckpointing"] is values["gradient_checkpointing"]


def test_an_older_release_is_left_as_it_is() -> None:
    for found in resolved("3.7").values():
        assert found["told"] == plain(logging_nan_inf_filter=True, dataloader_prefetch_factor=10)
        assert {why for _, why in found["report"]["skipped"]} == {"OlderRelease"}
        assert (found["report"]["active"], found["plugins"]) == (False, [])


PACKS = [[True, [0, 3, 5], [3, 3]], [False, [0, 5], [5, 5]]]


@pytest.mark.parametrize("name", [name for name, version in ENVIRONMENTS.items() if version != "3.7"])
def test_transformers_takes_the_attention_and_finds_borders_once(name: str) -> None:
    out = ready(name).run("tests/swift_versions/bring_attention.py")
    assert json.loads(out.rpartition("RESULT\n")[2]) == {
        "why": ["NotAsked", "", "Installed", ""],
        "modules": ["flash_attn.functions"] * 2,
        "windows": True,
        "padding": [True, True],
        "before": PACKS,
        "after": [PACKS, PACKS],
        "same": True,
        "numbers": ["int", "int"],
    }


CHECKPOINTED = {"checkpointing": ["enabled", "inputs"], "fused": False, "calls": 16, "watched": False}
FUSED = {"linears": "", "mlp": ""}
LOSSES = [4.0, 3.96, 3.92, 3.881, 3.842, 3.803, 3.764, 3.725]


@pytest.mark.parametrize(
    ("mode", "skipped", "expected"),
    [
        ("sound", {}, {"checkpointing": [], "fused": True, "calls": 16, "watched": False, "losses": LOSSES}),
        ("nan_loss", dict.fromkeys(FUSED, "NotANumber"), {**CHECKPOINTED, "calls": 17, "losses": LOSSES}),
        ("nan_gradient", dict.fromkeys(FUSED, "NotANumber"), CHECKPOINTED),
        ("inf_gradient", dict.fromkeys(FUSED, "NotANumber"), CHECKPOINTED),
        ("kernel", dict.fromkeys(FUSED, "CompileFailed"), CHECKPOINTED),
        ("canary", dict.fromkeys(FUSED, "CheckFailed"), CHECKPOINTED),
        ("raises", dict.fromkeys(FUSED, "RuntimeError"), CHECKPOINTED),
        ("partly", {"mlp": "CheckFailed"}, {**CHECKPOINTED, "fused": True}),
        ("memory", {}, {**CHECKPOINTED, "fused": True, "calls": 17, "losses": LOSSES}),
        ("anew", dict.fromkeys(FUSED, "NotANumber"), {**CHECKPOINTED, "calls": 17}),
    ],
)
def test_a_training_with_fused_layers_is_watched(mode: str, skipped: dict[str, str], expected: dict[str, Any]) -> None:
    out = ready("4.6").run("tests/swift_versions/watch_training.py", mode)
    found = json.loads(out.rpartition("RESULT\n")[2])
    assert {name: found[name] for name in expected} == expected
    told = {part: why for part, why in found["report"]["skipped"] if part in FUSED}
    assert told == skipped
    assert [part for part in found["report"]["parts"] if part in FUSED] == [part for part in FUSED if part not in told]
    checkpointed = bool(expected["checkpointing"])
    assert ("checkpointing" in dict(found["report"]["skipped"])) is checkpointed
    losses = found["losses"]
    assert len(losses) == 8
    assert all(map(math.isfinite, losses))  # no NaN is logged, or learned from
    assert losses[-1] < losses[0]
