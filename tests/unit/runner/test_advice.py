"""What an export, an upload or a server is told to do has fields of its own, and none of a training."""

from __future__ import annotations

import re

import pytest

from swiftop.api.v1alpha1.base import CustomResource
from swiftop.api.v1alpha1.datasetupload import DatasetUpload
from swiftop.api.v1alpha1.modeldeployment import ModelDeployment
from swiftop.api.v1alpha1.modelexport import ModelExport
from swiftop.runner import causes, trackers
from swiftop.runner.advice import suggestion
from swiftop.runner.ends import EndClass
from swiftop.runner.hub.causes import HUB_AUTH_FAILED
from swiftop.runner.serve import causes as serve

OF_TRAININGS = (
    trackers.AUTH_FAILED,
    trackers.UNREACHABLE,
    trackers.FAILED,
    causes.LOSS_NAN,
    causes.STALLED,
    causes.NO_PROGRESS,  # each kind has its own words for it
    causes.SOURCE_CHECKPOINT_MISSING,  # names the fields of both kinds
    causes.SOURCE_CHECKPOINT_UNFIT,
)
OF_PROGRAMS = {
    causes.DATA_INVALID: ("upload",),
    causes.DATASET_NOT_FOUND: ("export", "upload"),
    causes.DATASET_EMPTY: ("export", "upload"),
    causes.DATASET_FORMAT: ("export", "upload"),
    causes.QUANTIZATION_UNSUPPORTED: ("export", "serve"),
    causes.WEIGHTS_MISSING: ("serve",),
    serve.GATE_FAILED: ("serve",),
}
FIELD = re.compile(r"(?<![\w./-])([a-z][A-Za-z]+)(?:\[\])?\.([a-zA-Z]+)")
KINDS: dict[str, type[CustomResource]] = {"export": ModelExport, "upload": DatasetUpload, "serve": ModelDeployment}


@pytest.mark.parametrize("program", KINDS)
@pytest.mark.parametrize("cause", [c for c in causes.FAILURES if c not in OF_TRAININGS], ids=lambda c: c.reason)
def test_each_field_that_is_named_is_there(cause: EndClass, program: str) -> None:
    if program not in OF_PROGRAMS.get(cause, KINDS):
        return
    known = KINDS[program].model_fields["spec"].annotation
    assert known is not None
    fields = {field.alias for field in known.model_fields.values()} | {"status"}
    told = suggestion(cause, program)
    assert told
    assert {first for first, _ in FIELD.findall(told)} - {"model", "github"} <= fields, told


def test_a_training_is_told_what_it_was() -> None:
    for cause in causes.FAILURES:
        assert suggestion(cause, "train") == suggestion(cause, "") == cause.suggestion


def test_a_token_is_asked_for_where_it_belongs() -> None:
    told = [suggestion(HUB_AUTH_FAILED, program) for program in ("train", "export", "upload")]
    assert [("tokenSecret" in text, "destination" in text) for text in told] == [
        (False, False),
        (True, False),
        (True, True),
    ]
