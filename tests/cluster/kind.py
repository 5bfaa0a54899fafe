"""The kind backend, where a Docker daemon answers: the same interface, Kubernetes in a container."""

import shutil
import time
from pathlib import Path

from tests.cluster import build
from tests.cluster.addons import keep_gpus
from tests.cluster.api import Api, Object
from tests.cluster.host import run_checked
from tests.cluster.layout import ClusterError, Layout, Options

_EMBEDDED_ONLY = "only the embedded cluster has this: run as root on Linux with SWIFTOP_CLUSTER_BACKEND=embedded"
_STORAGE = "namespaces/local-path-storage"
# kind's provisioner refuses ReadWriteMany unless it is told that all nodes share a path; there is one node here.
_SHARED_PATH = '{"sharedFileSystemPath": "/var/local-path-provisioner"}'
_STATIC_PODS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


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

    def running(self) -> bool:
        """Whether kind knows the cluster."""
        return self.name in self._kind("get", "clusters").split()

    def up(self, options: Options) -> None:
        """Create the cluster unless it is there, then give it GPUs and shared volumes."""
        if options.control_plane_only or options.audit:
            raise ClusterError(_EMBEDDED_ONLY)
        self.layout.root.mkdir(parents=True, exist_ok=True)
        if not self.running():
            self._kind("create", "cluster", "--wait", "180s", "--kubeconfig", str(self.kubeconfig))
        self.kubeconfig.write_text(self._kind("get", "kubeconfig"))
        api = Api.from_kubeconfig(self.kubeconfig)
        keep_gpus(api, options.gpus)
        api.patch(f"/api/v1/{_STORAGE}/configmaps/local-path-config", {"data": {"config.json": _SHARED_PATH}})
        api.patch(f"/apis/apps/v1/{_STORAGE}/deployments/local-path-provisioner", _restarted())

    def down(self) -> None:
        """Delete the cluster: kind keeps nothing."""
        self._kind("delete", "cluster")

    def purge(self) -> None:
        """Delete the cluster and its directory."""
        self.down()
        shutil.rmtree(self.layout.root, ignore_errors=True)

    def load(self, archive: Path) -> list[str]:
        """Import an image archive into the node; kind does not say which names it found."""
        self._kind("load", "image-archive", str(archive))
        return []

    def signal(self, component: str, number: int) -> None:
        """Reach into the node: the components run as static pods there, and the kubelet starts them again."""
        if component not in _STATIC_PODS:
            raise ClusterError(f"{component}: kind can signal {', '.join(_STATIC_PODS)}")
        node = f"{self.name}-control-plane"
        run_checked(["docker", "exec", node, "pkill", f"-{number}", "-x", "-f", f"{component} .*"], "cannot signal")

    def status(self) -> dict[str, str]:
        """What a user wants to know."""
        state = "running" if self.running() else "stopped"
        return {"name": self.name, "backend": "kind", "state": state, "kubeconfig": str(self.kubeconfig)}

    def _kind(self, *arguments: str) -> str:
        binary = build.ensure_component(build.KIND, self.layout.cache) / "kind"
        listing = arguments == ("get", "clusters")
        command = [str(binary), *arguments, *([] if listing else ["--name", self.name])]
        return run_checked(command, f"kind {' '.join(arguments[:2])} failed")


def _restarted() -> Object:
    """A patch that rolls a Deployment, as `kubectl rollout restart` does."""
    annotations = {"kubectl.kubernetes.io/restartedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    return {"spec": {"template": {"metadata": {"annotations": annotations}}}}
