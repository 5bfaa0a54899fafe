"""How long a task may say nothing.

An endless template, a pattern of an adapter, or a hub that answers byte by byte would hold the pod for ever.
"""

from __future__ import annotations

from typing import Optional

from .task import Task

LONGEST = 3600.0  # seconds; the hubs' own limits and a large file on a slow volume do not come near it


class Quiet:
    """Listens to one task after the other: its progress, and its output, which is heard in another thread."""

    def __init__(self, longest: float = LONGEST) -> None:
        self._longest = longest
        self._task: Optional[Task] = None
        self._told: Optional[int] = None
        self._since: Optional[float] = None
        self._heard = False

    def begin(self, task: Task) -> None:
        """Another task is about to start."""
        self._task, self._told, self._since = task, None, None

    def hear(self) -> None:
        """It printed something."""
        self._heard = True

    def check(self, now: float) -> Optional[str]:
        """Why it has to be ended, None while it may go on."""
        if self._task is None:
            return None
        told = self._task.told_at
        if self._heard or self._since is None or told != self._told:
            self._heard, self._told, self._since = False, told, now
        if now - self._since < self._longest:
            return None
        return f"has said nothing for {self._longest / 60:.0f} minutes"
