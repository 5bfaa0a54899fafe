"""Finished, interrupted or failed."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import Any

import pytest

from swiftop.runner import dropped
from swiftop.runner.classify import EndedChild
from swiftop.runner.train.outcome import EndedTraining, judge
from swiftop.runner.train.watchdog import FLUSHING, NOT_A_NUMBER, STALLED

OK, BAD = EndedChild(exit_code=0), EndedChild(exit_code=1)
TERM = EndedChild(exit_code=0, forwarded=True)
DONE: dict[str, Any] = {"step": 20, "max_steps": 20, "loop_ended": True}
HALF: dict[str, Any] = {"step": 9, "max_steps": 20}


@pytest.mark.parametrize(
    ("end", "facts", "expected"),
    [
        (OK, {**DONE}, ("finished", "MaxEpochs")),
        (OK, {**DONE, "asked_steps": 20}, ("finished", "MaxSteps")),
        (OK, {**HALF, "loop_ended": True}, ("finished", "EarlyStopped")),
        (OK, {**HALF, "loop_ended": True, "asked_epochs": True}, ("finished", "MaxEpochs")),
        (OK, {**HALF}, ("failed", "Unknown")),
        (OK, {}, ("failed", "Unknown")),
        (OK, {"first_node": False}, ("finished", "MaxEpochs")),
        (TERM, {**HALF, "loop_ended": True}, ("interrupted", "Interrupted")),
        (TERM, {**DONE, "asked_steps": 20}, ("finished", "MaxSteps")),
        (EndedChild(exit_code=1, forwarded=True), {**HALF}, ("interrupted", "Interrupted")),
        (EndedChild(exit_code=None, signal=signal.SIGTERM, forwarded=True), {}, ("interrupted", "Interrupted")),
        (EndedChild(exit_code=None, signal=signal.SIGTERM), {**HALF}, ("interrupted", "Interrupted")),
        (BAD, {**DONE}, ("failed", "Unknown")),
        (BAD, {"tail": "torch.OutOfMemoryError: CUDA out of memory."}, ("failed", "CUDAOutOfMemory")),
        (EndedChild(exit_code=None, signal=signal.SIGKILL), {**HALF, "ended_by": STALLED}, ("failed", "Stalled")),
        (EndedChild(exit_code=None, signal=signal.SIGKILL), {**HALF, "ended_by": NOT_A_NUMBER}, ("failed", "LossNaN")),
        (EndedChild(exit_code=None, signal=signal.SIGKILL), {**DONE, "ended_by": FLUSHING}, ("finished", "MaxEpochs")),
        (
            EndedChild(exit_code=None, signal=signal.SIGKILL, forwarded=True),
            {**DONE, "ended_by": FLUSHING},
            ("finished", "MaxEpochs"),
        ),
        (
            EndedChild(exit_code=None, signal=signal.SIGKILL),
            {**HALF, "ended_by": FLUSHING, "tail": "ValueError: remaining_argv: []"},
            ("failed", "InvalidArguments"),
        ),
    ],
)
def test_outcome(end: EndedChild, facts: dict[str, Any], expected: tuple[str, str]) -> None:
    facts = dict(facts)
    end = replace(end, ended_by=facts.pop("ended_by", None))
    ended = judge(EndedTraining(end=end, **{"tail": "", **facts}))
    assert (ended.outcome, ended.judged.cause.reason) == expected
    assert ended.judged.message


def test_rows_that_were_told_long_before_the_end_are_counted() -> None:
    rows = dropped.read("Dataset filtered, origin length: 9, filtered dataset length: 0\ntrain_dataset: None")
    tail = '  File "/x/swift/pipelines/train/sft.py", line 180, in _show_dataset\nTypeError: it is None'
    judged = judge(EndedTraining(end=BAD, tail=tail, rows=rows)).judged
    assert (judged.cause.reason, judged.message) == (
        "DatasetEmpty",
        "all 9 rows were dropped, 9 longer than training.maxLength",
    )
