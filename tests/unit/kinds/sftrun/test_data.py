"""Dropped rows are told, and are a warning when they are many."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.kinds.sftrun import data
from swiftop.model.conditions import Aspect


@pytest.mark.parametrize(
    ("found", "condition"),
    [
        (None, Aspect("Unknown", "Pending")),
        ({"rows": 40, "dropped": 0, "tooLong": 0, "truncated": 0}, Aspect("True", "RowsKept")),
        (
            {"rows": 40, "dropped": 2, "tooLong": 2},
            Aspect("True", "RowsKept", "2 of 40 rows (5%) were dropped, 2 longer than training.maxLength"),
        ),
        (
            {"rows": 40, "dropped": 3, "tooLong": 1},
            Aspect(
                "False",
                "RowsDropped",
                "3 of 40 rows (8%) were dropped, 1 longer than training.maxLength, 2 that the chat template cannot "
                "encode: see the beginning of the pod's log",
            ),
        ),
        ({"rows": 40, "dropped": 30}, Aspect("False", "RowsDropped", "30 of 40 rows (75%) were dropped")),
        (
            {"rows": 40, "dropped": 0, "tooLong": 0, "validationRows": 20, "validationDropped": 2},
            Aspect("False", "RowsDropped", "2 of 20 rows of the validation data (10%) were dropped"),
        ),
        (
            {"rows": 40, "dropped": 30, "validationRows": 20, "validationDropped": 20},
            Aspect(
                "False",
                "ValidationEmpty",
                "all 20 rows of the validation data were dropped, so that nothing is evaluated; 30 of 40 rows (75%) "
                "were dropped",
            ),
        ),
    ],
)
def test_the_condition(found: dict[str, Any] | None, condition: Aspect) -> None:
    assert data.complete(found) == condition


def test_what_an_earlier_pod_told_stays() -> None:
    before = {"data": {"rows": 40, "dropped": 3}}
    assert data.status(None, before) == before["data"]
    assert data.status({"step": 3}, before) == before["data"]
    assert data.status({"dataRows": 50, "dataDropped": 0}, before) == {"rows": 50, "dropped": 0}
    assert data.status({"step": 3}, {}) is None
