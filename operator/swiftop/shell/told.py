"""What is kept of a Kubernetes Event. Anybody may write one of a megabyte, and a namespace may hold any number."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

PAGE = 50  # Events of one page of a LIST: bounds what is in memory before it is cut
MOST = 2000  # Events of one kind of object and namespace; what comes after is not read

_MESSAGE, _WORD = 4096, 128  # characters; a UID, a time and a reason are one word
_TIMES = ("eventTime", "lastTimestamp")


def essence_of(event: Object) -> Object:
    """What `swiftop.observe.events` reads: about what it is, what it says, and when."""
    about, series = event.get("involvedObject") or {}, event.get("series") or {}
    return {
        "involvedObject": _words(about, "uid"),
        **_words(event, "reason", *_TIMES),
        "message": (event.get("message") or "")[:_MESSAGE],
        "series": _words(series, "lastObservedTime"),
        "metadata": _words(event.get("metadata") or {}, "creationTimestamp"),
    }


def _words(given: Object, *members: str) -> Object:
    return {member: given[member][:_WORD] for member in members if given.get(member)}
