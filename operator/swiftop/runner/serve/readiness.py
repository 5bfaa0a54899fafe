"""Which names are served, and whether the pod is ready: every name answers, nothing failed, and it does not drain."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Optional

from ..classify import shorten
from ..ends import EndClass
from .causes import ENGINE_DEAD

LOAD_FAILED, MISFIT, FAILING = "LoadFailed", "OtherModel", "Failing"
AS_BASE, AS_ANOTHER = "AnswersAsBase", "AnswersAsAnother"


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
        return len(self._answering) == len(self.names)

    def answered(self, name: str) -> None:
        """A name answers, with its own weights."""
        self._answering.add(name)

    def refuse(self, name: str, word: str, text: str) -> None:
        """A name is not served: it would answer wrongly, or not at all."""
        self._answering.discard(name)
        self.bad.setdefault(name, (word, shorten(text)))

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
        names = {name: "answering" if name in self._answering else self.why_not_served(name) for name in self.names}
        state = "draining" if self.draining else "failed" if not self.healthy else "serving"
        return {"ready": self.ready, "state": state, "gate": "passed" if self.passed else "not passed", "names": names}
