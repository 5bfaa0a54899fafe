"""What a class of ends is, and the exit codes; the list of all is in ``causes``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

EXIT_FINISHED = 0
EXIT_USER = 3
EXIT_DATA = 4
EXIT_CUDA_MEMORY = 5
EXIT_HOST_MEMORY = 6
EXIT_NETWORK = 7
EXIT_COLLECTIVE = 8
EXIT_STALLED = 9
EXIT_TRACKER = 10
EXIT_STORAGE = 11
EXIT_ARTIFACT = 12
EXIT_ENGINE = 13
EXIT_INFRASTRUCTURE = 14
EXIT_UNKNOWN = 20
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL: try again

_HEAD, _END = 6000, 2000  # characters of a text that are looked at: a pattern may take quadratic time


@dataclass(frozen=True)
class EndClass:
    """One class of ends."""

    reason: str
    exit_code: int
    suggestion: str = ""
    patterns: tuple[str, ...] = ()
    transient: bool = False  # the same again may succeed: something outside of the run was at fault
    vague: bool = False  # a symptom that another process' real failure leaves behind; the real one wins over it
    loose: tuple[str, ...] = ()  # patterns of what others may say as well: the place that raised it is better

    def matches(self, text: str, *, loose: bool = False) -> bool:
        """Whether ``text`` (an exception's type and message) is this cause."""
        shown = text.partition("\n")[0] if self.vague else text  # what follows may be a library's own farewell
        return any(pattern.search(shown) for pattern in _compiled(self.loose if loose else self.patterns))


@lru_cache(maxsize=256)
def _compiled(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE | re.MULTILINE) for pattern in patterns)


def bounded(text: str) -> str:
    """As much of a text as patterns are matched against."""
    return text if len(text) <= _HEAD + _END else f"{text[:_HEAD]} … {text[-_END:]}"
