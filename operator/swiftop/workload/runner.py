"""The ConfigMap that brings the runner into a pod of any image. Immutable, and named by its content."""

from __future__ import annotations

import base64
from typing import Any

from swiftop import names

FILE = "runner.pyz"


def runner_config_map(namespace: str, *, digest: str, data: bytes) -> dict[str, Any]:
    """One per namespace and content: a Job of an older operator keeps the runner that it was made with."""
    return {
        "apiVersion": names.CONFIG_MAP.api_version,
        "kind": names.CONFIG_MAP.kind,
        "metadata": {
            "name": names.runner_config_map_name(digest),
            "namespace": namespace,
            "labels": {names.LABEL_MANAGED_BY: names.MANAGED_BY},
        },
        "immutable": True,
        "binaryData": {FILE: base64.b64encode(data).decode("ascii")},
    }
