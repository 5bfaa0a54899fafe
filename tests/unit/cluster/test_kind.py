"""The kind backend against stand-ins for docker and kind, and which backend is chosen."""

import copy
import fcntl
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cluster.commands import calls, stand_in
from tools.cluster import build, host, images, kind
from tools.cluster.api import Api, Object
from tools.cluster.backend import choose
from tools.cluster.embedded import EmbeddedCluster
from tools.cluster.kind import KindCluster
from tools.cluster.layout import ClusterError, Layout, Options

NODE = "k-control-plane"
IMAGE = "localhost/x:1"
DOCKER = f"""
here=$(dirname "$0")
case "$*" in
"inspect --format {{{{.State.Running}}}} {NODE}") cat $here/node;;
"exec {NODE} "*" images ls") echo REF TYPE DIGEST; sed 's/$/ type sha256:1/' $here/names 2>/dev/null; true;;
exec*|info) ;;
*) exit 1;;
esac
"""
KIND = f"""
here=$(dirname "$0")
case "$1" in
create) echo true > $here/node;;
delete) rm -f $here/node $here/names;;
load) echo {IMAGE} > $here/names;;
get) echo "kubeconfig of $4";;
esac
"""
EXEC = f"docker exec {NODE}"


class Answers:
    """The API server of a kind cluster: one node, and a provisioner that takes a moment to roll out."""

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {
            "/api/v1/nodes": {"items": [{"metadata": {"name": NODE}, "status": {"capacity": {}, "allocatable": {}}}]},
            kind.PROVISIONER_CONFIG: {"data": {"config.json": "{}", "setup": "mkdir"}},
            kind.PROVISIONER: {
                "metadata": {"generation": 1},
                "spec": {"replicas": 1},
                "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
            },
        }
        self.patched: list[str] = []
        self.looks = 0

    def ready(self) -> bool:
        return True

    def get(self, path: str) -> Object:
        found: Object = copy.deepcopy(self.objects[path])
        if path == kind.PROVISIONER and found["status"]["observedGeneration"] < found["metadata"]["generation"]:
            self.looks += 1
            if self.looks == 3:
                self.objects[path]["status"]["observedGeneration"] = found["metadata"]["generation"]
        return found

    def patch(self, path: str, body: Object) -> None:
        self.patched.append(path)
        if path == kind.PROVISIONER:
            self.objects[path]["metadata"]["generation"] += 1
        elif path == kind.PROVISIONER_CONFIG:
            self.objects[path]["data"] |= body["data"]


@pytest.fixture
def bin_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with kind in it, and docker on the PATH."""
    monkeypatch.setenv("SWIFTOP_CACHE", str(tmp_path))
    monkeypatch.delenv("SWIFTOP_CLUSTER_BACKEND", raising=False)
    directory = build.directory_of(build.KIND, tmp_path)
    stand_in(directory, "kind", KIND)
    stand_in(directory, "docker", DOCKER)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    return directory


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Answers:
    answers = Answers()
    monkeypatch.setattr(Api, "from_kubeconfig", lambda path: answers)
    return answers


def forget_calls(directory: Path) -> None:
    (directory / "calls").unlink(missing_ok=True)


def made(directory: Path) -> list[str]:
    """The calls that change something."""
    return [call for call in calls(directory) if call.startswith(("kind create", "kind delete"))]


CREATED = ["kind delete cluster --name k", "kind create cluster --wait 180s --kubeconfig {} --name k"]


def created(cluster: KindCluster) -> list[str]:
    return [call.format(cluster.kubeconfig) for call in CREATED]


def test_up_creates_the_cluster_once_and_waits_for_its_provisioner(bin_: Path, api: Answers) -> None:
    cluster = KindCluster("k")
    assert not cluster.running()
    cluster.up(Options(gpus=3))
    assert made(bin_) == created(cluster)
    assert cluster.kubeconfig.read_text() == "kubeconfig of k\n"
    assert api.patched == [f"/api/v1/nodes/{NODE}/status", kind.PROVISIONER_CONFIG, kind.PROVISIONER]
    assert api.looks == 3
    assert cluster.status()["state"] == "running"
    forget_calls(bin_)
    api.patched.clear()
    cluster.up(Options(gpus=3))
    assert made(bin_) == []
    assert kind.PROVISIONER not in api.patched  # a provisioner that has its settings is left alone


def test_gpus_are_kept_in_the_node(bin_: Path, api: Answers) -> None:
    KindCluster("k").up(Options(gpus=3))
    text = (bin_ / "calls").read_text()
    start = f"docker exec --detach --env KUBECONFIG=/etc/kubernetes/admin.conf {NODE} sh -c "
    assert f"{start}{kind.GPU_KEEPER.read_text()} keep-gpus {NODE} 3\n" in text


def test_without_gpus_nothing_is_kept(bin_: Path, api: Answers) -> None:
    KindCluster("k").up(Options(gpus=0))
    assert "--detach" not in (bin_ / "calls").read_text()
    assert f"/api/v1/nodes/{NODE}/status" not in api.patched


def test_a_provisioner_that_does_not_come_back_is_an_error(
    bin_: Path, api: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "ROLLOUT_SECONDS", 0.1)
    api.looks = 100
    with pytest.raises(ClusterError, match="provisioner did not start again"):
        KindCluster("k").up(Options())


def test_a_running_cluster_with_other_options_is_not_reused(bin_: Path, api: Answers) -> None:
    KindCluster("k").up(Options(gpus=3))
    with pytest.raises(ClusterError, match="k runs with other options"):
        KindCluster("k").up(Options(gpus=4))
    with pytest.raises(ClusterError, match="only the embedded cluster"):
        KindCluster("k").up(Options(audit=True))


@pytest.mark.parametrize("damage", ["stopped", "incomplete"])
def test_a_cluster_that_was_stopped_or_never_completed_is_made_anew(bin_: Path, api: Answers, damage: str) -> None:
    cluster = KindCluster("k")
    cluster.up(Options())
    if damage == "stopped":
        (bin_ / "node").write_text("false\n")
        assert not cluster.running()
    else:
        cluster.layout.state.unlink()
        assert cluster.status()["state"] == "waiting for its creation to end"
    forget_calls(bin_)
    cluster.up(Options())
    assert made(bin_) == created(cluster)


def test_an_image_is_imported_once_and_again_into_another_node(bin_: Path, api: Answers, tmp_path: Path) -> None:
    archive = tmp_path / "x.tar"
    images.write_archive(archive, IMAGE, {"bin/x": Path("/bin/true")}, ["/bin/x"])
    cluster, load = KindCluster("k"), f"kind load image-archive {archive} --name k"
    with pytest.raises(ClusterError, match="k is not running: bring it up first"):
        cluster.load(archive)
    cluster.up(Options())
    for _ in range(2):
        assert cluster.load(archive) == [IMAGE]
    assert calls(bin_).count(load) == 1
    cluster.down()
    cluster.up(Options())
    cluster.load(archive)
    assert calls(bin_).count(load) == 2


@pytest.mark.parametrize(
    ("component", "call"),
    [
        ("kubelet", f"{EXEC} systemctl kill --signal=9 kubelet"),
        ("kube-apiserver", f"{EXEC} pkill -9 -x -f kube-apiserver .*"),
    ],
)
def test_components_are_reached_in_the_node(bin_: Path, component: str, call: str) -> None:
    KindCluster("k").signal(component, signal.SIGKILL)
    assert calls(bin_) == [call]


def test_a_component_out_of_reach_is_refused_by_name(bin_: Path) -> None:
    with pytest.raises(ClusterError, match="coredns: kind can signal containerd, kubelet, etcd"):
        KindCluster("k").signal("coredns", signal.SIGTERM)


def test_purge_removes_the_files(bin_: Path, api: Answers) -> None:
    cluster = KindCluster("k")
    cluster.up(Options())
    cluster.purge()
    assert not cluster.running()
    assert not cluster.layout.root.exists()


@pytest.mark.parametrize(
    ("docker", "variable", "expected"),
    [
        ("exit 0", "", KindCluster),
        ("exit 1", "", EmbeddedCluster),
        ("exec sleep 60", "", EmbeddedCluster),
        ("exit 0", "embedded", EmbeddedCluster),
        ("exit 1", "kind", KindCluster),
    ],
)
def test_kind_is_chosen_where_docker_answers(
    bin_: Path, monkeypatch: pytest.MonkeyPatch, docker: str, variable: str, expected: type
) -> None:
    stand_in(bin_, "docker", docker)
    monkeypatch.setattr(host, "DOCKER_SECONDS", 0.5)
    monkeypatch.setenv("SWIFTOP_CLUSTER_BACKEND", variable)
    assert isinstance(choose("k"), expected)


def test_an_unknown_backend_is_refused(bin_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTOP_CLUSTER_BACKEND", "minikube")
    with pytest.raises(ClusterError, match="SWIFTOP_CLUSTER_BACKEND=minikube: use kind or embedded"):
        choose("k")


def test_a_cluster_that_runs_keeps_its_backend(bin_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Layout.of("k").lock
    lock.parent.mkdir(parents=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert isinstance(choose("k"), EmbeddedCluster)  # although docker answers by now
        monkeypatch.setenv("SWIFTOP_CLUSTER_BACKEND", "kind")
        with pytest.raises(ClusterError, match="k runs as embedded: take it down without"):
            choose("k")
    (bin_ / "node").write_text("true\n")
    monkeypatch.setenv("SWIFTOP_CLUSTER_BACKEND", "embedded")
    with pytest.raises(ClusterError, match="k runs as kind: take it down without"):
        choose("k")
