"""Rules of exports and uploads without a server: the same table of cases that the API server is held to."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.api.validate import problems
from swiftop.errors import Invalid, Problem
from swiftop.kinds.registry import KINDS
from tests.apiserver import export_cases, upload_cases
from tests.apiserver.cases import Case


def found(obj: dict[str, Any]) -> tuple[Problem, ...]:
    try:
        return problems(KINDS[obj["kind"]].parse(obj))
    except Invalid as error:
        return error.problems


@pytest.mark.parametrize("case", [*upload_cases.REFUSED, *export_cases.REFUSED], ids=str)
def test_refused(case: Case) -> None:
    seen = [problem for problem in found(case.object()) if problem.path.startswith(case.path)]
    assert any(case.message in f"{problem.message} {problem.suggestion}" for problem in seen), found(case.object())


@pytest.mark.parametrize("case", [*upload_cases.ACCEPTED, *export_cases.ACCEPTED], ids=str)
def test_accepted(case: Case) -> None:
    assert found(case.object()) == ()
