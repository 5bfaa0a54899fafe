"""The runner's termination message, read from a pod that runs other people's code.

Nothing in it is believed: numbers must be finite numbers in range, texts are cut, and what does not parse is as if it
had not been said.
"""

from __future__ import annotations

import json
from typing import Any

from swiftop.model.facts import Outcome
from swiftop.model.text import printable
from swiftop.runner.protocol import LOG_BYTES, OUTCOMES
from swiftop.runner.report import BadRow, Member, read, read_acceleration, read_bad_rows, read_previous

_TEXT_CHARACTERS = 1024  # of a message or a suggestion


def outcome_of(message: str, members: tuple[Member, ...]) -> Outcome | None:
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
        report=read(members, said.get("progress")),
        previous=read_previous(said.get("progress")),
        bad_rows=tuple(BadRow(bad.line, printable(bad.why)) for bad in read_bad_rows(said)),
        acceleration=read_acceleration(said.get("progress")),
    )


def tail(text: str, size: int = LOG_BYTES) -> str:
    """Last ``size`` bytes of a text at most, cut between characters, and printable."""
    text = printable(text)
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= size else raw[-size:].decode("utf-8", "ignore")


def _text(value: object) -> str:
    return printable(value)[:_TEXT_CHARACTERS] if isinstance(value, str) else ""


def _word(value: object) -> str:
    """A condition's reason must be one CamelCase word; anything else would be refused by the API server."""
    return value if isinstance(value, str) and value.isascii() and value.isalnum() and value[0].isalpha() else ""
