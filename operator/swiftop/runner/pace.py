"""How long a step will still take, by the bytes that it has done since it was first seen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Callable

SOONEST = 3.0  # seconds: of less time than that nothing can be told


class Pace:
    """Of the steps of one program, one after the other. Any thread may ask: what it keeps is replaced as a whole."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: tuple[object, float, float] = ("", 0.0, 0.0)  # which step, when, and how much was done then

    def of(self, step: str, told: Mapping[str, Any]) -> dict[str, Any]:
        """``bytesDone`` and ``bytesTotal`` as the step has told, and the seconds that are left as ``etaSeconds``."""
        found = {name: told.get(name) for name in ("bytesDone", "bytesTotal")}
        done, total = found["bytesDone"], found["bytesTotal"]
        if not isinstance(done, int) or not isinstance(total, int):
            return found
        name, now = (step, told.get("phase")), self._clock()
        if self._began[0] != name or done < self._began[2]:
            self._began = (name, now, done)
        _, since, before = self._began
        if done > before and now - since >= SOONEST:
            found["etaSeconds"] = round((now - since) * max(total - done, 0) / (done - before))
        return found
