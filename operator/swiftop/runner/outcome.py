"""Was it finished, interrupted or failed? Pure: the facts of an ended training in, the outcome out.

Exit 0 does not mean finished: ms-swift saves and exits 0 when it is told to stop. Nor does every finished training exit
0: its tracker may hang after the last step and be ended by the watchdog.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from . import causes, watchdog
from .causes import Cause
from .classify import End, Verdict, classify_failure

FINISHED, INTERRUPTED, FAILED = "finished", "interrupted", "failed"
_ENDED_BY_US = {
    watchdog.STALLED: (causes.STALLED, "no sign of progress after step"),
    watchdog.NOT_A_NUMBER: (causes.LOSS_NAN, "the loss is no number any more at step"),
}


@dataclass(frozen=True)
class Facts:
    """What is known when the training has ended."""

    end: End
    tail: str
    step: Optional[int] = None
    max_steps: Optional[int] = None
    loop_ended: bool = False  # the training loop ended by itself, told so by its own last line
    watchdog: Optional[str] = None  # why the runner ended it, None when it did not
    asked_steps: Optional[int] = None  # maxSteps of the plan
    asked_epochs: bool = False  # ms-swift's own --max_epochs, which ends below max_steps
    first_node: bool = True  # only this one writes the log


def judge(facts: Facts) -> tuple[str, Verdict]:
    """Outcome and cause."""
    if facts.watchdog in _ENDED_BY_US:
        cause, text = _ENDED_BY_US[facts.watchdog]
        return FAILED, Verdict(cause, f"{text} {facts.step}")
    reached = facts.step is not None and facts.max_steps is not None and facts.step >= facts.max_steps
    ended_well = facts.end.exit_code == 0 or facts.watchdog == watchdog.FLUSHING
    if facts.end.forwarded and not (ended_well and facts.loop_ended and reached):
        where = f" at step {facts.step} of {facts.max_steps}" if facts.step is not None else ""
        return INTERRUPTED, Verdict(causes.INTERRUPTED, f"stopped on request{where}")
    if ended_well and (facts.loop_ended or (not facts.first_node and facts.end.exit_code == 0)):
        return FINISHED, Verdict(_finished(facts, reached), _finished_message(facts))
    if facts.end.exit_code == 0:
        return FAILED, Verdict(causes.UNKNOWN, "the training exited with code 0 before its training loop had ended")
    hung = facts.watchdog == watchdog.FLUSHING  # failed, and hung on its way out: the kill was ours
    verdict = classify_failure(End(exit_code=1) if hung else facts.end, facts.tail)
    return (INTERRUPTED if verdict.cause is causes.INTERRUPTED else FAILED), verdict


def _finished(facts: Facts, reached: bool) -> Cause:
    if reached:
        exact = facts.asked_steps is not None and facts.step is not None and facts.step >= facts.asked_steps
        return causes.MAX_STEPS if exact else causes.MAX_EPOCHS
    if facts.asked_epochs or facts.step is None:
        return causes.MAX_EPOCHS
    return causes.EARLY_STOPPED


def _finished_message(facts: Facts) -> str:
    text = f"finished at step {facts.step} of {facts.max_steps}" if facts.step is not None else "finished"
    if facts.watchdog == watchdog.FLUSHING:
        text += "; the experiment tracker's upload did not end and was cut off, its local files are complete"
    return text
