"""The life of an embedded cluster: side by side with another, killed, recovered, ended without a trace."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from images.cache import cache_root
from tests.cluster.fixture import RunningCluster
from tests.cluster.pods import eventually, pod
from tools.cluster import cgroups, images, kubectl, locks
from tools.cluster.api import Api
from tools.cluster.backend import choose
from tools.cluster.embedded import EmbeddedCluster
from tools.cluster.host import run_checked
from tools.cluster.kind import GPU_KEEPER
from tools.cluster.layout import ClusterError, Layout, Options

SIDE = "life"
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(not isinstance(choose(SIDE), EmbeddedCluster), reason="kind owns the life of its clusters"),
]


# Where a kubelet, containerd and its network plugins of a machine keep what is theirs.
HOST_DIRECTORIES = ("/var/lib/cni", "/var/lib/kubelet", "/var/log/containers", "/opt/containerd", "/run/containerd")


@pytest.fixture(scope="module")
def host_files() -> set[Path]:
    """What is in the machine's own directories before a cluster comes."""
    return files_of_host()


@pytest.fixture(scope="module")
def side(busybox_archive: Path, host_files: set[Path]) -> Iterator[EmbeddedCluster]:
    """A second cluster, with an image in its store."""
    side = EmbeddedCluster(SIDE)
    with locks.session(side.layout):
        side.purge()
        try:
            side.up(Options(gpus=2))
            side.load(busybox_archive)
            yield side
        finally:
            side.purge()


def files_of_host() -> set[Path]:
    return {file for directory in HOST_DIRECTORIES for file in Path(directory).rglob("*")}


def namespaces_of(pid: int) -> set[str]:
    return {str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in ("net", "mnt", "pid_for_children")}


def namespaces_below(pid: int) -> set[str]:
    """Of a process and all its descendants, pods among them: the namespaces that are not the machine's."""
    family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return set().union(*map(namespaces_of, family)) - namespaces_of(os.getpid())


def processes_in(namespaces: set[str], *, at: float) -> list[int]:
    """Of those that started by then: the kernel gives the number of a namespace that is gone to a new one."""
    found = []
    for process in psutil.process_iter():
        try:
            if namespaces_of(process.pid) & namespaces and process.create_time() < at:
                found.append(process.pid)
        except (OSError, psutil.NoSuchProcess):
            continue
    return found


def run_a_pod(cluster: EmbeddedCluster) -> list[Path]:
    """A pod that stays, and the cgroups that are its own."""
    running = RunningCluster(cluster)
    running.apply(pod("default", "sleeper", "sleep 600", gpus=2))
    running.kubectl("wait", "--for=condition=Ready", "pod/sleeper", "--timeout=60s")
    return cgroups_of(running.get("pod", "sleeper")["metadata"]["uid"], cluster.layout)


def cgroups_of(uid: str, layout: Layout) -> list[Path]:
    return [found for root in cgroups.present(layout.cgroup) for found in root.rglob(f"*pod{uid}")]


def test_two_clusters_stand_side_by_side(cluster: RunningCluster, namespace: str, side: EmbeddedCluster) -> None:
    run_a_pod(side)
    first, second = Api.from_kubeconfig(cluster.kubeconfig), side.api()
    assert first.port != second.port
    uids = {api.get("/api/v1/namespaces/kube-system")["metadata"]["uid"] for api in (first, second)}
    assert len(uids) == 2
    assert second.get("/api/v1/nodes/node1")["status"]["allocatable"]["nvidia.com/gpu"] == "2"


def test_pods_run_below_the_cgroup_of_their_cluster(
    cluster: RunningCluster, namespace: str, side: EmbeddedCluster
) -> None:
    cluster.apply(pod(namespace, "sleeper", "sleep 600"))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/sleeper", "-n", namespace, "--timeout=60s")
    run_a_pod(side)
    layouts = (Layout.of(cluster.name), side.layout)
    pods = (
        cluster.get("pod", "sleeper", "-n", namespace)["metadata"]["uid"],
        RunningCluster(side).get("pod", "sleeper")["metadata"]["uid"],
    )
    own = [[bool(cgroups_of(uid, layout)) for uid in pods] for layout in layouts]
    assert own == [[True, False], [False, True]]


def test_up_is_idempotent_but_does_not_change_a_running_cluster(side: EmbeddedCluster) -> None:
    before = side.state()
    side.up(Options(gpus=2))
    assert side.state() == before
    with pytest.raises(ClusterError, match="other options"):
        side.up(Options(gpus=3))


def test_a_new_build_of_our_image_takes_the_place_of_the_old_one(side: EmbeddedCluster, tmp_path: Path) -> None:
    def listed() -> list[str]:
        return run_checked([*side.ctr(), "images", "ls", "--quiet"], "containerd refuses").split()

    before = listed()
    for number in ("1", "2"):
        content = tmp_path / number
        content.write_text(number)
        images.write_archive(tmp_path / "image.tar", f"localhost/swiftop/life:{number}", {"x": content}, ["/x"])
        side.load(tmp_path / "image.tar")
    eventually(lambda: len(listed()) == len(before) + 2, "one name and its shadow are there")
    assert set(listed()) - set(before) >= {"localhost/swiftop/life:2"}
    assert set(before) < set(listed())


@pytest.mark.parametrize("victim", ["supervisor", "init"])
def test_a_killed_cluster_dies_as_a_whole_and_comes_back(side: EmbeddedCluster, victim: str) -> None:
    left = run_a_pod(side)
    state, namespaces = side.state(), namespaces_below(side.state()["init"])
    now = time.time()
    os.kill(state[victim], signal.SIGKILL)
    eventually(lambda: not side.running() and not processes_in(namespaces, at=now), "every process is gone")
    assert [cgroup for cgroup in left if cgroup.exists()], "the kill was to leave cgroups of the pod behind"
    side.up(Options(gpus=2))
    assert not [cgroup for cgroup in left if cgroup.exists()]
    assert side.state()["port"] == state["port"]
    assert side.api().get("/api/v1/pods")["items"] == []
    assert side.containers() == []
    run_a_pod(side)  # from the kept image store: nothing was loaded again


def test_a_kubelet_leaves_the_settings_of_the_machine_alone(side: EmbeddedCluster) -> None:
    mounts = Path(f"/proc/{side.state()['init']}/mountinfo").read_text().splitlines()
    hidden = {line.split()[4].removeprefix("/proc/sys/") for line in mounts if " /proc/sys/" in line}
    assert {"vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"} <= hidden


def test_down_leaves_nothing(side: EmbeddedCluster, host_files: set[Path]) -> None:
    run_a_pod(side)
    state, namespaces = side.state(), namespaces_below(side.state()["init"])
    now = time.time()
    assert len(processes_in(namespaces, at=now)) > 8
    assert len([name for name in namespaces if name.startswith("net:")]) == 2, "the cluster's and the pod's"
    side.down()
    assert not side.running()
    eventually(lambda: not processes_in(namespaces, at=now), "every process has ended")
    mounts = Path("/proc/self/mountinfo").read_text()
    assert not [name for name in namespaces if name in mounts], "a namespace lives on, pinned by a mount"
    assert cgroups.present(side.layout.cgroup) == []
    assert files_of_host() - host_files == set()
    assert not side.layout.volatile.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", state["port"]), timeout=1)


def test_gpus_can_be_switched_off(side: EmbeddedCluster) -> None:
    side.up(Options(gpus=0))
    running = RunningCluster(side)
    running.apply(pod("default", "greedy", "true", gpus=1), pod("default", "modest", "sleep 600"))
    running.kubectl("wait", "--for=condition=Ready", "pod/modest", "--timeout=60s")
    running.kubectl("wait", "--for=condition=PodScheduled=false", "pod/greedy", "--timeout=60s")
    message = running.get("pod", "greedy")["status"]["conditions"][0]["message"]
    assert "Insufficient nvidia.com/gpu" in message


def test_the_control_plane_alone_writes_an_audit_log() -> None:
    alone = EmbeddedCluster(f"{SIDE}-alone")
    try:
        alone.up(Options(control_plane_only=True, audit=True))
        api = alone.api()
        assert api.get("/api/v1/nodes")["items"] == []
        api.create("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "noted"}})
        eventually(lambda: '"name":"noted"' in alone.layout.audit_log.read_text(), "the request is in the audit log")
        assert "requestObject" not in alone.layout.audit_log.read_text()
        gpus_are_kept_on(alone, api)
    finally:
        alone.purge()
    assert not alone.layout.root.exists()


def gpus_are_kept_on(cluster: EmbeddedCluster, api: Api) -> None:
    """What keeps GPUs in a node of kind, on a node that nobody else looks after."""
    node = "/api/v1/nodes/idle"

    def counts() -> list[str]:
        status = api.get(node)["status"]
        return [status.get(part, {}).get("nvidia.com/gpu", "") for part in ("capacity", "allocatable")]

    api.create("/api/v1/nodes", {"metadata": {"name": "idle"}})
    tool = Path(kubectl.find(cache_root())).parent
    environment = kubectl.environment(cluster.kubeconfig) | {"KEEPER_LOCK": str(cluster.layout.volatile / "keeper")}
    environment["PATH"] = f"{tool}:{environment['PATH']}"
    command = ["sh", "-c", GPU_KEEPER.read_text(), "keep-gpus", "idle", "3"]
    keeper = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        eventually(lambda: counts() == ["3", "3"], "the node has GPUs")
        assert subprocess.run(command, env=environment, check=False, timeout=10).returncode == 0, "one is enough"
        lost = {"nvidia.com/gpu": "0"}
        api.patch(f"{node}/status", {"status": {"capacity": lost, "allocatable": lost}})
        eventually(lambda: counts() == ["3", "3"], "the node has its GPUs again")
    finally:
        os.killpg(keeper.pid, signal.SIGKILL)
        keeper.wait()
