"""Reading a status: whatever another version wrote, this one goes on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.api.v1alpha1.sftrun_status import SFTRunStatus
from tests.apiserver.cases import MINIMAL

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.sampled_from([field.alias or "" for field in SFTRunStatus.model_fields.values()])


def parsed(status: Any) -> SFTRunStatus | None:
    return SFTRun.from_object({**MINIMAL, "status": status}).status


def test_a_wrong_part_is_dropped_and_the_rest_kept() -> None:
    status = parsed(
        {
            "conditions": [
                {"type": "Bad"},
                {"type": "Worse", "status": 5},
                {"type": "Succeeded", "status": "Unknown"},
                {"type": "AlsoBad"},
            ],
            "attempts": "two",
            "progress": {"step": "many"},
            "startTime": "2026-01-01T00:00:00Z",
            "madeUpLater": {"a": 1},
        }
    )
    assert status is not None
    assert [c.type for c in status.conditions] == ["Succeeded"]
    assert (status.attempts, status.progress) == (0, None)
    assert status.start_time == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("status", [None, [], "text", 5])
def test_no_status_at_all(status: object) -> None:
    assert parsed(status) is None


@given(st.dictionaries(MEMBERS | st.text(max_size=5), VALUES, max_size=4))
def test_any_status_is_read(status: dict[str, Any]) -> None:
    assert isinstance(parsed(status), SFTRunStatus)


def test_conditions_are_found_by_type() -> None:
    status = parsed({"conditions": [{"type": "Running", "status": "True", "reason": "Running"}]})
    assert status is not None
    condition = status.condition("Running")
    assert condition is not None
    assert condition.reason == "Running"
    assert status.condition("Succeeded") is None
