"""Was it finished, interrupted or failed? Pure: what is known of an ended training in, the outcome out.

Exit 0 does not mean finished: ms-swift saves and exits 0 when it is told to stop. Nor does every finished training exit
0: its tracker may hang after the last step and be ended by the watchdog.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from .. import causes
from ..classify import EndedChild, Judged, classify_failure
from ..dropped import DroppedRows
from ..ends import EndClass
from ..program import Ended
from ..protocol import FAILED, FINISHED, INTERRUPTED
from . import watchdog

_ENDED_BY_US = {
    watchdog.STALLED: (causes.STALLED, "no sign of progress after step"),
    watchdog.NOT_A_NUMBER: (causes.LOSS_NAN, "the loss is NaN at step"),
}


@dataclass(frozen=True)
class EndedTraining:
    """What is known when the training has ended."""

    end: EndedChild
    tail: str
    step: Optional[int] = None
    max_steps: Optional[int] = None
    loop_ended: bool = False  # the training loop ended by itself, as its own last line says
    asked_steps: Optional[int] = None  # maxSteps of the plan
    asked_epochs: bool = False  # ms-swift's own --max_epochs, which ends below max_steps
    first_node: bool = True  # only this one writes the log
    rows: Optional[DroppedRows] = None  # what the whole output told of dropped rows


def judge(training: EndedTraining) -> Ended:
    """Outcome and cause."""
    if training.end.ended_by in _ENDED_BY_US:
        cause, text = _ENDED_BY_US[training.end.ended_by]
        return Ended(FAILED, Judged(cause, f"{text} {training.step}"))
    reached = training.step is not None and training.max_steps is not None and training.step >= training.max_steps
    ended_well = training.end.exit_code == 0 or training.end.ended_by == watchdog.FLUSHING
    if training.end.forwarded and not (ended_well and training.loop_ended and reached):
        where = f" at step {training.step} of {training.max_steps}" if training.step is not None else ""
        return Ended(INTERRUPTED, Judged(causes.INTERRUPTED, f"stopped on request{where}"))
    if ended_well and (training.loop_ended or (not training.first_node and training.end.exit_code == 0)):
        return Ended(FINISHED, Judged(_finished(training, reached), _finished_message(training)))
    if training.end.exit_code == 0:
        return Ended(
            FAILED, Judged(causes.UNKNOWN, "the training exited with code 0 before its training loop had ended")
        )
    hung = training.end.ended_by == watchdog.FLUSHING  # failed, and hung on its way out: the kill was ours
    judged = classify_failure(EndedChild(exit_code=1) if hung else training.end, training.tail, training.rows)
    return Ended(INTERRUPTED if judged.cause is causes.INTERRUPTED else FAILED, judged)


def _finished(training: EndedTraining, reached: bool) -> EndClass:
    if reached:
        exact = training.asked_steps is not None and training.step is not None and training.step >= training.asked_steps
        return causes.MAX_STEPS if exact else causes.MAX_EPOCHS
    if training.asked_epochs or training.step is None:
        return causes.MAX_EPOCHS
    return causes.EARLY_STOPPED


def _finished_message(training: EndedTraining) -> str:
    text = f"finished at step {training.step} of {training.max_steps}" if training.step is not None else "finished"
    if training.end.ended_by == watchdog.FLUSHING:
        text += "; the experiment tracker's upload did not end and was cut off, its local files are complete"
    return text
