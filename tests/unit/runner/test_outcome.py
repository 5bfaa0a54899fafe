"""Finished, interrupted or failed."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from swiftop.runner.classify import End
from swiftop.runner.outcome import Facts, judge
from swiftop.runner.watchdog import FLUSHING, NOT_A_NUMBER, STALLED

OK, BAD = End(exit_code=0), End(exit_code=1)
TERM = End(exit_code=0, forwarded=True)
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
        (End(exit_code=1, forwarded=True), {**HALF}, ("interrupted", "Interrupted")),
        (End(exit_code=None, signal=signal.SIGTERM, forwarded=True), {}, ("interrupted", "Interrupted")),
        (End(exit_code=None, signal=signal.SIGTERM), {**HALF}, ("interrupted", "Interrupted")),
        (BAD, {**DONE}, ("failed", "Unknown")),
        (BAD, {"tail": "torch.OutOfMemoryError: CUDA out of memory."}, ("failed", "CUDAOutOfMemory")),
        (End(exit_code=None, signal=signal.SIGKILL), {**HALF, "watchdog": STALLED}, ("failed", "Stalled")),
        (End(exit_code=None, signal=signal.SIGKILL), {**HALF, "watchdog": NOT_A_NUMBER}, ("failed", "LossNaN")),
        (End(exit_code=None, signal=signal.SIGKILL), {**DONE, "watchdog": FLUSHING}, ("finished", "MaxEpochs")),
        (
            End(exit_code=None, signal=signal.SIGKILL, forwarded=True),
            {**DONE, "watchdog": FLUSHING},
            ("finished", "MaxEpochs"),
        ),
        (
            End(exit_code=None, signal=signal.SIGKILL),
            {**HALF, "watchdog": FLUSHING, "tail": "ValueError: remaining_argv: []"},
            ("failed", "InvalidArguments"),
        ),
    ],
)
def test_outcome(end: End, facts: dict[str, Any], expected: tuple[str, str]) -> None:
    outcome, verdict = judge(Facts(end=end, **{"tail": "", **facts}))
    assert (outcome, verdict.cause.reason) == expected
    assert verdict.message
