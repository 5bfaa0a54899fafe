"""What the runner says about itself: its progress report and its termination message.

Both come out of a pod that runs other people's code, so nothing is believed: numbers must be finite numbers, texts are
cut, and what does not parse is as if it had not been said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from swiftop.model.facts import PREPARING, Outcome, Progress

LOG_BYTES = 2048  # of the log tail in the status
_TEXT_CHARACTERS = 1024  # of a message or a suggestion
_WORKSPACE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LARGEST = 2**53  # beyond it a JSON number is no exact integer in most readers


def progress_of(report: object) -> Progress | None:
    """Progress in a report, or None when it is none."""
    if not isinstance(report, Mapping):
        return None
    known = Progress(
        phase=_whole(report, "phase") or PREPARING,
        step=_whole(report, "step"),
        max_steps=_whole(report, "maxSteps"),
        epoch=_number(report, "epoch"),
        loss=_number(report, "loss"),
        eval_loss=_number(report, "evalLoss"),
        learning_rate=_number(report, "learningRate"),
        grad_norm=_number(report, "gradNorm"),
        seconds_per_step=_number(report, "secondsPerStep"),
        eta_seconds=_whole(report, "etaSeconds"),
        memory_gib=_number(report, "memoryGiB"),
        checkpoint_step=_whole(report, "checkpointStep"),
        checkpoint_time=_whole(report, "checkpointTime"),
        best_step=_whole(report, "bestStep"),
        best_metric=_number(report, "bestMetric"),
        tracker_workspace=name if _WORKSPACE.fullmatch(name := _text(report.get("trackerWorkspace"))) else "",
    )
    return None if known == Progress() and "phase" not in report else known


def outcome_of(message: str) -> Outcome | None:
    """Outcome in a container's termination message, or None when the runner did not write it."""
    try:
        said: Any = json.loads(message)
    except (ValueError, RecursionError):  # the second by thousands of brackets
        return None
    if not isinstance(said, dict) or said.get("outcome") not in ("finished", "interrupted", "failed"):
        return None
    return Outcome(
        outcome=said["outcome"],
        reason=_word(said.get("reason")),
        message=_text(said.get("message")),
        suggestion=_text(said.get("suggestion")),
        log=tail(log if isinstance(log := said.get("log"), str) else ""),
        progress=progress_of(said.get("progress")),
    )


def tail(text: str, size: int = LOG_BYTES) -> str:
    """Last ``size`` bytes of a text at most, cut between characters."""
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= size else raw[-size:].decode("utf-8", "ignore")


def _number(report: Mapping[Any, Any], name: str) -> float | None:
    value = report.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= _LARGEST else None  # not for NaN either


def _whole(report: Mapping[Any, Any], name: str) -> int | None:
    value = _number(report, name)
    return int(value) if value is not None and value >= 0 else None


def _text(value: object) -> str:
    return value[:_TEXT_CHARACTERS] if isinstance(value, str) else ""


def _word(value: object) -> str:
    """A condition's reason must be one CamelCase word; anything else would be refused by the API server."""
    return value if isinstance(value, str) and value.isascii() and value.isalnum() and value[0].isalpha() else ""
