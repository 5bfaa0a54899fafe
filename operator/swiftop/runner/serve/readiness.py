"""Which names are served, and whether the pod is ready: every name answers, nothing failed, and it does not drain.

Names come and go where adapters do. What fails of such a change is told, and keeps no pod from being ready: what it
answered before goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Optional

from ..classify import shorten
from ..ends import EndClass
from .causes import ENGINE_DEAD

LOAD_FAILED, MISFIT, FAILING = "LoadFailed", "OtherModel", "Failing"
AS_BASE, AS_ANOTHER, CHANGES_MODEL = "AnswersAsBase", "AnswersAsAnother", "ChangesModel"


class Readiness:
    """Made in the running loop."""

    def __init__(self, names: Sequence[str], *, gated: bool = False) -> None:
        self.names = tuple(names)
        self.passed = not gated  # the gate
        self.draining = False
        self.broken = asyncio.Event()  # no request can be answered any more
        self.failure = ""
        self.cause: Optional[EndClass] = None
        self.bad: dict[str, tuple[str, str]] = {}  # by name: a word, and what happened
        self._answering: set[str] = set()
        self._inside: dict[str, str] = {}  # by name: what the backend knows it by, where that is another one
        self._late: set[str] = set()  # names that came while others answered, and have never answered

    @property
    def answering(self) -> tuple[str, ...]:
        """Names that have answered with the right weights."""
        return tuple(name for name in self.names if name in self._answering)

    @property
    def healthy(self) -> bool:
        """Whether the engine can answer at all."""
        return not self.broken.is_set()

    @property
    def ready(self) -> bool:
        """Whether requests should come here."""
        return self.healthy and not self.draining and self.passed and self.all_answer

    @property
    def all_answer(self) -> bool:
        """Whether no name is missing."""
        return self._answering | self._late >= set(self.names)

    def inside(self, name: str) -> str:
        """What the backend knows a name by."""
        return self._inside.get(name, name)

    def answered(self, name: str) -> None:
        """A name answers, with its own weights."""
        self._answering.add(name)

    def refuse(self, name: str, word: str, text: str) -> None:
        """A name is not served: it would answer wrongly, or not at all."""
        self._answering.discard(name)
        self.bad.setdefault(name, (word, shorten(text)))

    def point(self, name: str, inside: str) -> None:
        """From now on a name, maybe a new one, is answered with what the backend knows by this one."""
        if name not in self.names:
            self.names = (*self.names, name)
        self._inside[name] = inside
        self._answering.add(name)
        self._late.discard(name)
        self.bad.pop(name, None)

    def hold(self, name: str, word: str, text: str) -> bool:
        """What a name is declared to be from now on is not served: what it was goes on, and a new one waits. Whether
        that is news."""
        if name not in self.names:
            self.names = (*self.names, name)
            self._late.add(name)
        known, self.bad[name] = self.bad.get(name), (word, shorten(text))
        return self.bad[name] != known

    def remove(self, name: str) -> None:
        """It is served no more, as if it had never been."""
        self.names = tuple(known for known in self.names if known != name)
        self._answering.discard(name)
        self._late.discard(name)
        self._inside.pop(name, None)
        self.bad.pop(name, None)

    def fail(self, cause: EndClass, text: str) -> None:
        """The end: the first failure counts."""
        if self.healthy:
            self.cause, self.failure = cause, shorten(text)
            self.broken.set()

    def engine_died(self, text: str) -> None:
        """The engine cannot answer any more."""
        self.fail(ENGINE_DEAD, f"the engine has failed: {text}")

    def why_not_served(self, name: str) -> Optional[str]:
        """Why a known name is not answered for; None when it is."""
        if not self.healthy:
            return self.failure
        if name in self._answering:
            return None
        word, text = self.bad.get(name, ("", ""))
        return f"{name} is not served: {text}" if word else f"{name} is not ready yet"

    def told(self) -> dict[str, Any]:
        """For whoever asks ``/ready``."""
        names = {name: self._told_of(name) for name in self.names}
        state = "draining" if self.draining else "failed" if not self.healthy else "serving"
        return {"ready": self.ready, "state": state, "gate": "passed" if self.passed else "not passed", "names": names}

    def _told_of(self, name: str) -> Optional[str]:
        if name not in self._answering:
            return self.why_not_served(name)
        return f"answering as before: {self.bad[name][1]}" if name in self.bad else "answering"
