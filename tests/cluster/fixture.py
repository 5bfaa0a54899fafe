"""The cluster as a pytest fixture: `from tests.cluster.fixture import cluster` in a conftest.

Without further ado a session gets a fresh cluster named `test` (one of several processes one of its own, `test-gw0`)
and takes it down at the end. While writing tests,
SWIFTOP_TEST_CLUSTER=NAME uses the cluster of that name, brings it up where needed and leaves it running.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from images.cache import cache_root
from tools.cluster import kubectl, locks
from tools.cluster.backend import Cluster, choose
from tools.cluster.layout import Layout, Options

KEEP_VARIABLE = "SWIFTOP_TEST_CLUSTER"
DEFAULT_TEST_NAME = "test"
PROCESS_VARIABLE = "PYTEST_XDIST_WORKER"  # which of several processes of tests this is


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


@contextmanager
def running_cluster() -> Iterator[RunningCluster]:
    """One that is kept, or one of its own."""
    kept = os.environ.get(KEEP_VARIABLE)
    if kept:
        with locks.session(Layout.of(kept), shared=True):
            backend = choose(kept)
            backend.up(Options())
            yield RunningCluster(backend)
        return
    process = os.environ.get(PROCESS_VARIABLE)
    name = f"{DEFAULT_TEST_NAME}-{process}" if process else DEFAULT_TEST_NAME
    with locks.session(Layout.of(name)):
        backend = choose(name)
        backend.down()
        try:
            backend.up(Options())
            yield RunningCluster(backend)
        finally:
            backend.down()


@pytest.fixture(scope="session")
def cluster() -> Iterator[RunningCluster]:
    """One cluster for the whole session."""
    with running_cluster() as running:
        yield running
