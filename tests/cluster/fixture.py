"""The pytest fixture ``cluster``: one real Kubernetes for the whole session, started fresh and stopped at its end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.embedded import EmbeddedCluster
from tests.cluster.layout import Options

NAME = "test"


@dataclass(frozen=True)
class RunningCluster:
    """What a test may ask of the cluster."""

    backend: EmbeddedCluster

    @property
    def kubeconfig(self) -> Path:
        """Admin's kubeconfig; its server is a loopback port."""
        return self.backend.kubeconfig

    def kubectl(self, *args: str, input: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run kubectl as admin; raises CalledProcessError when ``check`` and it fails."""
        env = os.environ | {"KUBECONFIG": str(self.kubeconfig)}
        done = subprocess.run(["kubectl", *args], env=env, input=input, capture_output=True, text=True, check=False)
        if check and done.returncode:
            done.check_returncode()
        return done

    def load(self, archive: Path) -> list[str]:
        """Import an image archive; returns the names it brought."""
        return self.backend.load(archive)


@pytest.fixture(scope="session")
def cluster() -> Iterator[RunningCluster]:
    """A fresh cluster named ``test``; SWIFTOP_KEEP_CLUSTER=1 leaves it running, to look into it."""
    backend = EmbeddedCluster(NAME)
    backend.up(Options())
    yield RunningCluster(backend)
    if not os.environ.get("SWIFTOP_KEEP_CLUSTER"):
        backend.down()
