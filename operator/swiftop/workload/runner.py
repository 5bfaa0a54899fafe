"""The ConfigMap that brings the runner into a pod of any image: immutable, named by its content, and checked by it."""

from __future__ import annotations

import base64
from typing import Any

from swiftop import names
from swiftop.runner.ends import EXIT_INTERRUPTED, EXIT_UNKNOWN
from swiftop.runner.protocol import FAILED, TERMINATION_LOG
from swiftop.swift import paths

FILE = "runner.pyz"

# Whoever may edit the namespace may put another ConfigMap under that name, and so other code into the pods of all who
# work there. Nothing of the folder that Python starts in is imported, and a signal is heard from the first moment on.
_START = f"""\
import sys
sys.path[:] = [entry for entry in sys.path if entry]
import os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit({EXIT_INTERRUPTED}))
import hashlib, json, runpy
path, name = sys.argv[1:]
with open(path, "rb") as file:
    found = hashlib.sha256(file.read()).hexdigest()
if not found.startswith(name.rpartition("-")[2]):
    text = f"ConfigMap {{name}} does not hold the runner that it is named after: delete it, swiftop makes it anew"
    print(f"swiftop: {{text}}", file=sys.stderr)
    with open("{TERMINATION_LOG}", "w") as log:
        json.dump({{"outcome": "{FAILED}", "reason": "Unknown", "message": text}}, log)
    sys.exit({EXIT_UNKNOWN})
sys.argv = [path]
runpy.run_path(path, run_name="__main__")
"""


def runner_command(config_map: str) -> list[str]:
    """How the runner of this ConfigMap is started."""
    return ["python", "-c", _START, paths.RUNNER, config_map]


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
