"""Rules without a server: the same table of cases that the API server is held to, and what only Python can see."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.api.v1alpha1.sft_args import FIELD_OF_FLAG
from swiftop.api.v1alpha1.sftrun import SFTRun, SFTRunSpec
from swiftop.api.validate import problems
from swiftop.errors import Invalid, Problem
from tests.apiserver.cases import Case, merged
from tests.apiserver.sftrun_cases import ACCEPTED, REFUSED
from tests.apiserver.sftrun_patches import MINIMAL


def found(obj: dict[str, Any]) -> tuple[Problem, ...]:
    try:
        return problems(SFTRun.from_object(obj))
    except Invalid as error:
        return error.problems


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refused(case: Case) -> None:
    seen = [p for p in found(case.object()) if p.path.startswith(case.path)]
    assert seen, found(case.object())
    assert any(case.message in f"{p.message} {p.suggestion}" for p in seen), seen


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_accepted(case: Case) -> None:
    assert found(case.object()) == ()


def test_one_mistake_is_one_problem() -> None:
    obj = merged(MINIMAL, {"spec": {"datasets": [{"id": "a/b", "sample": 0}], "training": {"maxlength": 5}}})
    assert [str(p) for p in found(obj)] == [
        "spec.datasets[0].sample: must be at least 1",
        "spec.training.maxlength: unknown field (did you mean maxLength?)",
    ]


def test_an_unquoted_number_is_told_to_be_quoted() -> None:
    (problem,) = found(merged(MINIMAL, {"spec": {"training": {"learningRate": 0.0002}}}))
    assert str(problem) == 'spec.training.learningRate: must be a text (put it in quotes: "0.0002")'


@pytest.mark.parametrize("obj", [{}, {"spec": None}, {"spec": []}, {"kind": "Pod", "spec": {}}, {"spec": {"model": 1}}])
def test_any_object_is_answered_with_problems(obj: dict[str, Any]) -> None:
    assert all(p.path for p in found(obj))
    assert found(obj)


def test_files_of_one_name_would_hide_each_other() -> None:
    files = [
        {"configMap": {"name": "a", "key": "plugin.py"}},
        {"persistentVolumeClaim": {"claimName": "b", "path": "x/plugin.py"}},
    ]
    assert [p.path for p in found(merged(MINIMAL, {"spec": {"files": files}}))] == ["spec.files"]


@pytest.mark.parametrize(("member", "value"), [("nodeAffinty", {}), ("nodeAffinity", "gpu"), ("podAffinity", [])])
def test_affinity_is_checked_by_its_form(member: str, value: object) -> None:
    obj = merged(MINIMAL, {"spec": {"placement": {"affinity": {"nodeAffinity": {}}}}})
    obj["spec"]["placement"]["affinity"] = {member: value}
    (problem,) = found(obj)
    assert problem.path == f"spec.placement.affinity.{member}"


def test_an_affinity_has_a_limit() -> None:
    obj = merged(MINIMAL, {"spec": {"placement": {"affinity": {"nodeAffinity": {"a": "x" * 70_000}}}}})
    assert [p.path for p in found(obj) if "is too large" in p.message] == ["spec.placement.affinity"]
    assert len(found(obj)) == 1


def test_every_field_named_for_a_flag_exists() -> None:
    for path in {field for fields in FIELD_OF_FLAG.values() for field in fields.split(" or ") if field}:
        spec: Any = SFTRunSpec
        for part in path.split("."):
            members = {field.alias: field for field in spec.model_fields.values()}
            assert part in members, path
            annotation = members[part].annotation
            spec = next(
                (a for a in (annotation, *getattr(annotation, "__args__", ())) if hasattr(a, "model_fields")), None
            )
