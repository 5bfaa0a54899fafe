"""What the tests of the cluster itself share."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cluster import busybox
from tests.cluster.fixture import RunningCluster


@pytest.fixture(scope="session")
def busybox_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of an image with a shell."""
    return busybox.archive(tmp_path_factory.mktemp("images") / "busybox.tar")


@pytest.fixture
def namespace(cluster: RunningCluster, busybox_archive: Path) -> Iterator[str]:
    """A namespace of the session's cluster, with the image at hand."""
    cluster.load(busybox_archive)
    name = f"cluster-{uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", name)
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=false")
