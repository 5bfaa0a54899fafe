"""Errors that carry what to do next, classified where they arise.

``Invalid`` waits for the user, ``Transient`` for the next try. ``NotFound``, ``AlreadyExists``, ``Conflict`` and
``Forbidden`` are the API answers that a caller may want to handle itself.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that the user has to fix: where, what, and how."""

    path: str
    message: str
    suggestion: str = ""
    reason: str = "InvalidSpec"

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}"
        return f"{text} ({self.suggestion})" if self.suggestion else text


class SwiftopError(Exception):
    """Base of all errors of swiftop."""


class Invalid(SwiftopError):
    """The user must act; nothing is retried until the object changes."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(str(p) for p in problems))
        self.problems = problems


class Transient(SwiftopError):
    """The API server or the network failed for now; retried with growing pauses."""


class Conflict(Transient):
    """409 on an update: computed from a stale read, so read again at once."""


class NotFound(SwiftopError):
    """404."""


class AlreadyExists(SwiftopError):
    """409 on a create under a deterministic name."""


class Forbidden(SwiftopError):
    """403: missing RBAC, or a namespace on its way out."""


class Refused(SwiftopError):
    """400, 413 or 422: the API server refuses what swiftop sent; a retry cannot help."""
