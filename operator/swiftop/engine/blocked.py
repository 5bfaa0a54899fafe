"""What an error means that keeps an object's children from being made or repaired."""

from __future__ import annotations

from typing import NamedTuple

from swiftop.errors import Forbidden, Invalid, Refused, SwiftopError
from swiftop.model.facts import Cause
from swiftop.model.verdict import Blocked
from swiftop.observe.events import refusal
from swiftop.reasons import Reason

_AGAIN_SECONDS = 30.0  # for what no watch tells: a quota that has room again, defaults that were fixed


class BlockedError(Exception):
    """A child cannot be made now; carries what to say."""

    def __init__(self, outlook: Blocked, *, requeue_after: float) -> None:
        super().__init__(outlook.cause.message)
        self.outlook = outlook
        self.requeue_after = requeue_after


BLOCKING = (BlockedError, Invalid, Forbidden, Refused)
"""Errors that last until something outside changes: they are said on the object, and are no reason to try at once."""


class Explanation(NamedTuple):
    """What to say, and when to try again; None when only an edit can help, which is watched."""

    outlook: Blocked
    requeue_after: float | None


def explained(error: Exception) -> Explanation:
    """Meaning of one of them. All problems of a spec stand in one message, each with its place and what to do."""
    match error:
        case BlockedError():
            return Explanation(error.outlook, error.requeue_after)
        case Invalid():
            # The spec is watched, but not the defaults that were merged into it.
            return Explanation(Blocked(Cause(error.problems[0].reason, str(error)), stalled=True), _AGAIN_SECONDS)
        case Forbidden():
            return Explanation(Blocked(refusal(_server_words(error, 403)), stalled=False), _AGAIN_SECONDS)
    text = f"the API server refuses what the spec asks for: {_server_words(error, 422)}"
    return Explanation(Blocked(Cause(Reason.INVALID_SPEC, text), stalled=True), _AGAIN_SECONDS)


def mistake(error: Exception) -> Explanation:
    """A mistake of ours that one spec brings to light: said where its owner looks, instead of silent retries."""
    text = f"swiftop cannot work with this spec: {type(error).__name__}: {error}"
    advice = "this is a mistake in swiftop: report it with the operator's log"
    return Explanation(Blocked(Cause(Reason.INTERNAL_ERROR, text, advice), stalled=True), _AGAIN_SECONDS)


def failing(error: Exception, failures: int) -> Cause:
    """What is said of an object that cannot be reconciled for now."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, SwiftopError):
        message = f"tried {failures} times in a row: {text}"
        return Cause(Reason.RECONCILE_FAILING, message, "it is tried again; look at the API server and its webhooks")
    advice = "it is tried again; this is a mistake in swiftop: report it with the operator's log"
    return Cause(Reason.INTERNAL_ERROR, text, advice)


def _server_words(error: Exception, code: int) -> str:
    """The API server's own words out of an error that also names the request."""
    text = str(error)
    return text.partition(f": {code} ")[2] or text
