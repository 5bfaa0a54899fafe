"""What the plan says of its command is read out of the rendered flags."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.workload.specs import MINIMAL, TWO_NODES, run_of

from swiftop.kinds.sftrun.plan import cache_keys, flags_of, logging_steps, plan, silent_evaluation
from swiftop.runner.protocol import Plan, Source, TrainSettings, from_json

WORDS = "python -m swift.cli.sft --model Qwen/Qwen2.5-7B --dataset a/b#5000 /data/x.jsonl --max_steps 7"
COMMAND = tuple(WORDS.split())


def made(spec: dict[str, Any], *words: str, source: Source | None = None) -> Plan:
    run = run_of(spec)
    return plan(run, run.spec, attempt=2, command=(*COMMAND, *words), resume_from=source)


def settings(*words: str) -> TrainSettings:
    return from_json(TrainSettings, made(MINIMAL, *words).settings)


def test_flags_are_read_as_argparse_does() -> None:
    command = ("python", "-m", "x", "--a", "1", "2", "--b=-3", "--c", "--a", "4", "--d=", "--e=x=y")
    assert flags_of(command) == {"a": ("4",), "b": ("-3",), "c": (), "d": ("",), "e": ("x=y",)}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", 5),  # the default of ms-swift 3.7, 3.12 and 4.6
        ("--logging_steps 20", 20),
        ("--logging_strategy epoch", None),
        ("--logging_strategy steps --logging_steps 3", 3),
    ],
)
def test_how_often_ms_swift_logs(words: str, expected: int | None) -> None:
    assert logging_steps(flags_of(words.split())) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--streaming true", False),
        ("--val_dataset a", False),
        ("--streaming true --val_dataset a", True),
        ("--disable_tqdm true --split_dataset_ratio 0.05", True),
        ("--disable_tqdm true --split_dataset_ratio 0.0", False),
        ("--disable_tqdm true --split_dataset_ratio=0.5", True),
        ("--disable_tqdm false --val_dataset a", False),
        ("--eval_use_evalscope true", True),
    ],
)
def test_evaluations_without_a_bar(words: str, expected: bool) -> None:
    assert silent_evaluation(flags_of(words.split())) is expected


def test_settings_come_from_extra_flags_too() -> None:
    assert settings().max_steps == 7
    more = settings("--max_steps", "9", "--logging_steps", "2", "--max_epochs", "3", "--eval_use_evalscope", "true")
    assert (more.max_steps, more.logging_steps, more.asked_epochs, more.silent_evaluation) == (9, 2, True, True)
    assert settings("--max_steps=-1").max_steps is None


def test_only_what_comes_from_a_hub_has_a_key() -> None:
    keys = cache_keys(flags_of(COMMAND))
    assert len(keys) == 2
    assert cache_keys(flags_of(["--model", "/models/x", "--dataset", "/data/y.jsonl"])) == ()
    assert keys == cache_keys(flags_of(["--dataset", "a/b", "--model", "Qwen/Qwen2.5-7B"]))
    assert keys != cache_keys(flags_of((*COMMAND, "--use_hf", "true")))


def test_processes_and_owner() -> None:
    two = made(TWO_NODES)
    assert two.world_size == two.nodes * 8 == 16
    assert (two.program, two.owner.kind, two.attempt, two.elastic) == ("train", "SFTRun", 2, False)
    assert made(MINIMAL, "torch.distributed.run").elastic


def test_a_checkpoint_of_another_run() -> None:
    source = Source("/swiftop/output/other", "u-2", "lora", weights_only=True)
    found = from_json(TrainSettings, made(MINIMAL, source=source).settings)
    assert found == replace(settings(), resume_from=source)
