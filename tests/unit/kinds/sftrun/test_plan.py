"""What the plan says of its command is read out of the rendered flags."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, get_args, get_type_hints

import pytest

from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.kinds.sftrun.plan import logging_steps, plan, silent_evaluation
from swiftop.kinds.sftrun.prepare import prepare
from swiftop.model.kind import World
from swiftop.runner.protocol import Plan, Source, TrainSettings
from swiftop.runner.typed_json import from_json
from swiftop.swift.cache import cache_keys
from tests.support.objects import IMAGE, ON_CPU, TWO_NODES, run_of

Flags = dict[str, tuple[str, ...]]


def flags_of(text: str) -> Flags:
    """``--name value…`` as the command is rendered from it."""
    found: Flags = {}
    for word in text.split():
        if word.startswith("--"):
            found[word[2:]] = ()
        else:
            name = next(reversed(found))
            found[name] = (*found[name], word)
    return found


LOADED = flags_of("--model Qwen/Qwen2.5-7B --dataset a/b#5000 /data/x.jsonl")


def made(spec: dict[str, Any], *, source: Source | None = None, **members: Any) -> Plan:
    run = run_of({**spec, "runtime": IMAGE, **members})
    prepared = prepare(run, World(defaults=Defaults(), runner_config_map="r"))
    return plan(run, prepared.spec, attempt=2, rendered=prepared.rendered, resume_from=source)


def extra(**flags: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in flags.items()]


def settings(**members: Any) -> TrainSettings:
    return from_json(TrainSettings, made(ON_CPU, **members).settings)


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
    assert logging_steps(flags_of(words)) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--streaming true", False),
        ("--val_dataset a", False),
        ("--streaming true --val_dataset a", True),
        ("--streaming true --cached_val_dataset a", True),
        ("--disable_tqdm true --split_dataset_ratio 0.05", True),
        ("--disable_tqdm true --split_dataset_ratio 0.0", False),
        ("--disable_tqdm false --val_dataset a", False),
        ("--eval_use_evalscope true", True),
    ],
)
def test_evaluations_without_a_bar(words: str, *, expected: bool) -> None:
    assert silent_evaluation(flags_of(words)) is expected


def test_settings_come_from_typed_fields_and_from_extra_flags() -> None:
    assert settings() == TrainSettings(logging_steps=5)
    typed = settings(training={"maxSteps": 7, "loggingSteps": 2}, lifecycle={"stallSeconds": 900})
    assert typed == TrainSettings(max_steps=7, logging_steps=2, stall_seconds=900.0)
    more = settings(extraArgs=extra(max_epochs="3", eval_use_evalscope="true", logging_strategy="epoch"))
    assert more == TrainSettings(asked_epochs=True, silent_evaluation=True, logging_steps=None)
    assert settings(checkpoints={"resume": "Never"}) == TrainSettings(resume=False, logging_steps=5)
    assert settings(checkpoints={"saveOnlyModel": True}) == TrainSettings(resume=False, logging_steps=5)


@pytest.mark.parametrize("type_", [Plan, TrainSettings, Source])
def test_what_is_absent_is_read_as_none(type_: type[Any]) -> None:
    """What is None is left out of the JSON: with another default it would come back as something else."""
    hints = get_type_hints(type_)
    may_be_none = [item for item in fields(type_) if type(None) in get_args(hints[item.name])]
    assert may_be_none
    assert [item.name for item in may_be_none if item.default is not None] == []


@pytest.mark.parametrize(
    ("swanlab", "host"),
    [
        ({}, "https://api.swanlab.cn"),
        ({"host": "http://swanlab.lab:8000/"}, "http://swanlab.lab:8000"),
        ({"mode": "local"}, None),
    ],
)
def test_the_server_that_is_asked_whether_the_key_is_good(swanlab: dict[str, str], host: str | None) -> None:
    assert settings(tracking={"swanlab": {"project": "p", **swanlab}}).swanlab_host == host


def test_only_what_comes_from_a_hub_has_a_key() -> None:
    keys = cache_keys(LOADED)
    assert len(keys) == 2
    assert cache_keys(flags_of("--model /models/x --dataset /data/y.jsonl")) == ()
    assert keys == cache_keys(flags_of("--dataset a/b --model Qwen/Qwen2.5-7B"))
    assert keys != cache_keys({**LOADED, "use_hf": ("true",)})
    assert keys == cache_keys(flags_of("--dataset a/b@v1#5 --model Qwen/Qwen2.5-7B"))  # one folder for all revisions
    assert cache_keys(flags_of("--dataset a/b@v1:c")) == cache_keys(flags_of("--dataset a/b:c"))
    cached = made(ON_CPU, cache={"persistentVolumeClaim": {"claimName": "c"}})
    assert (len(cached.cache_keys), cached.cache_dir) == (1, "/swiftop/cache")
    assert (made(ON_CPU).cache_keys, made(ON_CPU).cache_dir) == ((), None)


def test_processes_and_owner() -> None:
    two = made(TWO_NODES)
    assert two.world_size == two.nodes * 8 == 16
    assert two.master_addr == "run-2-0.run-ranks.team.svc"
    assert (two.program, two.owner.kind, two.attempt, two.elastic) == ("train", "SFTRun", 2, True)
    one = made(ON_CPU)
    assert (one.world_size, one.elastic, one.master_addr) == (1, False, None)


def test_a_checkpoint_of_another_run() -> None:
    source = Source("/swiftop/source/lab/other", "u-2", "lora", weights_only=True)
    found = from_json(TrainSettings, made(ON_CPU, source=source).settings)
    assert found == replace(settings(), resume_from=source)
