"""The life of an embedded cluster: side by side with another, killed, recovered, ended without a trace."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import cgroups
from tests.cluster.api import Api
from tests.cluster.backend import choose
from tests.cluster.embedded import EmbeddedCluster
from tests.cluster.fixture import RunningCluster
from tests.cluster.layout import ClusterError, Options
from tests.cluster.pods import eventually, pod

SIDE = "life"
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not isinstance(choose(SIDE), EmbeddedCluster), reason="kind owns the life of its clusters"),
]


@pytest.fixture(scope="module")
def side(busybox_archive: Path) -> Iterator[EmbeddedCluster]:
    """A second cluster, with an image in its store."""
    side = EmbeddedCluster(SIDE)
    side.purge()
    try:
        side.up(Options(gpus=2))
        side.load(busybox_archive)
        yield side
    finally:
        side.purge()


def namespaces_of(pid: int) -> set[str]:
    return {str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in ("net", "mnt", "pid_for_children")}


def processes_in(namespaces: set[str]) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if namespaces_of(int(entry.name)) & namespaces:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def run_a_pod(cluster: EmbeddedCluster) -> None:
    running = RunningCluster(cluster)
    running.apply(pod("default", "sleeper", "sleep 600", gpus=2))
    running.kubectl("wait", "--for=condition=Ready", "pod/sleeper", "--timeout=60s")


def test_two_clusters_stand_side_by_side(cluster: RunningCluster, side: EmbeddedCluster) -> None:
    run_a_pod(side)
    first, second = Api.from_kubeconfig(cluster.kubeconfig), side.api()
    assert first.port != second.port
    uids = {api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"] for api in (first, second)}
    assert len(uids) == 2
    assert second.get("/api/v1/nodes/node1")["status"]["allocatable"]["nvidia.com/gpu"] == "2"


def test_up_is_idempotent_but_does_not_change_a_running_cluster(side: EmbeddedCluster) -> None:
    before = side.state()
    side.up(Options(gpus=2))
    assert side.state() == before
    with pytest.raises(ClusterError, match="other options"):
        side.up(Options(gpus=3))


@pytest.mark.parametrize("victim", ["supervisor", "init"])
def test_a_killed_cluster_dies_as_a_whole_and_comes_back(side: EmbeddedCluster, victim: str) -> None:
    if not side.api().get("/api/v1/namespaces/default/pods")["items"]:
        run_a_pod(side)
    state, namespaces = side.state(), namespaces_of(side.state()["init"])
    os.kill(state[victim], signal.SIGKILL)
    eventually(lambda: not side.running() and not processes_in(namespaces), "every process is gone")
    assert cgroups.present(side.layout.cgroup), "the kill was to leave cgroups behind"
    side.up(Options(gpus=2))
    assert side.state()["port"] == state["port"]
    assert side.api().get("/api/v1/pods")["items"] == []
    assert side.containers() == []
    run_a_pod(side)  # from the kept image store: nothing was loaded again


def test_down_leaves_nothing(side: EmbeddedCluster) -> None:
    state, namespaces = side.state(), namespaces_of(side.state()["init"])
    assert len(processes_in(namespaces)) > 8
    side.down()
    assert not side.running()
    assert processes_in(namespaces) == []
    assert cgroups.present(side.layout.cgroup) == []
    assert str(side.layout.root) not in Path("/proc/self/mounts").read_text()
    assert not side.layout.volatile.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", state["port"]), timeout=1)


def test_the_control_plane_alone_writes_an_audit_log() -> None:
    alone = EmbeddedCluster(f"{SIDE}-alone")
    try:
        alone.up(Options(control_plane_only=True, audit=True))
        api = alone.api()
        assert api.get("/api/v1/nodes")["items"] == []
        api.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "noted"}})
        eventually(lambda: '"name":"noted"' in alone.layout.audit_log.read_text(), "the request is in the audit log")
        assert "requestObject" not in alone.layout.audit_log.read_text()
    finally:
        alone.purge()
    assert not alone.layout.root.exists()
