"""Objects that are refused or accepted, as patches to the smallest valid one of their kind.

One table for both guards: the API server (tests/apiserver/test_crd*.py) and ``swiftop preview``, which has none
(tests/unit/api/test_validate*.py). Each kind has its own: sftrun_cases.py, export_cases.py, upload_cases.py.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

Patch = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A patch to the spec of ``base``, the field that is blamed, and a part of the message where it is our own."""

    name: str
    spec: Patch
    path: str = ""
    message: str = ""
    metadata: Patch = field(default_factory=dict)
    base: Patch = field(kw_only=True)

    def object(self) -> Patch:
        """The whole object."""
        return merged(self.base, {"metadata": self.metadata, "spec": self.spec})

    def __str__(self) -> str:
        return f"{self.base['kind']}: {self.name}"


def merged(base: Patch, patch: Patch) -> Patch:
    """JSON merge patch (RFC 7386): objects are merged, ``None`` removes, everything else replaces."""
    out = copy.deepcopy(base)
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merged(out[key], value)
        else:
            out[key] = merged({}, value) if isinstance(value, dict) else value
    return out
