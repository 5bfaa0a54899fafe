"""What is chosen of ms-swift's arguments, on a GPU of a size that the test says."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from swiftop.acceleration.report import Report
from swiftop.acceleration.settings import Circumstances, Decision, decide, install, tell
from tests.unit.acceleration.test_memory import QWEN_7B


def arguments(**changes: Any) -> Any:
    """ms-swift's, for LoRA of a 7B model on packs of 3,072 tokens, 32 of them a step."""
    info = SimpleNamespace(quant_method=None, quant_bits=None, torch_dtype="torch.bfloat16")
    usual = {
        "tuner_type": "lora", "task_type": "causal_lm", "quant_method": None, "quant_bits": None, "deepspeed": None,
        "modules_to_save": [], "target_modules": ["all-linear"], "lora_rank": 8, "lora_dropout": 0.05, "packing": True,
        "padding_free": True, "packing_length": 3072, "max_length": 3072, "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 32, "gradient_checkpointing": True, "vit_gradient_checkpointing": True,
        "use_liger_kernel": False, "dataloader_num_workers": 1, "dataloader_prefetch_factor": None,
        "logging_nan_inf_filter": True, "model_info": info, "model_meta": SimpleNamespace(is_multimodal=False),
    }  # fmt: skip
    return SimpleNamespace(**{**usual, **changes})


def around(gib: float = 72.0, *fixed: str, **changes: Any) -> Circumstances:
    return Circumstances(**{"config": QWEN_7B, "fixed": frozenset(fixed), "gib": gib, **changes})


def test_all_that_the_spec_leaves_open_is_chosen() -> None:
    found = decide(arguments(), around())
    assert found.values == {
        "use_liger_kernel": True,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 8,
        "gradient_checkpointing": False,
        "vit_gradient_checkpointing": False,
        "logging_nan_inf_filter": False,
        "dataloader_prefetch_factor": 8,
    }
    assert (found.used, found.skipped) == (["liger", "batch", "checkpointing", "loader"], {})
    assert found.estimated == pytest.approx(53.8, abs=0.05)


@pytest.mark.parametrize(
    ("gib", "rows", "checkpointing"), [(126, 4, False), (36, 2, False), (23.4, 8, True), (16.2, 1, True)]
)
def test_a_smaller_gpu_gets_less_at_the_same_product(gib: float, rows: int, checkpointing: bool) -> None:
    found = decide(arguments(), around(gib))
    assert (found.rows, found.accumulation, found.checkpointing) == (rows, 32 // rows, checkpointing)
    assert found.skipped == ({"checkpointing": "TooLittleMemory"} if checkpointing else {})


def test_where_nothing_fits_everything_stays() -> None:
    found = decide(arguments(), around(12.0))
    assert found.skipped == {"batch": "TooLittleMemory", "checkpointing": "TooLittleMemory"}
    assert found.values.keys() == {"use_liger_kernel", "logging_nan_inf_filter", "dataloader_prefetch_factor"}
    assert (found.rows, found.accumulation, found.checkpointing) == (1, 32, True)


def test_what_the_spec_gives_stays() -> None:
    given = (
        "per_device_train_batch_size", "gradient_checkpointing", "use_liger_kernel", "logging_nan_inf_filter",
        "dataloader_prefetch_factor",
    )  # fmt: skip
    found = decide(arguments(), around(72.0, *given))
    assert (found.values, found.used) == ({}, [])
    assert found.skipped == dict.fromkeys(("liger", "batch", "checkpointing", "loader"), "GivenInSpec")


def test_a_given_batch_still_lets_checkpointing_be_chosen() -> None:
    asked = arguments(per_device_train_batch_size=8, gradient_accumulation_steps=4)
    large, small = (decide(asked, around(gib, "gradient_accumulation_steps")) for gib in (126.0, 72.0))
    assert (large.rows, large.checkpointing, large.skipped) == (8, False, {"batch": "GivenInSpec"})
    assert (small.rows, small.checkpointing) == (8, True)
    assert small.skipped == {"batch": "GivenInSpec", "checkpointing": "TooLittleMemory"}


def test_the_accumulation_that_ms_swift_takes_itself_is_known() -> None:
    asked = arguments(gradient_accumulation_steps=None, per_device_train_batch_size=2)
    assert (decide(asked, around()).rows, decide(asked, around()).accumulation) == (4, 4)
    two = decide(asked, around(world_size=2))
    assert (two.rows, two.accumulation) == (4, 2)


@pytest.mark.parametrize(
    ("why", "changes"),
    [
        ("NotLora", {"tuner_type": "full"}),
        ("OtherTask", {"task_type": "seq_cls"}),
        ("Quantized", {"quant_bits": 4}),
        ("Quantized", {"quant_method": "bnb"}),
        ("ModulesToSave", {"modules_to_save": ["embed_tokens"]}),
        ("SequenceParallel", {"sequence_parallel_size": 2}),
        ("UnknownModel", {"model_meta": SimpleNamespace(is_multimodal=True)}),
    ],
)
def test_a_training_whose_memory_is_not_known_keeps_its_batch(why: str, changes: dict[str, Any]) -> None:
    found = decide(arguments(**changes), around())
    assert found.skipped == {"batch": why, "checkpointing": why}
    assert found.values.keys() == {"use_liger_kernel", "logging_nan_inf_filter", "dataloader_prefetch_factor"}
    assert (found.training, found.estimated) == (None, None)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("torch_dtype", "torch.float32", "NotHalfPrecision"),
        ("quant_method", "gptq", "Quantized"),
    ],
)
def test_nor_one_of_a_model_that_is_not_understood(name: str, value: object, why: str) -> None:
    asked = arguments()
    setattr(asked.model_info, name, value)
    assert decide(asked, around()).skipped == {"batch": why, "checkpointing": why}


@pytest.mark.parametrize("config", [{}, {**QWEN_7B, "num_experts": 64}])
def test_nor_one_of_other_layers(config: dict[str, Any]) -> None:
    found = decide(arguments(), around(config=config))
    assert found.skipped == {"batch": "UnknownModel", "checkpointing": "UnknownModel"}


def test_releases_3_call_the_tuner_otherwise() -> None:
    asked = arguments(train_type="lora")
    del asked.tuner_type
    assert decide(asked, around()).rows == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"fsdp": "full_shard auto_wrap"},
        {"deepspeed": {"zero_optimization": {"stage": 3}}},
        {"deepspeed": {"zero_optimization": {"stage": "x"}}},
    ],
)
def test_a_sharded_model_stays_plain(changes: dict[str, Any]) -> None:
    found = decide(arguments(**changes), around())
    assert found.skipped == dict.fromkeys(("liger", "batch", "checkpointing"), "Sharded")


def test_so_does_one_that_is_spread_over_gpus() -> None:
    found = decide(arguments(), around(several_gpus=True))
    assert found.skipped == dict.fromkeys(("liger", "batch", "checkpointing"), "SeveralGPUs")


def test_deepspeed_has_to_take_the_batch_from_the_trainer() -> None:
    auto = {"zero_optimization": {"stage": 2}, "train_micro_batch_size_per_gpu": "auto", "train_batch_size": "auto"}
    assert decide(arguments(deepspeed=auto), around(world_size=2)).rows == 4
    found = decide(arguments(deepspeed={**auto, "train_micro_batch_size_per_gpu": 1}), around(world_size=2))
    assert (found.rows, found.skipped) == (1, {"batch": "DeepSpeedConfig"})


def test_padded_rows_keep_their_micro_batch() -> None:
    asked = arguments(packing=False, padding_free=False, per_device_train_batch_size=2)
    found = decide(asked, around())
    assert (found.rows, found.checkpointing, found.skipped) == (2, False, {"batch": "Padded"})


def test_a_rows_bound_is_that_of_packs_or_of_rows() -> None:
    long = arguments(packing=False, max_length=32_768, packing_length=None)
    assert (decide(long, around()).rows, decide(long, around()).checkpointing) == (1, True)
    packs = decide(arguments(max_length=32_768), around()).training
    assert packs is not None
    assert packs.length == 3072


@pytest.mark.parametrize(
    "changes",
    [{"lora_rank": 128}, {"use_dora": True}, {"target_modules": ["q_proj", "v_proj"]}, {"target_modules": ".*_proj"}],
)
def test_what_will_not_be_fused_is_estimated_as_plain(changes: dict[str, Any]) -> None:
    fused, plain = decide(arguments(), around()).training, decide(arguments(**changes), around()).training
    assert fused is not None
    assert plain is not None
    assert (fused.fused, plain.fused) == (True, False)
    assert (fused.rows, plain.rows) == (4, 2)


def test_without_kernels_all_is_plain_and_8_bits_need_more() -> None:
    none, eight = (
        decide(arguments(), around(fusing=False)).training,
        decide(arguments(), around(eightbit=True)).training,
    )
    assert none is not None
    assert eight is not None
    assert (none.fused, eight.eightbit, eight.rows) == (False, True, 4)


def test_liger_falls_away_and_its_logits_count() -> None:
    found = decide(arguments(), around(liger="NotInstalled"))
    assert found.skipped == {"liger": "NotInstalled"}
    assert "use_liger_kernel" not in found.values
    assert (found.rows, found.checkpointing) == (4, False)
    assert found.estimated == pytest.approx(71.5, abs=0.1)


@pytest.mark.parametrize(("workers", "factor"), [(None, 8), (1, 8), (4, 2), (0, None)])
def test_the_loader_reads_the_micro_batches_of_a_step_ahead(workers: int | None, factor: int | None) -> None:
    found = decide(arguments(dataloader_num_workers=workers), around())
    assert found.values.get("dataloader_prefetch_factor") == factor
    assert found.used[-1] == "loader"


def test_a_decision_is_told() -> None:
    report = Report()
    tell(decide(arguments(), around(36.0)), report)
    assert report.parts == ["liger", "batch", "checkpointing", "loader"]
    assert (report.rows, report.accumulation, report.checkpointing) == (2, 16, False)
    assert report.estimated == pytest.approx(34.1, abs=0.05)


class Factory:
    """Of ms-swift's trainers."""

    made: ClassVar[list[tuple[int, int]]] = []

    @classmethod
    def get_training_args(cls, args: Any) -> str:
        cls.made.append((args.per_device_train_batch_size, args.gradient_accumulation_steps))
        return f"{len(cls.made)} times"


@pytest.fixture
def factory(monkeypatch: pytest.MonkeyPatch) -> type[Factory]:
    """In ms-swift's place."""
    made = type("Made", (Factory,), {"made": []})
    monkeypatch.setitem(sys.modules, "swift.trainers", SimpleNamespace(TrainerFactory=made))
    return made


def hooked(factory: type[Factory], circumstances: Callable[[Any], Circumstances]) -> tuple[Any, Report, list[Decision]]:
    """One set of arguments through the hook."""
    report, decided, args = Report(), list[Decision](), arguments()
    install(report, circumstances, decided.append)
    factory.get_training_args(args)
    return args, report, decided


def test_ms_swift_makes_its_arguments_of_what_was_chosen(factory: type[Factory]) -> None:
    args, report, decided = hooked(factory, lambda _: around())
    assert factory.made == [(4, 8)]
    assert (args.gradient_checkpointing, args.use_liger_kernel, report.rows) == (False, True, 4)
    assert [decision.rows for decision in decided] == [4]


def test_whatever_fails_there_leaves_ms_swift_as_it_is(factory: type[Factory]) -> None:
    def broken(_: Any) -> Circumstances:
        raise RuntimeError("no such attribute")

    args, report, decided = hooked(factory, broken)
    assert (factory.made, decided, vars(args)) == ([(1, 32)], [], vars(arguments()))
    assert report.skipped == dict.fromkeys(("liger", "batch", "checkpointing", "loader"), "RuntimeError")


def beside(monkeypatch: pytest.MonkeyPatch, other: Decision | None) -> None:
    """This is one of two processes; ``other`` is what the other one has decided."""

    def gather(found: list[Decision | None], own: Decision | None) -> None:
        found[:] = [other, own]

    fake = SimpleNamespace(
        is_available=lambda: True, is_initialized=lambda: True, get_world_size=lambda: 2, all_gather_object=gather
    )
    monkeypatch.setitem(sys.modules, "torch.distributed", fake)
    monkeypatch.setenv("WORLD_SIZE", "2")


def test_what_fails_in_one_process_leaves_ms_swift_as_it_is_in_all(
    factory: type[Factory], monkeypatch: pytest.MonkeyPatch
) -> None:
    beside(monkeypatch, None)
    args, report, decided = hooked(factory, lambda _: around())
    assert (factory.made, decided, vars(args)) == ([(4, 8), (1, 32)], [], vars(arguments()))
    assert report.skipped == dict.fromkeys(("liger", "batch", "checkpointing", "loader"), "OtherProcess")


@pytest.mark.parametrize(
    ("other", "made"),
    [(36.0, [(4, 8), (2, 16)]), (126.0, [(4, 8)]), (21.6, [(4, 8), (4, 8)]), (12.0, [(4, 8), (1, 32)])],
)
def test_processes_on_gpus_of_different_sizes_take_the_least(
    factory: type[Factory], monkeypatch: pytest.MonkeyPatch, other: float, made: list[tuple[int, int]]
) -> None:
    beside(monkeypatch, decide(arguments(), around(other)))
    args, report, decided = hooked(factory, lambda _: around())
    assert factory.made == made
    assert decided[0].gib == min(other, around().gib)
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == made[-1] == (
        report.rows, report.accumulation,
    )  # fmt: skip
    assert args.gradient_checkpointing is (other < 36)


def test_the_smallest_gpu_decides_even_where_its_batch_is_not_the_smallest() -> None:
    small, large = decide(arguments(), around(21.6)), decide(arguments(), around(36.0))
    assert ((small.rows, small.checkpointing), (large.rows, large.checkpointing)) == ((4, True), (2, False))
    assert min(small, large, key=lambda each: each.order) is small


def test_a_process_that_can_choose_nothing_tells_the_others(
    factory: type[Factory], monkeypatch: pytest.MonkeyPatch
) -> None:
    beside(monkeypatch, decide(arguments(), around()))
    report, args = Report(), arguments()
    report.skip("batch", "NotOnCuda")
    install(report, lambda _: around(), lambda _: None, unsuited=True)
    factory.get_training_args(args)
    assert (factory.made, vars(args), report.skipped) == ([(1, 32)], vars(arguments()), {"batch": "NotOnCuda"})
