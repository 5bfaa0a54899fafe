"""Strategic merge of ``runtime.podPatch`` into a pod template, as ``kubectl patch`` would do it.

Only merging: what would remove something, and what a patch must not touch, is refused before (`swiftop.api.pod_patch`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftop.api.pod_patch import CONTAINER_MERGE_KEYS, POD_MERGE_KEYS

_MERGE_KEYS = {**POD_MERGE_KEYS, **CONTAINER_MERGE_KEYS}  # all other lists are replaced


def strategic_merge(base: Any, patch: Any, field: str = "") -> Any:
    """``base`` with ``patch`` merged in; neither is changed."""
    if isinstance(base, Mapping) and isinstance(patch, Mapping):
        merged = dict(base)
        for key, value in patch.items():
            merged[key] = strategic_merge(base.get(key), value, key)
        return merged
    key = _MERGE_KEYS.get(field)
    if key is None or not isinstance(base, list) or not isinstance(patch, list):
        return patch
    return _merge_lists(base, patch, key)


def _merge_lists(base: list[Any], patch: list[Any], key: str) -> list[Any]:
    """Items of one key are merged in their old place, new ones follow."""
    changes = {item.get(key): item for item in patch}
    known = {item.get(key) for item in base}
    merged = [strategic_merge(item, changes.get(item.get(key), {})) for item in base]
    return merged + [item for item in patch if item.get(key) not in known]
