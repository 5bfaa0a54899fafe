"""Facts of the ConfigMap with the adapters that the pods of a deployment follow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from swiftop import names
from swiftop.runner.serve import declared

FILE = "{}.json"
"""Key of a revision's file."""
_FILE = re.compile(r"([0-9a-z]{1,63})\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptersFacts:
    """What the pods are told. ``resolved``: JSON of where the results lie that the newest file names."""

    files: Mapping[str, str] = field(default_factory=dict)  # by revision
    resolved: str = ""

    def digest(self, revision: str) -> str:
        """Of the file of a revision; empty where there is none."""
        text = self.files.get(revision)
        return declared.digest(text.encode("utf-8", "replace")) if text is not None else ""


def adapters_facts(config_map: Mapping[str, Any]) -> AdaptersFacts:
    """Facts of one ConfigMap."""
    annotations = config_map["metadata"].get("annotations") or {}
    known = {found[1]: text for key, text in (config_map.get("data") or {}).items() if (found := _FILE.fullmatch(key))}
    return AdaptersFacts(files=known, resolved=annotations.get(names.ANNOTATION_RESOLVED, ""))
