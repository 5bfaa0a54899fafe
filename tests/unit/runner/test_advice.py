"""What each kind of work is told to do has fields of its own, and none of another."""

from __future__ import annotations

import re
from typing import Any

import pytest

from swiftop.api.crd import schema_of
from swiftop.api.v1alpha1.base import CustomResource
from swiftop.api.v1alpha1.datasetupload import DatasetUpload
from swiftop.api.v1alpha1.modeldeployment import ModelDeployment
from swiftop.api.v1alpha1.modelexport import ModelExport
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.runner import causes, trackers
from swiftop.runner.advice import suggestion
from swiftop.runner.ends import EndClass
from swiftop.runner.hub.causes import HUB_AUTH_FAILED
from swiftop.runner.serve import causes as serve

OF_TRAININGS = (
    trackers.AUTH_FAILED,
    trackers.UNREACHABLE,
    trackers.FAILED,
    causes.STALLED,
    causes.NO_PROGRESS,  # each kind has its own words for it
)
OF_PROGRAMS = {
    causes.DATA_INVALID: ("upload",),
    causes.DATASET_NOT_FOUND: ("export", "upload"),
    causes.DATASET_EMPTY: ("export", "upload"),
    causes.DATASET_FORMAT: ("export", "upload"),
    causes.LOSS_NAN: ("train", "export", "serve"),
    causes.QUANTIZATION_UNSUPPORTED: ("train", "export", "serve"),
    causes.SOURCE_CHECKPOINT_UNFIT: ("train", "export", "serve"),
    causes.SOURCE_CHECKPOINT_MISSING: ("train", "export"),
    causes.WEIGHTS_MISSING: ("serve",),
    serve.GATE_FAILED: ("serve",),
}
FIELD = re.compile(r"(?<![\w./-])[a-z][A-Za-z]+(?:\[\])?(?:\.[a-z][A-Za-z]+(?:\[\])?)+(?![\w./-])")
FILES = {"dataset_infos.json"}
KINDS: dict[str, type[CustomResource]] = {
    "train": SFTRun,
    "export": ModelExport,
    "upload": DatasetUpload,
    "serve": ModelDeployment,
}


@pytest.mark.parametrize("program", KINDS)
@pytest.mark.parametrize("cause", [c for c in causes.FAILURES if c not in OF_TRAININGS], ids=lambda c: c.reason)
def test_each_field_that_is_named_is_there(cause: EndClass, program: str) -> None:
    if program not in OF_PROGRAMS.get(cause, KINDS):
        return
    told = suggestion(cause, program)
    assert told
    named = [path for path in FIELD.findall(told) if path not in FILES]
    assert [path for path in named if not is_field(KINDS[program], path)] == [], told


def is_field(model: type[CustomResource], path: str) -> bool:
    """Whether a path as people write it, from the spec or from the object, leads to something."""
    schema = schema_of(model)
    names = path.replace("[]", "").split(".")
    return any(_leads_on(start, names) for start in (schema, schema["properties"]["spec"]))


def _leads_on(schema: dict[str, Any], names: list[str]) -> bool:
    for name in names:
        schema = schema.get("items", schema)
        if "properties" not in schema:
            return True  # a map, or what Kubernetes itself defines
        if name not in schema["properties"]:
            return False
        schema = schema["properties"][name]
    return True


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
