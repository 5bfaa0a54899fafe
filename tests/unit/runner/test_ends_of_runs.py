"""Ends of trainings as they are printed have their cause: where no text tells it, the place does."""

from __future__ import annotations

import pytest

from swiftop.runner.classify import classify_failure
from tests.support.ends import CASES, FAILED, FILES, OUTER, Case, share_of_unknown, traceback

HIGHEST_SHARE = 0.05  # of ends that are Unknown


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_an_end_has_its_cause(case: Case) -> None:
    judged = classify_failure(FAILED, case.log)
    assert judged.cause.reason == case.reason, judged.message
    assert case.text in judged.message


@pytest.mark.parametrize(
    "error", ["TypeError: 'NoneType' object is not subscriptable", "KeyError: 'xyz'", "my.Broken: 坏了", "RuntimeError"]
)
@pytest.mark.parametrize(("file", "function", "reason"), FILES, ids=[file for file, _, _ in FILES])
def test_the_innermost_frame_that_is_somebodys_decides(file: str, function: str, reason: str, error: str) -> None:
    log = traceback([*OUTER, (file, function), ("json/decoder.py", "decode")], error)
    assert classify_failure(FAILED, log).cause.reason == reason


def test_few_ends_are_unknown() -> None:
    """The share that `python -m tests.bench` prints."""
    assert share_of_unknown() <= HIGHEST_SHARE
