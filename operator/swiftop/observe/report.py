"""What the runner says about itself: its progress report and its termination message.

Both come out of a pod that runs other people's code, so nothing is believed: numbers must be finite numbers, texts are
cut, and what does not parse is as if it had not been said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swiftop.runner.protocol import LOG_BYTES, OUTCOMES, TRAINING, Previous, attribute, read, read_previous

_TEXT_CHARACTERS = 1024  # of a message or a suggestion


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One report of the runner. None is what it does not know (yet)."""

    updated: int | None = None
    phase: int = 0  # 0 preparing, 1 training, 2 evaluating, 3 saving, 4 finished
    step: int | None = None
    max_steps: int | None = None
    epoch: float | None = None
    loss: float | None = None
    eval_loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    seconds_per_step: float | None = None
    eta_seconds: int | None = None
    memory_gib: float | None = None
    checkpoint_step: int | None = None
    checkpoint_time: int | None = None
    best_step: int | None = None
    best_metric: float | None = None
    tracker_workspace: str = ""  # whose key it is, as only the tracker's server knows


PREPARING = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an execution ended, in the runner's words."""

    outcome: str  # one of OUTCOMES
    reason: str
    message: str = ""
    suggestion: str = ""
    log: str = ""
    progress: Progress | None = None
    previous: Previous | None = None  # of the execution before


def progress_of(report: object) -> Progress | None:
    """Progress in a report, or None when it is none."""
    if not isinstance(report, Mapping):
        return None
    known = Progress(**{attribute(name): value for name, value in read(TRAINING, report).items()})  # type: ignore[arg-type]
    return None if known == Progress() and "phase" not in report else known


def outcome_of(message: str) -> Outcome | None:
    """Outcome in a container's termination message, or None when the runner did not write it."""
    try:
        said: Any = json.loads(message)
    except (ValueError, RecursionError):  # the second by thousands of brackets
        return None
    if not isinstance(said, dict) or said.get("outcome") not in OUTCOMES:
        return None
    return Outcome(
        outcome=said["outcome"],
        reason=_word(said.get("reason")),
        message=_text(said.get("message")),
        suggestion=_text(said.get("suggestion")),
        log=tail(log if isinstance(log := said.get("log"), str) else ""),
        progress=progress_of(said.get("progress")),
        previous=read_previous(said.get("progress")),
    )


def tail(text: str, size: int = LOG_BYTES) -> str:
    """Last ``size`` bytes of a text at most, cut between characters."""
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= size else raw[-size:].decode("utf-8", "ignore")


def _text(value: object) -> str:
    return value[:_TEXT_CHARACTERS] if isinstance(value, str) else ""


def _word(value: object) -> str:
    """A condition's reason must be one CamelCase word; anything else would be refused by the API server."""
    return value if isinstance(value, str) and value.isascii() and value.isalnum() and value[0].isalpha() else ""
