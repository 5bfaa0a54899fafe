"""What a pod says of itself is input of somebody else's code: nothing of it is believed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftop.model.facts import Outcome
from swiftop.model.text import printable
from swiftop.observe.report import outcome_of, tail
from swiftop.runner.report import BAD_ROWS, LARGEST, TRAINING, WHY_CHARACTERS, BadRow, Previous, read, read_bad_rows

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def test_an_outcome_is_read_whole() -> None:
    said = {
        "outcome": "interrupted",
        "reason": "Interrupted",
        "message": "m",
        "log": "l",
        "progress": {"phase": 1, "step": 5, "checkpointTime": -1, "trackerWorkspace": "a/../b", "made": "up",
                     "previous": [{"pod": "p", "time": 7, "reason": "Lost", "step": 3}]},
    }  # fmt: skip
    assert outcome_of(json.dumps(said), TRAINING) == Outcome(
        outcome="interrupted",
        reason="Interrupted",
        message="m",
        log="l",
        report={"phase": 1, "step": 5},
        previous=(Previous("p", 7, "Lost", 3),),
    )


def test_an_outcome_is_read_and_cut() -> None:
    said = {"outcome": "failed", "reason": "DiskFull", "message": "m" * 9000, "suggestion": "s", "log": "l" * 9000}
    outcome = outcome_of(json.dumps(said), TRAINING)
    assert outcome is not None
    assert (outcome.reason, outcome.suggestion) == ("DiskFull", "s")
    assert (len(outcome.message), len(outcome.log)) == (1024, 2048)


@pytest.mark.parametrize("reason", ["two words", "", 5, None, "Füße", "1st"])
def test_a_reason_that_no_condition_could_carry_is_dropped(reason: object) -> None:
    outcome = outcome_of(json.dumps({"outcome": "failed", "reason": reason}), TRAINING)
    assert outcome is not None
    assert outcome.reason == ""


@pytest.mark.parametrize(
    "message", ["", "Traceback", "{", "[]", "5", '{"outcome": "won"}', '{"outcome": ["failed"]}', "[" * 4096]
)
def test_what_the_runner_did_not_write_is_no_outcome(message: str) -> None:
    assert outcome_of(message, TRAINING) is None


@given(_json)
def test_no_json_breaks_the_reader(value: object) -> None:
    read(TRAINING, value)
    outcome_of(json.dumps(value), TRAINING)
    outcome_of(json.dumps({"outcome": "failed", "reason": value, "log": value, "progress": value}), TRAINING)


@given(st.text(), st.integers(1, 50))
def test_a_tail_fits_and_is_the_end(text: str, size: int) -> None:
    end = tail(text, size)
    assert len(end.encode("utf-8", "replace")) <= max(size, 0)
    assert printable(text).endswith(end)


def test_no_text_of_a_pod_rewrites_a_terminal() -> None:
    escape = "\x1b]0;title\x07\x1b[2J\x9b1mAll is\r well"
    said = {"outcome": "failed", "message": escape, "suggestion": escape, "log": escape + "\n\tend"}
    outcome = outcome_of(json.dumps(said), TRAINING)
    assert outcome is not None
    assert outcome.message == outcome.suggestion == "]0;title[2J1mAll is well"
    assert outcome.log == "]0;title[2J1mAll is well\n\tend"
    assert tail(escape) == outcome.message
    bad = outcome_of(json.dumps({**said, "badRows": [[3, escape]]}), TRAINING)
    assert bad is not None
    assert bad.bad_rows == (BadRow(3, "]0;title[2J1mAll is well"),)


@given(_json)
def test_no_json_breaks_the_reader_of_bad_rows(value: object) -> None:
    for said in (value, {"badRows": value}, {"badRows": [value, [value, value], [1, value], [value, "x"]]}):
        for bad in read_bad_rows(said):
            assert 0 <= bad.line <= LARGEST
            assert len(bad.why) <= WHY_CHARACTERS
    assert len(read_bad_rows({"badRows": [[1, "x"]] * 1000})) == BAD_ROWS


def test_no_text_of_a_pod_turns_a_line_around_or_is_stored_as_another_one() -> None:
    text = "a\ud800b\u202ec\u2066d\u2028e\u200ff\ufeffg 漢字 é 😀\n\t"
    said = {"outcome": "failed", "message": text, "log": text, "suggestion": text, "badRows": [[1, text]]}
    outcome = outcome_of(json.dumps(said), TRAINING)
    assert outcome is not None
    clean = "abcdefg 漢字 é 😀\n\t"
    assert (outcome.message, outcome.log, outcome.suggestion) == (clean, clean, clean)
    assert outcome.bad_rows == (BadRow(1, clean),)
    assert printable(clean) == clean
