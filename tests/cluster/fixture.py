"""The cluster as a pytest fixture: `from tests.cluster.fixture import cluster` in a conftest.

Without further ado a session gets a fresh cluster named `test` and takes it down at the end. While writing tests,
SWIFTOP_TEST_CLUSTER=NAME uses the cluster of that name, brings it up where needed and leaves it running.
"""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import kubectl
from tests.cluster.backend import Cluster, choose
from tests.cluster.layout import ClusterError, Options, cache_root

KEEP_VARIABLE = "SWIFTOP_TEST_CLUSTER"
DEFAULT_TEST_NAME = "test"


class KubectlError(Exception):
    """kubectl's exit status was not 0; the text is what it printed."""


class RunningCluster:
    """A cluster that is up."""

    def __init__(self, cluster: Cluster) -> None:
        """Take over a cluster."""
        self._cluster = cluster
        self._kubectl = kubectl.find(cache_root())

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self._cluster.name

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig that works from anywhere on this machine."""
        return self._cluster.kubeconfig

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """What kubectl prints; raises KubectlError with its error text."""
        done = subprocess.run(
            [self._kubectl, *arguments],
            env=kubectl.environment(self.kubeconfig),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        if done.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr}{done.stdout}")
        return done.stdout

    def get(self, *arguments: str) -> dict[str, Any]:
        """An object or a list, parsed."""
        document: dict[str, Any] = yaml.safe_load(self.kubectl("get", *arguments, "-o", "json"))
        return document

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects that are written in Python."""
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def load(self, archive: Path) -> list[str]:
        """Bring an image archive into the cluster unless it is there; returns the image names."""
        return self._cluster.load(archive)

    def signal(self, component: str, number: int) -> None:
        """Send a signal to a component, for example kube-apiserver; one that dies is started again."""
        self._cluster.signal(component, number)


@pytest.fixture(scope="session")
def cluster() -> Iterator[RunningCluster]:
    """One cluster for the whole session."""
    kept = os.environ.get(KEEP_VARIABLE)
    if kept:
        backend = choose(kept)
        backend.up(Options())
        yield RunningCluster(backend)
        return
    backend = choose(DEFAULT_TEST_NAME)
    with _session_lock(backend.name):
        backend.down()
        try:
            backend.up(Options())
            yield RunningCluster(backend)
        finally:
            backend.down()


@contextmanager
def _session_lock(name: str) -> Iterator[None]:
    """Two sessions must not take each other's cluster away."""
    path = cache_root() / "clusters" / f"{name}.session"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClusterError(
                f"another test session uses cluster {name}: wait for it, or set {KEEP_VARIABLE} to another name"
            ) from None
        yield
