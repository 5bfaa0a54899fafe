"""Pod Security admission of a real API server takes every pod that an allowed patch makes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.fixture import KubectlError
from tests.unit.api.test_pod_patch import ALLOWED
from tests.unit.workload.test_restricted import pod_of

pytestmark = pytest.mark.cluster


@pytest.fixture
def restricted(cluster: Any, namespace: str) -> Iterator[str]:
    """A namespace of the strictest level, and the runtime class that one of the patches names."""
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    runtime = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "kata"}, "handler": "kata"}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(runtime))
    yield namespace
    cluster.kubectl("delete", "runtimeclass", "kata")


def test_every_allowed_patch_makes_a_pod_that_the_restricted_level_takes(cluster: Any, restricted: str) -> None:
    refused = {name: error for name in ALLOWED if (error := refusal(cluster, restricted, pod_of(ALLOWED[name])))}
    assert refused == {}


def test_a_pod_that_is_not_hardened_is_refused(cluster: Any, restricted: str) -> None:
    pod = pod_of({})
    del pod["containers"][0]["securityContext"]
    assert "violates PodSecurity" in refusal(cluster, restricted, pod)


def refusal(cluster: Any, namespace: str, spec: Any) -> str:
    """What the API server says against a pod; empty when it takes it."""
    del spec["priorityClassName"]  # of the platform, which there is none of here
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "patched", "namespace": namespace}, "spec": spec}
    try:
        cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(pod))
    except KubectlError as error:
        return str(error)
    return ""
