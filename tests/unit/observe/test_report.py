"""What a pod says of itself is input of somebody else's code: nothing of it is believed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftop.observe.report import outcome_of, progress_of, tail

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def test_a_report_is_read() -> None:
    progress = progress_of({"version": 1, "phase": 1, "step": 5, "maxSteps": 10, "loss": 1.5, "memoryGiB": 70.25})
    assert progress is not None
    assert (progress.phase, progress.step, progress.max_steps, progress.loss) == (1, 5, 10, 1.5)
    assert progress.memory_gib == 70.25


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), 1e300, 10**400, "5", True, [5], {"a": 1}, -3])
def test_a_value_that_is_no_sensible_number_is_as_if_not_said(value: object) -> None:
    progress = progress_of({"phase": 1, "step": value})
    assert progress is not None
    assert progress.step is None


def test_a_loss_may_be_negative_and_a_report_may_be_none() -> None:
    progress = progress_of({"phase": 1, "loss": -2.5})
    assert progress is not None
    assert progress.loss == -2.5
    assert progress_of(None) is None
    assert progress_of({}) is None


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("alice", "alice"),
        ("team_1.a-b", "team_1.a-b"),
        ("a" * 65, ""),
        ("", ""),
        ("a/../b", ""),
        ("a\n", ""),
        (5, ""),
        (None, ""),
    ],
)
def test_a_workspace_is_a_plain_word(said: object, read: str) -> None:
    progress = progress_of({"phase": 1, "trackerWorkspace": said})
    assert progress is not None
    assert progress.tracker_workspace == read


def test_an_outcome_is_read_and_cut() -> None:
    said = {"outcome": "failed", "reason": "DiskFull", "message": "m" * 9000, "suggestion": "s", "log": "l" * 9000}
    outcome = outcome_of(json.dumps(said))
    assert outcome is not None
    assert (outcome.reason, outcome.suggestion) == ("DiskFull", "s")
    assert (len(outcome.message), len(outcome.log)) == (1024, 2048)


@pytest.mark.parametrize("reason", ["two words", "", 5, None, "Füße", "1st"])
def test_a_reason_that_no_condition_could_carry_is_dropped(reason: object) -> None:
    outcome = outcome_of(json.dumps({"outcome": "failed", "reason": reason}))
    assert outcome is not None
    assert outcome.reason == ""


@pytest.mark.parametrize(
    "message", ["", "Traceback", "{", "[]", "5", '{"outcome": "won"}', '{"outcome": ["failed"]}', "[" * 4096]
)
def test_what_the_runner_did_not_write_is_no_outcome(message: str) -> None:
    assert outcome_of(message) is None


@given(_json)
def test_no_json_breaks_the_reader(value: object) -> None:
    progress_of(value)
    outcome_of(json.dumps(value))
    outcome_of(json.dumps({"outcome": "failed", "reason": value, "log": value, "progress": value}))


@given(st.text(), st.integers(1, 50))
def test_a_tail_fits_and_is_the_end(text: str, size: int) -> None:
    end = tail(text, size)
    assert len(end.encode("utf-8", "replace")) <= max(size, 0)
    assert text.endswith(end)
