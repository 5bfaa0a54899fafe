"""What a cluster can do, whichever way it runs, and which way that is on this machine."""

import os
from pathlib import Path
from typing import Protocol

from tools.cluster import host
from tools.cluster.embedded import EmbeddedCluster
from tools.cluster.kind import KindCluster
from tools.cluster.layout import ClusterError, Options

BACKEND_VARIABLE = "SWIFTOP_CLUSTER_BACKEND"


class Cluster(Protocol):
    """One named cluster."""

    @property
    def name(self) -> str:
        """The cluster's name."""

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig that works from anywhere on this machine."""

    def running(self) -> bool:
        """Whether it is up."""

    def build(self) -> None:
        """Build what it is made of, once; starts nothing."""

    def up(self, options: Options) -> None:
        """Bring it up and wait until it can be relied on; does nothing where it is up."""

    def down(self) -> None:
        """End it and leave nothing running; does nothing where it is down."""

    def purge(self) -> None:
        """End it and forget what was kept for the next time."""

    def load(self, archive: Path) -> list[str]:
        """Bring an image archive into the cluster unless it is there; returns the image names."""

    def signal(self, component: str, number: int) -> None:
        """Send a signal to a component, for example kube-apiserver."""

    def status(self) -> dict[str, str]:
        """What a user wants to know."""


def choose(name: str) -> Cluster:
    """Use kind where Docker answers, the embedded cluster elsewhere; the environment can decide otherwise.

    A cluster that runs decides for itself: Docker may have come since, and nobody else would ever end it.
    """
    backends: dict[str, Cluster] = {"embedded": EmbeddedCluster(name), "kind": KindCluster(name)}
    wanted = os.environ.get(BACKEND_VARIABLE, "")
    if wanted and wanted not in backends:
        raise ClusterError(f"{BACKEND_VARIABLE}={wanted}: use kind or embedded")
    docker = host.docker_answers()
    running = ""
    if backends["embedded"].running():
        running = "embedded"
    elif docker and backends["kind"].running():
        running = "kind"
    if wanted and running and wanted != running:
        raise ClusterError(f"{name} runs as {running}: take it down without {BACKEND_VARIABLE}={wanted}, or use --name")
    return backends[running or wanted or ("kind" if docker else "embedded")]
