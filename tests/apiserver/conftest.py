"""A namespace of its own for each test of the operator, and our API access to it."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from swiftop.api.crd import definition
from swiftop.kinds.registry import MODELS
from swiftop.shell.cluster import Cluster


@pytest.fixture(scope="session")
def kubeconfig(cluster: Any) -> Path:
    """Administrator of a cluster that has the CRDs, and no operator that the end-to-end tests may have left in it."""
    cluster.kubectl(
        "delete", "deployment", "swiftop", "-n", "swiftop-system", "--ignore-not-found", "--cascade=foreground"
    )
    items = [definition(model) for model in MODELS]
    crds = {"apiVersion": "v1", "kind": "List", "items": items}
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(crds))
    cluster.kubectl(
        "wait", "--for=condition=Established", "--timeout=30s", *(f"crd/{crd['metadata']['name']}" for crd in items)
    )
    return Path(cluster.kubeconfig)


@pytest.fixture
def namespace(cluster: Any, kubeconfig: Path) -> Iterator[str]:
    """Name of an empty namespace."""
    yield from _namespace(cluster)


@pytest.fixture
def other_namespace(cluster: Any, kubeconfig: Path) -> Iterator[str]:
    """Name of another empty namespace."""
    yield from _namespace(cluster)


def _namespace(cluster: Any) -> Iterator[str]:
    name = f"op-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
async def k8s(kubeconfig: Path) -> AsyncIterator[Cluster]:
    """Our own API access, as administrator."""
    cluster = await Cluster.connect(kubeconfig=str(kubeconfig))
    yield cluster
    await cluster.close()
