"""The kind backend, where a Docker daemon answers: the same interface, Kubernetes in a container."""

import json
import shutil
import subprocess
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.cluster import build, images, locks
from tools.cluster.addons import keep_gpus
from tools.cluster.api import Api, ApiError, Object
from tools.cluster.certs import save_kubeconfig
from tools.cluster.host import run_checked
from tools.cluster.layout import ClusterError, Layout, Options, require_options
from tools.cluster.wait import eventually

READY_SECONDS = 60.0
ROLLOUT_SECONDS = 120.0
GPU_KEEPER = Path(__file__).with_name("kind_gpus.sh")
_EMBEDDED_ONLY = "only the embedded cluster has this: run as root on Linux with SWIFTOP_CLUSTER_BACKEND=embedded"
# kind's provisioner refuses ReadWriteMany unless it is told that all nodes share a path; there is one node here.
_SHARED_PATH = {"config.json": '{"sharedFileSystemPath": "/var/local-path-provisioner"}'}
PROVISIONER_CONFIG = "/api/v1/namespaces/local-path-storage/configmaps/local-path-config"
PROVISIONER = "/apis/apps/v1/namespaces/local-path-storage/deployments/local-path-provisioner"
_STATIC_PODS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
_SERVICES = ("containerd", "kubelet")


class KindCluster:
    """One kind cluster of the given name; node image and version are the ones that kind's release pins."""

    def __init__(self, name: str) -> None:
        """Only name it."""
        self.layout = Layout.of(name)

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.layout.name

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig that works from anywhere on this machine."""
        return self.layout.kubeconfig

    @property
    def node(self) -> str:
        """The one node: its name in Kubernetes and the name of its container."""
        return f"{self.name}-control-plane"

    def running(self) -> bool:
        """Whether the node's container runs: kind itself still lists one that was stopped."""
        command = ["docker", "inspect", "--format", "{{.State.Running}}", self.node]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == "true"

    def state(self) -> dict[str, Any]:
        """What was written down when the cluster was complete."""
        try:
            document: dict[str, Any] = json.loads(self.layout.state.read_text())
        except FileNotFoundError:
            return {}
        return document

    def build(self) -> None:
        """Build kind itself unless the cache has it; starts nothing."""
        build.ensure_component(build.KIND, self.layout.cache)

    def up(self, options: Options) -> None:
        """Create the cluster, or find it running; one that was stopped or never completed goes first."""
        if options.control_plane_only or options.audit:
            raise ClusterError(_EMBEDDED_ONLY)
        self.layout.root.mkdir(parents=True, exist_ok=True)
        with locks.exclusive(self.layout.command_lock):
            state = self.state()
            if self.running() and state:
                require_options(self.name, state["options"], options)
            else:
                self._create()
            save_kubeconfig(self.kubeconfig, self._kind("get", "kubeconfig"))
            api = Api.from_kubeconfig(self.kubeconfig)
            if not eventually(api.ready, READY_SECONDS):
                raise ClusterError(f"the API server of {self.name} does not answer; `down` and `up` make a new one")
            self._keep_gpus(api, options.gpus)
            _share_volumes(api)
            self.layout.state.write_text(json.dumps({"options": asdict(options)}))

    def down(self) -> None:
        """Delete the cluster: kind keeps nothing."""
        with locks.exclusive(self.layout.command_lock):
            self._delete()

    def purge(self) -> None:
        """Delete the cluster and its directory."""
        with locks.exclusive(self.layout.command_lock):
            self._delete()
            shutil.rmtree(self.layout.root, ignore_errors=True)

    def load(self, archive: Path) -> list[str]:
        """Import an image archive into the node unless it is there; returns the image names."""
        if not self.running():
            raise ClusterError(f"cluster {self.name} is not running: bring it up first")
        ctr = ["docker", "exec", self.node, "ctr", "--namespace", "k8s.io"]
        importing = self._command("load", "image-archive", str(archive))
        return images.load(archive, images.Store(ctr, importing, self._record))

    def signal(self, component: str, number: int) -> None:
        """Reach into the node: what runs there is started again by systemd or, as a static pod, by the kubelet."""
        if component in _SERVICES:
            reach = ["systemctl", "kill", f"--signal={number}", component]
        elif component in _STATIC_PODS:
            reach = ["pkill", f"-{number}", "-x", "-f", f"{component} .*"]
        else:
            raise ClusterError(f"{component}: kind can signal {', '.join((*_SERVICES, *_STATIC_PODS))}")
        run_checked(["docker", "exec", self.node, *reach], f"cannot signal {component}")

    def status(self) -> dict[str, str]:
        """What a user wants to know."""
        result = {"name": self.name, "backend": "kind", "state": "stopped", "kubeconfig": str(self.kubeconfig)}
        if self.running():
            state = self.state()
            result["state"] = "running" if state else "waiting for its creation to end"
            result |= {"options": json.dumps(state["options"])} if state else {}
        return result

    @property
    def _record(self) -> Path:
        return self.layout.root / "names.json"

    def _create(self) -> None:
        self._delete()
        self._kind("create", "cluster", "--wait", "180s", "--kubeconfig", str(self.kubeconfig))

    def _keep_gpus(self, api: Api, count: int) -> None:
        """Now, and from now on: one that keeps them already stays the only one."""
        if count:
            keep_gpus(api, count)
            keeper = ["sh", "-c", GPU_KEEPER.read_text(), "keep-gpus", self.node, str(count)]
            environment = ["--env", "KUBECONFIG=/etc/kubernetes/admin.conf"]
            run_checked(["docker", "exec", "--detach", *environment, self.node, *keeper], "cannot keep GPUs")

    def _delete(self) -> None:
        """The record of what the node held goes with the node."""
        self._kind("delete", "cluster")
        for file in (self.layout.state, self._record):
            file.unlink(missing_ok=True)

    def _kind(self, *arguments: str) -> str:
        return run_checked(self._command(*arguments), f"kind {' '.join(arguments[:2])} failed")

    def _command(self, *arguments: str) -> list[str]:
        binary = build.ensure_component(build.KIND, self.layout.cache) / "kind"
        return [str(binary), *arguments, "--name", self.name]


def _share_volumes(api: Api) -> None:
    """Wait for the provisioner that has read these settings: the one of before would refuse a claim."""
    if not _SHARED_PATH.items() <= api.get(PROVISIONER_CONFIG)["data"].items():
        api.patch(PROVISIONER_CONFIG, {"data": _SHARED_PATH})
        api.patch(PROVISIONER, _restarted())
    if not eventually(lambda: _rolled_out(api), ROLLOUT_SECONDS):
        raise ClusterError(f"kind's provisioner did not start again within {ROLLOUT_SECONDS:.0f} s")


def _rolled_out(api: Api) -> bool:
    try:
        deployment = api.get(PROVISIONER)
    except (ApiError, OSError):
        return False
    status, replicas = deployment.get("status", {}), deployment["spec"]["replicas"]
    counts = [status.get(f"{kind}eplicas", 0) for kind in ("r", "updatedR", "availableR")]
    return status.get("observedGeneration") == deployment["metadata"]["generation"] and set(counts) == {replicas}


def _restarted() -> Object:
    """A patch that rolls a Deployment, as `kubectl rollout restart` does."""
    annotations = {"kubectl.kubernetes.io/restartedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    return {"spec": {"template": {"metadata": {"annotations": annotations}}}}
