"""The termination message: one JSON of at most ``TERMINATION_BYTES``, because the kubelet cuts a longer one off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .advice import suggestion
from .classify import head_bytes, tail_bytes
from .program import Ended
from .protocol import LOG_BYTES, TERMINATION_BYTES
from .report import BAD_ROWS

MESSAGE_BYTES = 700
BAD_ROWS_BYTES = 2200  # of what is wrong with bad rows, shared by all of them


def termination_message(ended: Ended, *, log: str, progress: dict[str, Any], program: str = "") -> bytes:
    """Everything fits because the log gives way, and then the last bad rows: JSON may be much longer than its text."""
    message: dict[str, Any] = {
        "outcome": ended.outcome,
        "reason": ended.judged.cause.reason,
        "message": head_bytes(ended.judged.message, MESSAGE_BYTES),
        "suggestion": suggestion(ended.judged.cause, program),
        "log": "",
        "progress": progress,
    }
    if ended.bad_rows:
        shown = ended.bad_rows[:BAD_ROWS]
        message["badRows"] = [[bad.line, head_bytes(bad.why, BAD_ROWS_BYTES // len(shown))] for bad in shown]
    room = LOG_BYTES
    while room > 0:
        message["log"] = tail_bytes(log, room)
        raw = _encode(message)
        if len(raw) <= TERMINATION_BYTES:
            return raw
        encoded = len(_encode(message["log"]))
        room = int(room * max(encoded - (len(raw) - TERMINATION_BYTES), 0) / encoded) - 8
    message["log"] = ""
    while message.get("badRows") and len(_encode(message)) > TERMINATION_BYTES:
        message["badRows"].pop()
    while message["message"] and len(_encode(message)) > TERMINATION_BYTES:
        message["message"] = message["message"][: len(message["message"]) // 2]
    if len(_encode(message)) > TERMINATION_BYTES:  # the report alone is too long, which no sound one is
        message["progress"] = {}
    return _encode(message)


def _encode(message: Any) -> bytes:
    return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def write(path: Path, content: bytes) -> bool:
    """Write the message in place: the kubelet mounts this very file."""
    try:
        path.write_bytes(content)
    except OSError:
        return False
    return True
