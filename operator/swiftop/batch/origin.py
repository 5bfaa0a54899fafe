"""Where the results of another object lie that one starts from: read off its status, pinned by the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from swiftop.batch.conditions import ended
from swiftop.model.conditions import by_type
from swiftop.model.facts import Cause
from swiftop.model.kind import Object
from swiftop.model.verdict import Blocked
from swiftop.reasons import ConditionType, Reason
from swiftop.swift import paths

SOURCE_DIR = "/swiftop/source"
"""Where the claim of the other object is mounted, read-only, in a folder of its name."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The other object's results, as its status tells where they lie."""

    claim_name: str
    path: str
    uid: str

    @property
    def directory(self) -> str:
        """Their folder in the pods of the object that starts from them."""
        return paths.join(f"{SOURCE_DIR}/{self.claim_name}", self.path)


def origin(other: Object | None) -> Origin | None:
    """Where the other object's results lie; None when nobody can tell any more."""
    output = ((other or {}).get("status") or {}).get("output")
    if other is None or not output:
        return None
    return Origin(output.get("claimName", ""), output.get("path", ""), other["metadata"]["uid"])


def pinned(source: Mapping[str, str]) -> Origin | None:
    """The same, read back from ``status.resolved.source``."""
    if not source:
        return None
    return Origin(source.get("claimName", ""), source.get("path", ""), source.get("uid", ""))


def at_rest(status: Mapping[str, Any]) -> bool:
    """Whether nothing more is written: it has ended, or is suspended for good until somebody says otherwise."""
    known = by_type(status).get(ConditionType.SUSPENDED, {})
    return ended(status) or (known.get("status") == "True" and known.get("reason") == Reason.SUSPENDED)


def unusable(text: str, advice: str) -> Blocked:
    """No waiting would help."""
    return Blocked(Cause(Reason.SOURCE_UNUSABLE, text, advice), stalled=True)
