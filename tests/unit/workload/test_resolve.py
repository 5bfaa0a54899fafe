"""The digest of a spec changes with what an attempt is made of, and with nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.kinds.registry import KINDS
from swiftop.model.kind import Pinned, World
from swiftop.model.verdict import Create
from swiftop.workload.resolve import digest_of
from tests.support.objects import ON_CPU, PLATFORM, run_of, spec_of

DIGEST = digest_of(spec_of())


def world(**defaults: Any) -> World[Defaults]:
    return World(defaults=Defaults(**defaults), runner_config_map="swiftop-runner-0")


@pytest.mark.parametrize(
    "members",
    [
        {"suspend": True},
        {"lifecycle": {"maxRetries": 7, "activeDeadlineSeconds": 60, "ttlSecondsAfterFinished": 5}},
        {"training": {}},  # what has its default value says nothing
        {"tuner": {"type": "lora"}},
    ],
)
def test_what_may_change_while_an_attempt_waits_is_no_reason_for_another(members: dict[str, Any]) -> None:
    assert digest_of(spec_of(**members)) == DIGEST


@pytest.mark.parametrize(
    "members",
    [
        {"model": {"id": "Qwen/Qwen2.5-7B-Instruct"}},
        {"runtime": {"image": "other"}},
        {"resources": {"gpus": 2}},
        {"training": {"epochs": 2}},
        {"extraArgs": [{"name": "vit_lr", "value": "1e-5"}]},
        {"placement": {"nodeSelector": {"gpu": "h100"}}},
    ],
)
def test_what_an_attempt_is_made_of_changes_the_digest(members: dict[str, Any]) -> None:
    assert digest_of(spec_of(**members)) != DIGEST


def test_the_platforms_defaults_count_where_the_spec_does_not_say() -> None:
    kind = KINDS["SFTRun"]
    open_run, own_image = run_of({**ON_CPU, "runtime": {}}), run_of(ON_CPU)
    assert kind.digest(open_run, world(image="a")) != kind.digest(open_run, world(image="b"))
    assert kind.digest(own_image, world(image="a")) == kind.digest(own_image, world(image="b"))


@pytest.mark.parametrize("run", [run_of(ON_CPU), run_of(PLATFORM)], ids=["on-cpu", "platform"])
def test_the_cheap_digest_is_that_of_what_is_prepared(run: SFTRun) -> None:
    kind = KINDS["SFTRun"]
    assert kind.digest(run, world()) == kind.prepare(run, world()).digest


def test_what_is_pinned_holds_against_new_defaults() -> None:
    kind, run = KINDS["SFTRun"], run_of({**ON_CPU, "runtime": {}})
    pinned = World(
        defaults=Defaults(image="new"),
        runner_config_map="swiftop-runner-0",
        pinned=Pinned(image="old", swift_version="3.12", command=""),
    )
    job = kind.build(kind.prepare(run, pinned), Create(1))[-1]
    found = kind.pinned(job)
    assert found is not None
    assert (found.image, found.swift_version) == ("old", "3.12")
