"""Every command that swiftop renders is accepted by the real ms-swift, and means what the spec says.

For each supported release the real argument class is built, ``__post_init__`` included, on the tiny model: precisions,
tuners, DeepSpeed settings and ways of packing on GPU and CPU, in every combination for the default release and in every
pair for the others; every precision on weights of every type; and each further field of the spec once.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from swiftop.api.v1alpha1.base import Model, ObjectMeta
from swiftop.api.v1alpha1.checkpoints import Checkpoints
from swiftop.api.v1alpha1.hub import ModelSource
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.api.v1alpha1.tracking import Tracking
from swiftop.api.v1alpha1.training import Training, Validation
from swiftop.api.v1alpha1.tuner import Tuner
from swiftop.api.validate import problems
from swiftop.kinds.sftrun.command import PROGRAM
from swiftop.swift.paths import Identity
from swiftop.swift.releases import DEFAULT, RELEASES, SUPPORTED, table
from tests.support.objects import rendered_of
from tests.support.objects import spec_of as spec
from tests.swift_versions.environments import Environment, environment
from tests.swift_versions.field_cases import CASES, OF_4_6, Case, tiny

ENVIRONMENTS = {"3.7": "3.7", "3.12": "3.12", "4.6": "4.6", "4.6-transformers5": "4.6"}
RUN = Identity(name="demo", uid="0f3a1c9e-5d1b-4e0a-9a55-0c1d2e3f4a5b")
PRECISIONS = (None, "bf16", "fp16", "fp32")
ZERO = {"zero0": 0, "zero1": 1, "zero2": 2, "zero3": 3, "zero2_offload": 2, "zero3_offload": 3, "ds.json": 1}
FLASH = {"attention": "flash_attention_2", "maxLength": 128}
PACKINGS: tuple[dict[str, Any], ...] = ({}, {"packing": True, **FLASH}, {"paddingFree": True, **FLASH})
GPU_MEANING = {
    None: ("bfloat16", False, True),  # as the tiny model is saved
    "bf16": ("bfloat16", False, True),
    "fp16": ("float16", True, False),
    "fp32": ("float32", False, False),
}
CPU_MEANING = {**GPU_MEANING, None: ("float32", False, False)}
# The tiny model saved in another type, by its claim, and what ms-swift then makes of no precision at all.
SAVED = {"tiny-fp16": ("float16", True, False), "tiny-fp32": ("float32", True, False)}


@functools.cache
def ready(name: str) -> Environment:
    return environment(name)


def trained(tuner: str, meaning: tuple[str, bool, bool]) -> tuple[str, bool, bool]:
    """fp16 gradients can be scaled only of weights that are kept in fp32; adapters are anyway."""
    return ("float32", *meaning[1:]) if tuner == "full" and meaning[0] == "float16" else meaning


def pairs(combinations: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Of all combinations as many as have every pair of values that stands in one of them."""
    seen: set[tuple[tuple[int, str], ...]] = set()
    for combination in combinations:
        new = set(itertools.combinations(enumerate(map(str, combination)), 2)) - seen
        if new:
            seen |= new
            yield combination


def gpu_cases(version: str, *, whole: bool) -> Iterator[Case]:
    every = itertools.product(PRECISIONS, table(version).tuners, (None, *ZERO), PACKINGS)
    for precision, tuner, deepspeed, packing in every if whole else pairs(every):
        if precision == "fp32" and packing:
            continue  # refused: a flash attention computes in 16 bits only
        training = {**packing, **({"precision": precision} if precision else {})}
        if deepspeed:
            training["deepspeed"] = deepspeed
        dtype, fp16, bf16 = trained(tuner, GPU_MEANING[precision])
        members = {"tuner": {"type": tuner}, "training": training}
        yield members, {
            "tuner": tuner, "dtype": dtype, "fp16": fp16, "bf16": bf16, "zero": ZERO.get(deepspeed or ""),
            "packing": "packing" in packing, "flat": bool(packing),
        }  # fmt: skip


def cpu_cases(version: str) -> Iterator[Case]:
    for precision, tuner in itertools.product(PRECISIONS, table(version).tuners):
        dtype, fp16, bf16 = trained(tuner, CPU_MEANING[precision])
        training = {"precision": precision} if precision else {}
        members = {"tuner": {"type": tuner}, "training": training, "resources": {"gpus": 0}}
        yield members, {
            "tuner": tuner, "dtype": dtype, "fp16": fp16, "bf16": bf16, "zero": None, "packing": False, "flat": False,
        }  # fmt: skip


def saved_cases() -> Iterator[Case]:
    for claim, gpus, precision in itertools.product(SAVED, (0, 1), PRECISIONS):
        meaning = {**GPU_MEANING, None: SAVED[claim]} if gpus else CPU_MEANING
        members = {
            "model": tiny(claim),
            "training": {"precision": precision} if precision else {},
            "resources": {"gpus": gpus},
        }
        yield members, dict(zip(("dtype", "fp16", "bf16"), meaning[precision], strict=True))


def arguments(version: str, members: dict[str, Any]) -> list[str]:
    """The flags of a rendered command, its paths moved below /tmp."""
    files = [{"configMap": {"name": "files", "key": key}} for key in ("ds.json", "prompt.txt", "plugin.py")]
    whole = spec(**{"model": tiny(), "files": files, **members})
    assert problems(SFTRun(metadata=ObjectMeta(name="demo"), spec=whole)) == ()
    words = rendered_of(whole, table=table(version), identity=RUN).command
    words = words[words.index(PROGRAM) + 1 :]
    return [f"/tmp{word}" if word.startswith(("/models/", "/swiftop/")) else word for word in words]


def accepted(name: str, commands: list[list[str]]) -> list[dict[str, Any]]:
    """What the real ms-swift makes of each command line."""
    output = ready(name).run("tests/swift_versions/accept.py", stdin=json.dumps(commands))
    results: list[dict[str, Any]] = json.loads(output.rpartition("RESULTS\n")[2])
    assert len(results) == len(commands)
    return results


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_combination_is_accepted_and_means_what_the_spec_says(name: str) -> None:
    version = ENVIRONMENTS[name]
    cases = [*gpu_cases(version, whole=name == DEFAULT), *cpu_cases(version), *saved_cases(), *CASES]
    cases += OF_4_6 if version == "4.6" else ()
    results = accepted(name, [arguments(version, members) for members, _ in cases])
    wrong = [
        (members, meant, result)
        for (members, meant), result in zip(cases, results, strict=True)
        if not as_meant(result, meant)
    ]
    assert not wrong, f"{len(wrong)} of {len(cases)}; the first: {wrong[0]}"


def as_meant(result: dict[str, Any], meant: dict[str, Any]) -> bool:
    if "error" in meant:
        return meant["error"] in result.get("error", "")
    return "error" not in result and meant == {key: result.get(key) for key in meant}


@pytest.mark.parametrize("model", [ModelSource, Validation, Tuner, Training, Checkpoints, Tracking])
def test_every_field_takes_part(model: type[Model]) -> None:
    """A new field needs a case or a place in the matrix. An id is downloaded, and the runner says where to resume."""
    member = "model" if model is ModelSource else model.__name__.lower()
    used = {name for members, _ in (*CASES, *OF_4_6) for name in members.get(member, {})}
    matrix = {"type", "precision", "deepspeed", "packing", "paddingFree"}
    assert {field.alias for field in model.model_fields.values()} <= used | matrix | {
        "id",
        "revision",
        "resume",
        "from",
    }


@pytest.mark.parametrize("version", SUPPORTED)
def test_the_same_harness_sees_what_ms_swift_refuses(version: str) -> None:
    good = arguments(version, {})
    quantized = [*good, "--quant_method"]
    other_tuner_flag = "train_type" if table(version).release.tuner_flag == "tuner_type" else "tuner_type"
    bad = {
        "remaining_argv": [*good, f"--{other_tuner_flag}", "lora"],
        "requires a flash attention": [*good, "--packing", "true", "--attn_impl", "sdpa"],
        "At most one of fp16 and bf16": [*good, "--fp16", "true"],
        "Please set the quant_bits": [*quantized, "eetq"],
        "Only support weights in ['int8']": [*quantized, "eetq", "--quant_bits", "4"],
        "bnb not support quant_bits: 3": [*quantized, "bnb", "--quant_bits", "3"],
        "only support quant bits 2/4/8": [*quantized, "quanto", "--quant_bits", "3"],
        "exit 2": [*good, "--swanlab_mode", "offline"],
    }
    results = accepted(version, [good, *bad.values()])
    assert "error" not in results[0]
    for words, result in zip(bad, results[1:], strict=True):
        assert words in result.get("error", ""), words


def test_the_default_version_is_the_trainer_images() -> None:
    assert ready(DEFAULT).run("tests/swift_versions/release.py").split()[-1] == RELEASES[DEFAULT].release
