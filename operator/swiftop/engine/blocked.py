"""What an error means that keeps a run's children from being made or mended."""

from __future__ import annotations

import logging

from swiftop.errors import Forbidden, Invalid, Refused
from swiftop.model.facts import Cause
from swiftop.model.verdict import Blocked
from swiftop.observe.events import refusal
from swiftop.reasons import Reason

log = logging.getLogger(__name__)

_LOOK_AGAIN = 30.0  # for what no watch tells: a quota that has room again, defaults that were mended


class Stop(Exception):
    """A child cannot be made now; carries the verdict."""

    def __init__(self, verdict: Blocked) -> None:
        super().__init__(verdict.cause.message)
        self.verdict = verdict


HINDRANCES = (Stop, Invalid, Forbidden, Refused)
"""Errors that last until something outside changes: they become the verdict, and no retry."""


def hindrance(error: Exception) -> Blocked:
    """Verdict of one of them. All problems of a spec stand in one message, each with its place and what to do."""
    match error:
        case Stop():
            return error.verdict
        case Invalid():
            # The spec is watched, but not the defaults that were merged into it.
            return Blocked(Cause(error.problems[0].reason, str(error)), stalled=True, wake=_LOOK_AGAIN)
        case Forbidden():
            return Blocked(refusal(_server_words(error, 403)), stalled=False, wake=_LOOK_AGAIN)
    text = f"the API server refuses what the spec asks for: {_server_words(error, 422)}"
    return Blocked(Cause(Reason.INVALID_SPEC, text), stalled=True, wake=_LOOK_AGAIN)


def mistake(error: Exception) -> Blocked:
    """A mistake of ours that one spec brings to light: said where its owner looks, instead of silent retries."""
    log.error("reading or building a run failed", exc_info=error)
    text = f"swiftop cannot work with this spec: {type(error).__name__}: {error}"
    advice = "this is a mistake in swiftop: report it with the operator's log"
    return Blocked(Cause(Reason.INTERNAL_ERROR, text, advice), stalled=True, wake=_LOOK_AGAIN)


def _server_words(error: Exception, code: int) -> str:
    """The API server's own words out of an error that also names the request."""
    text = str(error)
    return text.partition(f": {code} ")[2] or text
