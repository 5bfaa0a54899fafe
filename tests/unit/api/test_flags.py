"""The list of flags that extraArgs may not carry, held to what is rendered and to what ms-swift has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from swiftop.api.fields import Flag, Owns, marks, model_in
from swiftop.api.v1alpha1.checkpoints import Checkpoints
from swiftop.api.v1alpha1.flags import NO_SECRET, ExtraArg, field_of_flag
from swiftop.api.v1alpha1.hub import ModelSource
from swiftop.api.v1alpha1.sft_args import FIELD_OF_FLAG
from swiftop.api.v1alpha1.sftrun import SFTRun, SFTRunSpec
from swiftop.api.v1alpha1.tracking import Tracking
from swiftop.api.v1alpha1.training import Training, Validation
from swiftop.api.v1alpha1.tuner import Tuner
from swiftop.kinds.sftrun.command import typed_flags
from swiftop.swift.paths import Identity
from swiftop.swift.releases import SUPPORTED, table
from tests.apiserver.sftrun_cases import ACCEPTED

# List flags that are merged with the user's own values, and what only a run on the CPU gets.
SHARED = {"report_to", "custom_dataset_info", "use_cpu", "ddp_backend"}


def test_a_flag_of_a_typed_field_is_refused_as_extra_flag() -> None:
    run = Identity(name="run", uid="00000000")
    specs = [SFTRun.from_object(case.object()).spec for case in ACCEPTED]
    rendered = {flag for v in SUPPORTED for spec in specs for flag in typed_flags(spec, table=table(v), identity=run)}
    assert rendered - set(FIELD_OF_FLAG) == SHARED


def test_every_mark_of_the_spec_is_known_to_its_extra_arguments() -> None:
    """They are gathered member by member: the rule stands in a member of the spec itself."""
    assert field_of_flag(marks(SFTRunSpec)).items() <= FIELD_OF_FLAG.items()


def unmarked(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        here, member = f"{path}.{field.alias or name}", model_in(field.annotation)
        if any(isinstance(mark, Flag | Owns) for mark in field.metadata):
            continue
        if member is None:
            yield here
        else:
            yield from unmarked(member, here)


@pytest.mark.parametrize(
    ("model", "without"),
    [
        (ModelSource, set()),
        (Validation, set()),
        (Tuner, set()),
        (Training, {".acceleration"}),  # the runner's: the command is the same with and without
        (Checkpoints, set()),
        # The client of SwanLab reads these from its environment; report_to is shared with extraArgs.
        (Tracking, {".swanlab.host", ".swanlab.tags", ".swanlab.group", ".tensorboard"}),
    ],
)
def test_a_field_without_a_flag_would_have_no_effect(model: type[BaseModel], without: set[str]) -> None:
    assert set(unmarked(model)) == without


def test_a_field_that_shares_its_flag_is_named_beside_the_other() -> None:
    assert FIELD_OF_FLAG["model"] == "model.id or model.persistentVolumeClaim"
    assert FIELD_OF_FLAG["resume_from_checkpoint"] == "checkpoints.resume or checkpoints.from"
    assert FIELD_OF_FLAG["quant_bits"] == "tuner.quantization.bits"


def test_every_refused_flag_is_a_flag_of_some_version() -> None:
    known = {flag for v in SUPPORTED for flag in table(v).flags}
    assert set(FIELD_OF_FLAG) <= known


@pytest.mark.parametrize("version", SUPPORTED)
def test_every_secret_of_ms_swift_is_refused_and_nothing_else(version: str) -> None:
    refused = {f for f in table(version).flags if not NO_SECRET.holds(ExtraArg(name=f, value="x"))}
    sounds_like_one = {f for f in table(version).flags if "secret" in f or "webhook" in f or f.endswith("token")}
    assert refused == sounds_like_one
