"""Why a hub did not do what it was asked to, by what to do about it; and how often it is asked again."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from typing import Callable, Optional, TypeVar

from ..ends import EndClass
from . import causes
from .request import Push

AUTH, FORBIDDEN, ABSENT, EXISTS, CONFLICT = "auth", "forbidden", "absent", "exists", "conflict"
BUSY, UNREACHABLE, REFUSED = "busy", "unreachable", "refused"

_CAUSES: dict[str, EndClass] = {
    AUTH: causes.HUB_AUTH_FAILED,
    FORBIDDEN: causes.HUB_FORBIDDEN,
    CONFLICT: causes.PUSH_CONFLICT,
    BUSY: causes.HUB_UNREACHABLE,
    UNREACHABLE: causes.HUB_UNREACHABLE,
}
_MAY_PASS = frozenset({CONFLICT, BUSY, UNREACHABLE})
LONGEST_WAIT = 300.0  # whatever the hub asks for: it may have meant it for somebody else

T = TypeVar("T")


class Failure(Exception):
    """The hub refused, or did not answer. An adapter makes it out of what its client raises."""

    def __init__(self, kind: str, message: str, retry_after: Optional[float] = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after

    @property
    def may_pass(self) -> bool:
        """Whether the same again may succeed."""
        return self.kind in _MAY_PASS

    @property
    def cause(self) -> EndClass:
        """How the task ends by it."""
        return _CAUSES.get(self.kind, causes.HUB_REFUSED)


def by_status(status: int, message: str, retry_after: Optional[str] = None) -> Failure:
    """What an HTTP status means, the same for both hubs."""
    kinds = {401: AUTH, 403: FORBIDDEN, 404: ABSENT, 409: CONFLICT, 412: CONFLICT, 408: UNREACHABLE, 429: BUSY}
    kind = kinds.get(status, UNREACHABLE if status >= 500 else REFUSED)
    return Failure(kind, message, _seconds(retry_after))


def of_library(error: BaseException) -> Optional[Failure]:
    """What is raised under any hub's client: by an HTTP library for no answer, half of one or one that is not JSON, and
    by the client itself when the answer is another than its hub gives.
    """
    libraries = {cls.__module__.partition(".")[0] for cls in type(error).__mro__}
    if libraries & {"requests", "urllib3", "httpx", "httpcore"} or isinstance(error, json.JSONDecodeError):
        return Failure(UNREACHABLE, one_line(error))
    if isinstance(error, (AttributeError, KeyError, IndexError, TypeError, ValueError, RecursionError)):
        return Failure(REFUSED, f"its answer is not what was expected ({type(error).__name__}: {one_line(error)})")
    return None


def one_line(error: BaseException) -> str:
    """An exception's text, which may have several."""
    return " ".join(str(error).split())


def _seconds(text: Optional[str]) -> Optional[float]:
    try:
        return float(text) if text else None
    except ValueError:  # a date, which neither hub sends
        return None


@dataclass
class Patience:
    """How often and how long the hub is asked again. One for all steps of a task, so that its end is bounded."""

    attempts: int
    backoff: float
    left: float  # seconds of waiting
    sleep: Callable[[float], None] = field(default=time.sleep)

    @classmethod
    def of(cls, push: Push) -> Patience:
        """As the request says."""
        return cls(push.attempts, push.backoff_seconds, push.patience_seconds)

    def call(self, work: Callable[[], T]) -> T:
        """Do it until it succeeds, fails for good, or patience is over. For what may be done twice."""
        attempt = 1
        while True:
            try:
                return work()
            except Failure as failure:
                self.wait(failure, attempt)
            attempt += 1

    def wait(self, failure: Failure, attempt: int) -> None:
        """Before the next attempt; raises the failure when there is to be none."""
        if not failure.may_pass or attempt >= self.attempts or not self.pause(attempt, failure.retry_after):
            raise failure

    def pause(self, attempt: int, asked: Optional[float] = None) -> bool:
        """Wait as long as the hub asks for, or longer each time; False without waiting when patience is over."""
        if asked is None or math.isnan(asked):
            asked = self.backoff * 2 ** (attempt - 1)
        seconds = min(max(asked, 0.0), LONGEST_WAIT)
        if seconds > self.left:
            return False
        self.left -= seconds
        self.sleep(seconds)
        return True
