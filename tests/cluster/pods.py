"""Objects for the tests of the cluster, and waiting for what becomes of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.cluster import busybox

WAIT_SECONDS = 60.0


def pod(
    namespace: str, name: str, script: str, *, gpus: int = 0, claims: Mapping[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    """A pod that runs a shell script as an ordinary user; claims are mounted at the paths they are given."""
    mounts = dict(claims or {})
    container = {
        "name": "main",
        "image": busybox.IMAGE,
        "command": ["/bin/sh", "-c", script],
        "resources": {"limits": {"nvidia.com/gpu": gpus} if gpus else {}},
        "volumeMounts": [{"name": claim, "mountPath": path} for claim, path in mounts.items()],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsUser": 1000},
            "volumes": [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in mounts],
            "containers": [container],
            **spec,
        },
    }


def claim(namespace: str, name: str, mode: str) -> dict[str, Any]:
    """A claim of the default StorageClass."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}},
    }


def service(namespace: str, name: str, app: str, ports: Sequence[Mapping[str, int]], **spec: Any) -> dict[str, Any]:
    """A Service in front of the pod of that name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"app": app}, "ports": [dict(port) for port in ports], **spec},
    }


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, and say what did not happen."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not within {WAIT_SECONDS:.0f} s: {what}"
        time.sleep(0.1)
