"""Which volume a path belongs to, and what an error of the file system at that path means. Pure.

The folders are those of ``swiftop/swift/paths.py``, which the runner cannot import: a test compares them. A dataset
may be read by links below /tmp (``train/view.py``).
"""

from __future__ import annotations

import re
from typing import NamedTuple, Optional

from . import machine
from .ends import EndClass

OUTPUT, CACHE, SOURCE, ELSEWHERE = "output", "cache", "source", "elsewhere"

_PATH = re.compile(r"['\"`](/[^'\"`\n]{1,1000})['\"`]|(?<![\w.:/'\"`-])(/[\w.@+-]{1,255}(?:/[\w.@+-]{1,255}){0,30})")
_FOLDERS = (
    (re.compile(r"^/swiftop/output(?:/|$)"), OUTPUT, "the output volume"),
    (re.compile(r"^/swiftop/cache(?:/|$)"), CACHE, "the cache volume"),
    (re.compile(r"^(?:/tmp/swiftop-data)?/data/([^/]+)"), SOURCE, "claim {} (datasets)"),
    (re.compile(r"^/models/([^/]+)"), SOURCE, "claim {} (models)"),
    (re.compile(r"^/swiftop/datasets/([^/]+)"), SOURCE, "ConfigMap {} (datasets)"),
    (re.compile(r"^/swiftop/files/([^/]+)"), SOURCE, "{} of spec.files"),
    (re.compile(r"^/swiftop/(?:source|adapters)(?:/|$)"), SOURCE, "the volume of the checkpoint that it starts from"),
    (re.compile(r"^/dev/shm(?:/|$)"), ELSEWHERE, "/dev/shm (resources.sharedMemory)"),
    (re.compile(r"^/tmp(?:/|$)"), ELSEWHERE, "the pod's /tmp"),
)
_READ_ONLY = re.compile(r"Read-only file system|\[Errno 30\]|os error 30\b", re.IGNORECASE)
_DENIED = re.compile(r"Permission denied|Operation not permitted|\[Errno (?:1|13)\]|os error 13\b", re.IGNORECASE)
_FILE_SYSTEM = re.compile(
    r"\[Errno \d|os error \d|code: \d|Read-only file system|file handle|PermissionError|No space left"
)


class Volume(NamedTuple):
    """Where a path lies, and how a person calls that."""

    kind: str
    name: str


def volume_of(path: str) -> Volume:
    """The volume of a path in the pod."""
    for pattern, kind, name in _FOLDERS:
        found = pattern.match(path)
        if found:
            return Volume(kind, name.format(*found.groups()))
    return Volume(ELSEWHERE, "the container's own file system")


def told(text: str) -> Optional[Volume]:
    """The volume of the path that an error of the file system names; None without either."""
    if not _FILE_SYSTEM.search(text):
        return None
    found = _PATH.search(text)
    return volume_of(found.group(1) or found.group(2)) if found else None


def denied(text: str, volume: Optional[Volume], *, output: EndClass) -> Optional[EndClass]:
    """Cause of an error that says that something may not be written or read; ``output`` is the one of the own volumes.

    An HTTP server that denies something names no path of the pod.
    """
    read_only = _READ_ONLY.search(text) is not None
    if volume is None or not (read_only or _DENIED.search(text)):
        return output if read_only else None
    if volume.kind in (OUTPUT, CACHE):
        return output
    if volume.kind == SOURCE:
        return machine.SOURCE_READ_ONLY if read_only else machine.SOURCE_UNREADABLE
    return machine.PATH_NOT_WRITABLE
