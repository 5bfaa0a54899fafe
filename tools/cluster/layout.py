"""Where everything of a cluster lies, and what a cluster can be asked to be. No I/O here."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from images.cache import cache_root

DEFAULT_NAME = "swiftop"
NODE_NAME = "node1"
GPU_RESOURCE = "nvidia.com/gpu"
STORAGE_CLASS = "standard"

# Every cluster has a network namespace of its own, so the same addresses serve all of them.
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
DNS_SERVICE_IP = "10.96.0.10"
POD_CIDR = "10.244.0.0/24"
NODE_IP = "10.244.0.1"
DNS_DOMAIN = "cluster.local"

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")


class ClusterError(Exception):
    """What the user can act on: the message says what to do and is printed without a traceback."""


@dataclass(frozen=True)
class Options:
    """What a cluster should be; a running cluster with other options is not reused."""

    gpus: int = 8
    control_plane_only: bool = False
    audit: bool = False


def require_options(name: str, running: object, wanted: Options) -> None:
    """What runs is not changed: somebody else may be using it as it is."""
    if running != asdict(wanted):
        raise ClusterError(f"{name} runs with other options: take it down first, or use --name")


@dataclass(frozen=True)
class Layout:
    """The files of one named cluster."""

    name: str
    cache: Path

    def __post_init__(self) -> None:
        """Refuse names that would not fit into a path, a cgroup or a process title."""
        if not _NAME.fullmatch(self.name):
            raise ClusterError(f"cluster name {self.name!r}: use up to 30 of a-z, 0-9 and '-', not at either end")

    @classmethod
    def of(cls, name: str) -> "Layout":
        """The layout of a cluster in this user's cache."""
        return cls(name, cache_root())

    @property
    def root(self) -> Path:
        """Everything below belongs to this cluster alone."""
        return self.cache / "clusters" / self.name

    @property
    def pki(self) -> Path:
        """Certificates, keys and the components' kubeconfigs: kept between boots."""
        return self.root / "pki"

    @property
    def config(self) -> Path:
        """Rendered configuration: written at every boot."""
        return self.root / "config"

    @property
    def log(self) -> Path:
        """One log per component, and the audit log."""
        return self.root / "log"

    @property
    def audit_log(self) -> Path:
        """Every request to the API server, where the cluster was started with the audit option."""
        return self.log / "audit.log"

    @property
    def images(self) -> Path:
        """containerd's root: its image store is what makes the second boot short."""
        return self.root / "containerd"

    @property
    def volatile(self) -> Path:
        """What a boot starts without: etcd, the kubelet's pods, volumes, logs of containers."""
        return self.root / "volatile"

    @property
    def volumes(self) -> Path:
        """The directories behind the provisioner's PersistentVolumes."""
        return self.volatile / "volumes"

    @property
    def kubeconfig(self) -> Path:
        """For the user: leads through the loopback port."""
        return self.root / "kubeconfig"

    @property
    def state(self) -> Path:
        """JSON about the running cluster, written when it has started."""
        return self.root / "state.json"

    @property
    def lock(self) -> Path:
        """Held by the supervisor, whose number it holds, as long as the cluster lives: the only sure sign of life."""
        return self.root / "lock"

    @property
    def command_lock(self) -> Path:
        """Held by a command that changes the cluster; beside its files, because one of these commands removes them."""
        return self.root.with_name(f"{self.name}.command")

    @property
    def session_lock(self) -> Path:
        """Held by a test session as long as it needs the cluster."""
        return self.root.with_name(f"{self.name}.session")

    @property
    def cgroup(self) -> str:
        """The cgroup below which all pods of this cluster run, in every hierarchy."""
        return f"/swiftop-{self.name}"
