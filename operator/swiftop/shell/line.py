"""Keys that wait for a worker, in lines of their own for each group, which take turns.

A group is a namespace: one with ten thousand keys in line delays the key of another by one turn. Nor may a group have
all workers: its keys may all hang. Where a processor is what they wait for, ours or that of the API server, fewer in
work are as fast, and each of them makes the others wait, so a group then has but a few.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable
from itertools import chain
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_SHARE = 0.75  # of all workers, for one group
_SOME, _FEW = 8, 2  # in work of one group while a processor is short: as long as it is alone, and beside others
_LAG = 0.05  # seconds of one turn of the event loop
_FADES = 0.9  # what is left of a long turn after the next one
_SLOW = 0.1  # seconds of the API server for one object, beyond those of the way to it
_LONGEST = 1.0  # seconds that one answer counts for: a read that hangs says nothing of the others
_WEIGHT = 0.1  # of one answer among the last ones
_FORGETS = 1e-5  # of the quickest answer with each later one: the way may become longer, a flood may last for hours


class Line(Generic[K]):
    """Keys in line by group, and how many of each group are in work."""

    def __init__(self, group: Callable[[K], Hashable]) -> None:
        self._group = group
        self._lines: dict[Hashable, deque[K]] = {}  # in the order of their turns
        self._working: dict[Hashable, int] = {}
        self._lag = 0.0  # seconds that a turn of the event loop took lately
        self._answer = 0.0  # seconds that the API server took for one object lately
        self._quickest = math.inf  # of these answers
        self.workers = 1

    def put(self, key: K) -> None:
        """To the end of its group's line."""
        self._lines.setdefault(self._group(key), deque()).append(key)

    def take(self) -> K | None:
        """The first key of the next group that may have one more in work; None when there is none."""
        for group in self._lines:
            if self._working.get(group, 0) < self._most(group):
                line = self._lines.pop(group)
                key = line.popleft()
                if line:
                    self._lines[group] = line  # to the end of the turns
                self._working[group] = self._working.get(group, 0) + 1
                return key
        return None

    def done(self, key: K) -> None:
        """A key that was taken is worked off."""
        group = self._group(key)
        self._working[group] -= 1
        if not self._working[group]:
            del self._working[group]

    def turned(self, seconds: float) -> None:
        """A turn of the event loop took so long. That one is quick does not yet make it a quick loop."""
        self._lag = max(seconds, self._lag * _FADES)

    def answered(self, seconds: float) -> None:
        """The API server took so long to read one object."""
        seconds = min(seconds, _LONGEST)
        self._quickest = min(self._quickest, seconds)
        self._quickest += (seconds - self._quickest) * _FORGETS
        self._answer += (seconds - self._answer) * _WEIGHT

    def _most(self, group: Hashable) -> int:
        alone = all(other == group for other in chain(self._lines, self._working))
        share = math.ceil(self.workers * _SHARE)
        if self._lag < _LAG and self._answer - self._quickest < _SLOW:
            return share
        return min(_SOME if alone else _FEW, share)
