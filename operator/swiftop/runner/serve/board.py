"""What goes on: the requests in flight, and the counts of those that are over, by served name.

A token is counted where the engine makes it, in the engine's threads; all else happens in the loop of the guard.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from statistics import median
from typing import Optional

OK, FAILED, REFUSED, LEFT = "ok", "error", "refused", "left"
OUTCOMES = (OK, FAILED, REFUSED, LEFT)
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
RATE_SECONDS = 30.0  # that "of late" means for tokens
RECENT = 32  # and for first tokens

Clock = Callable[[], float]


class Call:
    """One request in flight. ``probe``: the guard's own, which is no client's."""

    def __init__(self, name: str, *, now: float, clock: Clock, inside: str = "", probe: bool = False) -> None:
        self.name = name
        self.inside = inside or name  # what the backend knows by another name, once its weights were replaced
        self.probe = probe
        self.started = now
        self.running = False  # the engine has taken it up
        self.first_token: Optional[float] = None
        self.last_token: Optional[float] = None
        self.tokens = 0
        self.counted = False  # one by one, by the engine
        self.prompt_tokens = 0
        self.sending = False  # waits for its client to read, not for the engine
        self.gone = threading.Event()  # nobody waits for the answer any more
        self.error: Optional[BaseException] = None  # of the engine, whatever ms-swift made of it
        self._clock = clock

    def beat(self, tokens: int = 0) -> None:
        """The engine gave a sign of life, just now; of some it is told how many tokens it made."""
        self.running = True
        self.last_token = self._clock()
        if self.first_token is None:
            self.first_token = self.last_token
        if tokens:
            self.counted = True
            self.tokens += tokens


CURRENT: ContextVar[Optional[Call]] = ContextVar("current", default=None)
"""The request that the running code works for."""


@dataclass
class Histogram:
    """Times, as Prometheus counts them."""

    counts: list[int] = field(default_factory=lambda: [0] * len(BUCKETS))
    count: int = 0
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.count += 1
        self.total += seconds
        self.counts = [count + (seconds <= bound) for count, bound in zip(self.counts, BUCKETS)]


@dataclass
class Tally:
    """What is over, of one name."""

    requests: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    tokens: int = 0
    prompt_tokens: int = 0
    first_token: Histogram = field(default_factory=Histogram)
    duration: Histogram = field(default_factory=Histogram)


class Board:
    """All of it."""

    def __init__(self, names: Iterable[str], clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self.tallies = {name: Tally() for name in names}
        self.calls: set[Call] = set()
        self._changed = clock()  # when a request ended, or the first one came
        self._last_token = clock()
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._rate: deque[tuple[float, int]] = deque([(clock(), 0)])

    def know(self, name: str) -> None:
        """A name that is served from now on. What was counted of one that was served before goes on."""
        self.tallies.setdefault(name, Tally())

    def begin(self, name: str, *, inside: str = "", probe: bool = False) -> Call:
        """A request is taken."""
        now = self._clock()
        if all(call.sending for call in self.calls):
            self._changed = now
        call = Call(name, now=now, clock=self._clock, inside=inside, probe=probe)
        self.calls.add(call)
        return call

    def end(self, call: Call, outcome: str) -> None:
        """It is over."""
        now = self._changed = self._clock()
        self.calls.discard(call)
        self._last_token = max(self._last_token, call.last_token or 0.0)
        if call.probe:
            return
        tally = self.tallies[call.name]
        tally.requests[outcome] += 1
        tally.tokens += call.tokens
        tally.prompt_tokens += call.prompt_tokens
        tally.duration.add(now - call.started)
        if call.first_token is not None:
            tally.first_token.add(call.first_token - call.started)
            self._recent.append(call.first_token - call.started)

    def engine_works(self) -> None:
        """It has made tokens, of whichever answer."""
        self._last_token = self._clock()

    @property
    def last_token(self) -> float:
        """When the engine last made one, for whomever."""
        return max([self._last_token, *(call.last_token or 0.0 for call in self.calls)])

    @property
    def silent_seconds(self) -> float:
        """How long requests have waited for the engine, with neither a token nor an end of any of them."""
        waiting = any(not call.sending for call in self.calls)
        return self._clock() - max(self.last_token, self._changed) if waiting else 0.0

    def clients(self, name: Optional[str] = None) -> list[Call]:
        """Requests of clients in flight, of that name."""
        return [call for call in self.calls if not call.probe and name in (None, call.name)]

    def uses(self, inside: str) -> bool:
        """Whether a request is in flight that the backend answers with what it knows by this name."""
        return any(call.inside == inside for call in self.calls)

    def queued(self, name: Optional[str] = None) -> int:
        """Those of them that the engine has not taken up."""
        return sum(not call.running for call in self.clients(name))

    def requests(self, *outcomes: str) -> int:
        """Requests that have ended so."""
        return sum(tally.requests[outcome] for tally in self.tallies.values() for outcome in outcomes or OUTCOMES)

    def tokens(self, name: Optional[str] = None) -> int:
        """Tokens made so far, those of requests in flight included."""
        over = sum(tally.tokens for known, tally in self.tallies.items() if name in (None, known))
        return over + sum(call.tokens for call in self.clients(name))

    @property
    def tokens_per_second(self) -> float:
        """Of late; asked about once a second."""
        now, made = self._clock(), self.tokens()
        self._rate.append((now, made))
        while len(self._rate) > 2 and now - self._rate[1][0] >= RATE_SECONDS:
            self._rate.popleft()
        since, before = self._rate[0]
        return (made - before) / max(now - since, 1.0)

    @property
    def first_token_seconds(self) -> Optional[float]:
        """The median of late; None before the first."""
        return median(self._recent) if self._recent else None
