"""What a class of ends is, and the exit codes; the list of all is in ``causes``."""

from __future__ import annotations

import re
from dataclasses import dataclass

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
EXIT_UNKNOWN = 20
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL: try again

_LONGEST = 4096  # characters of an exception that are looked into: some patterns take the square of it
_DATA_CODE = re.compile(r"(-packages|/ms-swift)/(swift/(llm/)?dataset|datasets)/")


@dataclass(frozen=True)
class EndClass:
    """One class of ends."""

    reason: str
    exit_code: int
    suggestion: str = ""
    patterns: tuple[str, ...] = ()
    transient: bool = False  # the same again may succeed: something outside of the run was at fault
    vague: bool = False  # a symptom that another process' real failure leaves behind; the real one wins over it
    in_data: tuple[str, ...] = ()  # patterns of what anybody may raise: they count in the code that reads datasets

    def matches(self, text: str, where: str = "") -> bool:
        """Whether ``text`` (an exception's type and message), raised in the file ``where``, is this cause."""
        patterns = (*self.patterns, *self.in_data) if _DATA_CODE.search(where) else self.patterns
        # What follows may be a library's own farewell.
        shown = (text.partition("\n")[0] if self.vague else text)[:_LONGEST]
        return any(re.search(pattern, shown, re.IGNORECASE | re.MULTILINE) for pattern in patterns)
