"""The embedded cluster: Kubernetes in namespaces of this machine, for Linux and root, without Docker."""

import http.client
import json
import os
import select
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from tools.cluster import build, certs, cgroups, config, host, images, locks, supervisor
from tools.cluster.api import Api, ApiError
from tools.cluster.host import run_checked
from tools.cluster.layout import GPU_RESOURCE, NODE_NAME, STORAGE_CLASS, ClusterError, Layout, Options, require_options
from tools.cluster.wait import eventually

BOOT_SECONDS = 180.0
STOP_SECONDS = 10.0
# What containerd keeps about containers besides its metadata; the image store lies in other directories.
_CONTAINER_STATE = (
    "io.containerd.grpc.v1.cri",
    "io.containerd.runtime.v2.task",
    "io.containerd.sandbox.controller.v1.shim",
)


class EmbeddedCluster:
    """One named cluster; all state is in its directory, so any process can pick it up by its name."""

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
        """Whether a supervisor holds the lock: a process number in a file could be somebody else's by now."""
        return locks.held(self.layout.lock)

    def state(self) -> dict[str, Any]:
        """What the supervisor wrote down when all had started: process numbers, port, options."""
        try:
            document: dict[str, Any] = json.loads(self.layout.state.read_text())
        except FileNotFoundError:
            return {}
        return document

    def build(self) -> None:
        """Build the binaries unless the cache has them; starts nothing."""
        self._binaries()

    def up(self, options: Options) -> None:
        """Boot, or find the cluster running; leftovers of one that was killed go first."""
        binaries = self._binaries()
        with locks.exclusive(self.layout.command_lock):
            if self.running():
                self._check_running(options, binaries)
            else:
                self._clear()
                self._prepare(binaries)
                self._start(options, binaries)
            server = f"https://127.0.0.1:{self.state()['port']}"
            certs.save_kubeconfig(self.kubeconfig, certs.kubeconfig(self.layout.pki, "admin", server))
            self._wait_until_ready(options)
            if not options.control_plane_only:
                self._load_pause(binaries)

    def down(self) -> None:
        """End every process, then remove what the kernel does not remove by itself."""
        host.require_root()
        with locks.exclusive(self.layout.command_lock):
            self._stop()
            self._clear()

    def purge(self) -> None:
        """Down, and forget certificates and images too."""
        host.require_root()
        with locks.exclusive(self.layout.command_lock):
            self._stop()
            self._clear()
            shutil.rmtree(self.layout.root, ignore_errors=True)

    def _stop(self) -> None:
        """Ask, then insist: either way the kernel ends everything with the supervisor, process 1 last."""
        if not self.running():
            return
        state = self.state()
        with _end_of(state.get("init", 0)) as ended:
            for number in (signal.SIGTERM, signal.SIGKILL):
                _signal(int(state.get("supervisor") or self.layout.lock.read_text() or 0), number)
                if eventually(lambda: not self.running() and ended(), STOP_SECONDS):
                    return
        raise ClusterError(f"cluster {self.name} does not end; its processes: {state}")

    def load(self, archive: Path) -> list[str]:
        """Import an image archive unless exactly this content is in the store; returns the image names."""
        ctr = self.ctr()
        importing = [*ctr, "images", "import", str(archive.resolve())]
        return images.load(archive, images.Store(ctr, importing, self.layout.images / "names.json"))

    def containers(self) -> list[str]:
        """The containers that containerd knows, running or not."""
        return run_checked([*self.ctr(), "containers", "ls", "--quiet"], "containerd refuses").split()

    def signal(self, component: str, number: int) -> None:
        """Send a signal to a component; one that dies is started again."""
        enter, pids = self.enter("pid"), self.layout.volatile / "pids"
        if not (pids / component).exists():
            known = ", ".join(sorted(file.name for file in pids.iterdir()))
            raise ClusterError(f"no component {component!r}; there are {known}")
        # The shell's own kill: the program of that name is in a package that not every machine has.
        kill = ["sh", "-c", 'kill -"$1" "$2"', "kill", str(number), (pids / component).read_text()]
        run_checked([*enter, *kill], f"cannot signal {component}")

    def status(self) -> dict[str, str]:
        """What a user wants to know."""
        result = {"name": self.name, "backend": "embedded", "state": "stopped", "kubeconfig": str(self.kubeconfig)}
        if self.running():
            state = self.state()
            started = state and self.kubeconfig.exists()
            missing = unready(self.api(), Options(**state["options"])) if started else ["its supervisor"]
            result["state"] = f"waiting for {', '.join(missing)}" if missing else "running"
            result |= {key: json.dumps(state[key]) for key in ("port", "options") if key in state}
        return result | {"logs": str(self.layout.log)}

    def enter(self, *namespaces: str) -> list[str]:
        """The command prefix that runs something inside the cluster."""
        state = self.state()
        if not self.running() or not state:
            raise ClusterError(f"cluster {self.name} is not running: bring it up first")
        return ["nsenter", "--target", str(state["init"]), *(f"--{kind}" for kind in namespaces)]

    def api(self) -> Api:
        """A small client, as administrator."""
        return Api.from_kubeconfig(self.kubeconfig)

    def ctr(self) -> list[str]:
        """The command prefix of containerd's client."""
        ctr = build.ensure(self.layout.cache).containerd / "ctr"
        return [*self.enter("mount"), str(ctr), "--namespace", "k8s.io"]

    def _binaries(self) -> config.Binaries:
        host.require_root()
        host.require_run_programs()
        return build.ensure(self.layout.cache)

    def _check_running(self, options: Options, binaries: config.Binaries) -> None:
        """A running cluster is taken as it is, if it is what was asked for."""
        eventually(self.layout.state.exists, supervisor.START_SECONDS)  # a command that was cut short started it
        state = self.state()
        require_options(self.name, state.get("options"), options)
        if state.get("binaries") != _paths(binaries):
            print(f"cluster: {self.name} runs the binaries of before; take it down first to renew them", flush=True)

    def _prepare(self, binaries: config.Binaries) -> None:
        layout = self.layout
        shutil.rmtree(layout.log, ignore_errors=True)
        for directory in (layout.config / "cni", layout.log, layout.volatile / "pod-logs", layout.volumes):
            directory.mkdir(parents=True)
        self._forget_containers(binaries)
        certs.ensure(layout.pki)
        for name, text in config.render(layout, binaries).items():
            (layout.config / name).write_text(text)
        cgroups.create(layout.cgroup)

    def _start(self, options: Options, binaries: config.Binaries) -> None:
        layout = self.layout
        plan = {
            "name": layout.name,
            "cache": str(layout.cache),
            "port": _port_of(layout.kubeconfig),
            "options": asdict(options),
            "binaries": _paths(binaries),
        }
        supervisor.launch(plan, layout)

    def _wait_until_ready(self, options: Options) -> None:
        """Ready is what a user may rely on: the node, its GPUs, names, volumes and service accounts."""
        api = self.api()
        pending = ["not asked yet"]

        def ready() -> bool:
            pending[:] = unready(api, options)
            return not pending or not self.running()

        if not eventually(ready, BOOT_SECONDS) or not self.running():
            raise ClusterError(f"cluster {self.name} did not come up: {', '.join(pending)}; see {self.layout.log}")

    def _load_pause(self, binaries: config.Binaries) -> None:
        archive = self.layout.volatile / "pause.tar"
        images.write_archive(archive, config.PAUSE_IMAGE, {"pause": binaries.pause / "pause"}, ["/pause"])
        self.load(archive)

    def _clear(self) -> None:
        """Remove what a cluster leaves behind, whether it was stopped or killed. Images and logs stay."""
        cgroups.remove(self.layout.cgroup)
        for directory in (self.layout.volatile, self.layout.config):
            shutil.rmtree(directory, ignore_errors=True)
        self.layout.state.unlink(missing_ok=True)

    def _forget_containers(self, binaries: config.Binaries) -> None:
        """Take the containers of the last boot out of the store that keeps the images."""
        for name in _CONTAINER_STATE:
            shutil.rmtree(self.layout.images / name, ignore_errors=True)
        metadata = self.layout.images / "io.containerd.metadata.v1.bolt" / "meta.db"
        if metadata.exists():
            run_checked([str(binaries.containerd / "forget"), str(metadata)], "cannot clean containerd's metadata")


def unready(api: Api, options: Options) -> list[str]:
    """What is still missing, by name: also the text of a boot that fails."""
    if not api.ready():
        return ["the API server"]
    checks: dict[str, Callable[[], bool]] = {
        "the default service account": lambda: bool(api.get("/api/v1/namespaces/default/serviceaccounts/default"))
    }
    if not options.control_plane_only:
        checks |= {
            "the node": lambda: _node_ready(api, options.gpus),
            "cluster DNS": lambda: bool(
                api.get("/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns")
            ),
            "the StorageClass": lambda: bool(api.get(f"/apis/storage.k8s.io/v1/storageclasses/{STORAGE_CLASS}")),
        }
    missing = []
    for name, check in checks.items():
        try:
            if not check():
                missing.append(name)
        except (OSError, ApiError) as error:
            if isinstance(error, ApiError) and not _passes(error.status):
                raise
            missing.append(name)
    return missing


def _passes(status: int) -> bool:
    """Whether a refusal is one of a server that has not all of its parts together yet."""
    return status in {http.client.NOT_FOUND, http.client.TOO_MANY_REQUESTS} or status >= 500


def _node_ready(api: Api, gpus: int) -> bool:
    status = api.get(f"/api/v1/nodes/{NODE_NAME}")["status"]
    ready = any(item["type"] == "Ready" and item["status"] == "True" for item in status.get("conditions", []))
    return ready and status.get("allocatable", {}).get(GPU_RESOURCE, "0") == str(gpus)


def _port_of(kubeconfig: Path) -> int:
    """The port of the last boot: whoever still has its kubeconfig finds the next cluster there."""
    if not kubeconfig.exists():
        return 0
    server: str = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    return int(server.rpartition(":")[2])


def _paths(binaries: config.Binaries) -> dict[str, str]:
    return {name: str(path) for name, path in asdict(binaries).items()}


@contextmanager
def _end_of(pid: int) -> Iterator[Callable[[], bool]]:
    """Whether the process that has this number now has ended: the number itself can be given away again."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        yield lambda: True
        return
    try:
        yield lambda: bool(select.select([descriptor], [], [], 0)[0])
    finally:
        os.close(descriptor)


def _signal(pid: int, number: int) -> None:
    if pid:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
