"""The fused layers of ``swiftop.acceleration``, by Triton's interpreter on the CPU, and its compiler without a GPU.

Both run in an environment with the real torch, peft and Triton, all cases of each in one process.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from tests.swift_versions.environments import environment

ENVIRONMENT = "4.6-triton"
SMALLEST_SHARED = 99 << 10  # bytes that a program may have on any GPU since Ampere
BOTH = ["linears", "mlp"]


@functools.cache
def results(program: str) -> dict[str, Any]:
    """What the cases gave, by name."""
    output = environment(ENVIRONMENT).run(f"tests/acceleration/{program}.py", fresh=True)
    found: dict[str, Any] = json.loads(output.rpartition("RESULTS\n")[2])
    return found


def of(name: str) -> Any:
    return results("interpreted")[name]


def fused(fused: int, total: int, parts: list[str], **skipped: str) -> dict[str, Any]:
    """A report as ``fuse`` gives it."""
    return {"fused": fused, "total": total, "parts": parts, "skipped": skipped}


def plain(total: int, why: str) -> dict[str, Any]:
    """One of a model that stays as it is."""
    return fused(0, total, [], mlp=why, linears=why)


@pytest.mark.parametrize("case", ["values", "repaired", "repaired backward"])
def test_outputs_and_gradients_are_those_of_float64(case: str) -> None:
    for name, errors in of(case).items():
        limit = 2e-3 if "fp16" in name else 1e-6
        assert max(errors.values()) < limit, (name, errors)


def test_every_function_has_all_its_gradients() -> None:
    found = {name: set(errors) for name, errors in of("values").items()}
    assert found["linears, three, rank 8"] == {"y0", "y1", "y2", "x", "a0", "b0", "a1", "b1", "a2", "b2"}
    assert found["mlp, rank 8"] == {"y0", "x", "a0", "b0", "a1", "b1", "a2", "b2"}
    assert "x" not in found["linears, no gradient of the input"]


def test_forward_backward_and_torch_have_the_same_masks_bit_for_bit() -> None:
    assert set(of("same masks").values()) == {True}


def test_masks_drop_what_they_should_and_are_not_related() -> None:
    found = of("statistics")
    assert found["kept"] == pytest.approx([1 - 51 / 1024] * 4, abs=1e-3)  # five deviations of a million elements
    assert found["correlations"] == pytest.approx(dict.fromkeys(found["correlations"], 0.0), abs=5e-3)


def test_a_model_trains_as_with_plain_peft() -> None:
    found = of("same as plain")
    assert found["report"] == fused(14, 14, BOTH)
    assert found["canary"] is None
    assert found["loss"] < 1e-4
    assert found["gradients"] < 0.01
    assert found["types"] == ["torch.float32"]
    assert found["forwards"] == 2 * (1 + 3 + 1)


def test_checks_leave_weights_and_generators_as_they_were() -> None:
    assert of("same as plain")["weights untouched"]
    assert of("same as plain")["generator untouched"]


def test_gradient_checkpointing_repeats_bit_for_bit() -> None:
    found = of("dropout")
    assert of("same as plain")["checkpointing"] == [True, True, None]
    assert found["same, reentrant False"]
    assert found["same, reentrant True"]
    assert found["other seed"] > 0.05


def test_dropout_does_not_keep_the_comparisons_from_being_exact() -> None:
    found = of("dropout")
    assert (found["report"], found["canary"], found["canary, reentrant"]) == (fused(7, 7, BOTH), None, None)


@pytest.mark.parametrize(
    "case",
    [
        "fused differs in training", "plain for a while", "disable_adapter", "merged", "eval", "merge_and_unload",
        "unfuse",
    ],
)  # fmt: skip
def test_outside_of_training_peft_runs_as_it_is(case: str) -> None:
    assert of("without adapters")[case]


def test_the_forward_that_an_mlp_had_of_its_own_is_put_back() -> None:
    assert of("own forward") == {"replaced": True, "put back": True}


WHY = {
    "NotLinear": fused(0, 1, [], linears="NotLinear"),
    "OtherActivation": fused(7, 7, ["linears"], mlp="OtherActivation"),
    "CheckFailed": fused(7, 7, ["linears"], mlp="CheckFailed"),
    "DifferentSettings": fused(7, 7, ["linears"], mlp="DifferentSettings"),
    "NoAdapters": plain(0, "NoAdapters"),
} | {
    name: plain(7, name.partition(",")[0])
    for name in (
        "Quantized", "Sharded", "Sharded, flattened", "DoRA", "RankOver64", "SeveralAdapters", "LoraBias",
        "NotSixteenBit", "BaseTrained", "OddSize", "Patched", "Patched, below", "Hooked", "NotOnCuda", "NoTriton",
        "Variant",
    )
}  # fmt: skip


@pytest.mark.parametrize("name", WHY)
def test_what_does_not_suit_stays_plain_with_a_word(name: str) -> None:
    assert of("why")[name] == WHY[name]


def test_every_word_has_a_case() -> None:
    assert of("why").keys() == WHY.keys()


def test_a_machine_that_does_not_suit_is_told_in_a_word() -> None:
    assert of("machine") == {
        "no GPU": ["NotOnCuda", "NotOnCuda"],
        "(7, 5)": ["OlderThanAmpere", "OlderThanAda"],
        "(8, 0)": [None, "OlderThanAda"],
        "(8, 9)": [None, None],
        "float16": "NotBfloat16",
        "same autocast": True,
        "other autocast": [False, True],
        "no compiler": "NoCompiler",
        "no Triton": "NoTriton",
        "AMD": "NotOnCuda",
    }


MIXED = {
    "ranks": fused(7, 7, BOTH),
    "scales": fused(7, 7, BOTH),  # q has a scale of its own, and is fused alone
    "q and v": fused(2, 2, ["linears"]),
    "one too large": fused(5, 7, ["linears"], mlp="RankOver64"),
    "attention": fused(4, 4, ["linears"]),
    "as in ms-swift": fused(7, 7, BOTH),
}


@pytest.mark.parametrize("name", MIXED)
def test_what_suits_in_a_mixed_model_is_fused(name: str) -> None:
    found = of("mixed")[name]
    assert found["report"] == MIXED[name]
    assert found["gradients"] < 0.01


@pytest.mark.parametrize(
    ("name", "why"), [("raises", "CompileFailed"), ("wrong", "CheckFailed"), ("nan", "NotANumber")]
)
def test_a_broken_kernel_replaces_nothing(name: str, why: str) -> None:
    assert of("broken at the start")[name] == plain(7, why)
    assert of("broken at the start")["trusted again"] is None


@pytest.mark.parametrize(
    ("name", "why"),
    [("raises", "CompileFailed"), ("wrong", "CheckFailed"), ("nan", "NotANumber"), ("not comparable", "CheckFailed")],
)
def test_what_only_the_whole_model_shows_makes_it_plain_again(name: str, why: str) -> None:
    word, left, same, failure = of("broken in the model")[name]
    assert (word, left, same, failure) == (why, 0, True, None)


@pytest.mark.parametrize("kernel", ["project", "swiglu_project", "project_backward", "swiglu_backward"])
def test_a_kernel_that_fails_in_a_step_changes_no_gradient_and_the_next_step_is_plain(kernel: str) -> None:
    found = of("broken in training")[kernel]
    assert (found["before"], found["word"], found["failed"], found["plain"]) == ("", "CompileFailed", True, True)
    assert found["gradients"] < 0.01


def test_a_second_backward_pass_says_why_there_is_none() -> None:
    assert "one backward pass only" in of("two backward passes")


def test_two_processes_have_the_mean_of_their_gradients() -> None:
    assert of("distributed")["gradients"] < 0.01


def test_eight_bits_are_near_and_fall_back_to_exact_products() -> None:
    found = of("eight bits")
    assert found["report"] == fused(14, 14, [*BOTH, "eightbit"])
    assert found["canary"] is None
    assert 0.01 < found["gradients"] < 0.2
    assert found["wrong"] == fused(14, 14, BOTH, eightbit="CheckFailed")
    for word in ("OlderThanAda", "NotBfloat16"):
        assert found[word] == fused(7, 7, BOTH, eightbit=word)
    assert found["RankOver64"] == plain(7, "RankOver64") | {
        "skipped": dict.fromkeys(("mlp", "linears", "eightbit"), "RankOver64")
    }


def test_every_kernel_compiles_for_the_gpus_that_it_is_for() -> None:
    found = results("compiled")
    assert {name.rpartition(", ")[2] for name in found} == {"sm_80", "sm_90"}
    for name, kernel in found.items():
        assert kernel["shared"] <= SMALLEST_SHARED, name
        assert kernel["mma"] > 0 or "eight" in name, name
