"""The embedded cluster: Kubernetes in namespaces of this machine, for Linux and root, without Docker."""

import fcntl
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.cluster import build, certs, cgroups, config, host, images
from tests.cluster.api import Api, ApiError
from tests.cluster.host import run_checked
from tests.cluster.layout import GPU_RESOURCE, NODE_NAME, STORAGE_CLASS, ClusterError, Layout, Options

BOOT_SECONDS = 180.0
STOP_SECONDS = 10.0
_REPOSITORY = Path(__file__).resolve().parents[2]
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
        if not self.layout.lock.exists():
            return False
        with self.layout.lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def state(self) -> dict[str, Any]:
        """What the supervisor wrote down: process numbers, port, options."""
        try:
            document: dict[str, Any] = json.loads(self.layout.state.read_text())
        except FileNotFoundError:
            return {}
        return document

    def up(self, options: Options) -> None:
        """Boot, or find the cluster running; leftovers of one that was killed go first."""
        host.require_root()
        host.require_run_programs()
        binaries = build.ensure(self.layout.cache)
        with self._exclusive():
            if self.running():
                if self.state().get("options") != asdict(options):
                    raise ClusterError(f"{self.name} runs with other options: take it down first, or use --name")
            else:
                self._clear()
                self._prepare(binaries)
                self._start(options, binaries)
            self._wait_until_ready(options)
            if not options.control_plane_only:
                self._load_pause(binaries)

    def down(self) -> None:
        """End every process, then remove what the kernel does not remove by itself."""
        host.require_root()
        with self._exclusive():
            self._stop()
            self._clear()

    def _stop(self) -> None:
        """Ask, then insist: either way the kernel ends everything with the supervisor."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.running():
                return
            _signal(self.state().get("supervisor", 0), number)
            if _eventually(lambda: not self.running(), STOP_SECONDS):
                return
        raise ClusterError(f"cluster {self.name} does not end; its processes: {self.state()}")

    def purge(self) -> None:
        """Down, and forget certificates and images too."""
        self.down()
        shutil.rmtree(self.layout.root, ignore_errors=True)

    def load(self, archive: Path) -> list[str]:
        """Import an image archive unless exactly this content is in the store; returns the image names."""
        return images.load(archive, self._containerd(), self.layout.images)

    def containers(self) -> list[str]:
        """The containers that containerd knows, running or not."""
        return run_checked([*self._containerd(), "containers", "ls", "--quiet"], "containerd refuses").split()

    def signal(self, component: str, number: int) -> None:
        """Send a signal to a component; one that dies is started again."""
        enter, pids = self.enter("pid"), self.layout.volatile / "pids"
        if not (pids / component).exists():
            known = ", ".join(sorted(file.name for file in pids.iterdir()))
            raise ClusterError(f"no component {component!r}; there are {known}")
        run_checked([*enter, "kill", f"-{number}", (pids / component).read_text()], f"cannot signal {component}")

    def status(self) -> dict[str, str]:
        """What a user wants to know."""
        result = {"name": self.name, "backend": "embedded", "state": "stopped", "kubeconfig": str(self.kubeconfig)}
        if self.running():
            state = self.state()
            missing = unready(self.api(), Options(**state["options"]))
            result["state"] = f"waiting for {', '.join(missing)}" if missing else "running"
            result |= {"port": str(state["port"]), "options": json.dumps(state["options"])}
        return result | {"logs": str(self.layout.log)}

    def enter(self, *namespaces: str) -> list[str]:
        """The command prefix that runs something inside the cluster."""
        if not self.running():
            raise ClusterError(f"cluster {self.name} is not running: bring it up first")
        return ["nsenter", "--target", str(self.state()["init"]), *(f"--{kind}" for kind in namespaces)]

    def api(self) -> Api:
        """A small client, as administrator."""
        return Api.from_kubeconfig(self.kubeconfig)

    def _containerd(self) -> list[str]:
        """The command prefix of containerd's client."""
        ctr = build.ensure(self.layout.cache).containerd / "ctr"
        return [*self.enter("mount"), str(ctr), "--namespace", "k8s.io"]

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One command at a time: a second `up` must not clear away what the first one is starting."""
        self.layout.root.mkdir(parents=True, exist_ok=True)
        with (self.layout.root / "command.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

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
            "binaries": {name: str(path) for name, path in asdict(binaries).items()},
        }
        with (layout.log / "supervisor.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.cluster.supervisor", json.dumps(plan)],
                cwd=_REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if not _eventually(lambda: layout.state.exists() or process.poll() is not None, STOP_SECONDS):
            raise ClusterError(f"the supervisor does not start; see {layout.log}")
        if not layout.state.exists():
            raise ClusterError(f"the supervisor ended: {(layout.log / 'supervisor.log').read_text()[-2000:]}")
        server = f"https://127.0.0.1:{self.state()['port']}"
        layout.kubeconfig.write_text(certs.kubeconfig(layout.pki, "admin", server))
        layout.kubeconfig.chmod(0o600)

    def _wait_until_ready(self, options: Options) -> None:
        """Ready is what a user may rely on: the node, its GPUs, names, volumes and service accounts."""
        api = self.api()
        pending = ["not asked yet"]

        def ready() -> bool:
            pending[:] = unready(api, options)
            return not pending or not self.running()

        if not _eventually(ready, BOOT_SECONDS) or not self.running():
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
            if isinstance(error, ApiError) and error.status != http.client.NOT_FOUND:
                raise
            missing.append(name)
    return missing


def _node_ready(api: Api, gpus: int) -> bool:
    status = api.get(f"/api/v1/nodes/{NODE_NAME}")["status"]
    ready = any(item["type"] == "Ready" and item["status"] == "True" for item in status.get("conditions", []))
    return ready and status.get("allocatable", {}).get(GPU_RESOURCE, "0") == str(gpus)


def _port_of(kubeconfig: Path) -> int:
    """The port of the last boot: whoever still has its kubeconfig finds the next cluster there."""
    if not kubeconfig.exists():
        return 0
    server: str = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    return int(server.rpartition(":")[2])


def _eventually(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _signal(pid: int, number: int) -> None:
    if pid:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
