"""Process 1 of a cluster: runs inside its own network, mount and process namespace and starts every component.

When this process ends, the kernel kills everything in the namespace; nothing else has to be stopped. A component that
ends is started again, as a node's service manager would do it: tests kill the API server and expect it back.
"""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tools.cluster import config
from tools.cluster.api import Api
from tools.cluster.build import binaries_from
from tools.cluster.layout import Layout, Options

RESTART_SECONDS = 0.5
_PRIVATE_LOGS = "/var/log/containers"
_CNI_RESULTS = "/var/lib/cni"
# What a kubelet makes of settings that have no namespace. Here it reads that from files, and leaves the machine alone.
_KERNEL_SETTINGS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}


class Init:
    """Starts components and reaps every process of the namespace."""

    def __init__(self, layout: Layout, options: Options, binaries: config.Binaries) -> None:
        """Only remember; nothing runs yet."""
        self._layout = layout
        self._options = options
        self._binaries = binaries
        self._started = time.monotonic()
        self._components: dict[int, tuple[str, list[str]]] = {}
        self._registering = threading.Lock()

    def run(self) -> None:
        """Boot in a thread, because process 1 has to reap from the first moment on."""
        _prepare_mounts(self._layout, self._options)
        for command in config.network_commands():
            subprocess.run(command, check=True)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        os.environ["AWS_EC2_METADATA_DISABLED"] = "true"  # a cloud provider library would probe for 6 s
        os.environ["PATH"] = f"{self._binaries.containerd}:{os.environ['PATH']}"
        threading.Thread(target=self._boot, daemon=True).start()
        while True:
            self.reap()

    def reap(self) -> None:
        """Take the next process that ended; a component is started again."""
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.05)
            return
        with self._registering:
            name, command = self._components.pop(pid, ("", []))
        if name:
            self._say(f"{name} ended with status {status}; starting it again")
            threading.Timer(RESTART_SECONDS, self.start, (name, command)).start()

    def _boot(self) -> None:
        layout, binaries, node = self._layout, self._binaries, not self._options.control_plane_only
        self.start("etcd", config.etcd_command(layout, binaries))
        if node:
            self.start("containerd", config.containerd_command(layout, binaries))
        self._wait("etcd", _etcd_healthy)
        self.start("kube-apiserver", config.apiserver_command(layout, binaries, self._options))
        pki = layout.pki
        api = Api.from_files("https://127.0.0.1:443", pki / "ca.crt", pki / "admin.crt", pki / "admin.key")
        self._wait("kube-apiserver", api.ready)
        self.start("kube-controller-manager", config.controller_manager_command(layout, binaries))
        self.start("kube-scheduler", config.scheduler_command(layout, binaries))
        if node:
            self.start("kubelet", config.kubelet_command(layout, binaries))
            self.start("kube-proxy", config.proxy_command(layout, binaries))
            self.start("coredns", config.coredns_command(layout, binaries))
            self.start("addons", [sys.executable, "-m", "tools.cluster.addons", layout.name, str(self._options.gpus)])

    def start(self, name: str, command: list[str]) -> None:
        """Without subprocess: its own waiting and our reaping would steal from each other."""
        log = os.open(self._layout.log / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            actions = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
            with self._registering:  # a component that ends at once is not reaped before it is known
                pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
                self._components[pid] = (name, command)
        finally:
            os.close(log)
        pids = self._layout.volatile / "pids"
        pids.mkdir(exist_ok=True)
        (pids / name).write_text(str(pid))

    def _wait(self, name: str, condition: Callable[[], bool]) -> None:
        while not condition():
            time.sleep(0.05)
        self._say(f"{name} ready")

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._started:7.2f} s  {text}", flush=True)


def _etcd_healthy() -> bool:
    try:
        with urllib.request.urlopen(f"{config.ETCD_URL}/health", timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _prepare_mounts(layout: Layout, options: Options) -> None:
    """Hide the host's runtime state; the kubelet's directory is on disk, for a tmpfs would count as pods' memory."""
    if options.control_plane_only:
        return
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for directory in ("containerd", "netns"):
        Path("/run", directory).mkdir()
    Path(_CNI_RESULTS).mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", "mode=700", "tmpfs", _CNI_RESULTS)
    for source, target in (("kubelet", "/var/lib/kubelet"), ("container-logs", _PRIVATE_LOGS)):
        (layout.volatile / source).mkdir(parents=True)
        Path(target).mkdir(parents=True, exist_ok=True)
        _mount("--bind", str(layout.volatile / source), target)
        _mount("--make-rshared", target)
    _mount("--bind", "/run/netns", "/run/netns")
    _mount("--make-shared", "/run/netns")
    Path("/run/proc").mkdir()
    _mount("-t", "proc", "proc", "/run/proc")  # a complete one: without it no pod may have a user namespace
    for setting, value in _KERNEL_SETTINGS.items():
        file = Path("/run/sys", setting)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
        _mount("--bind", str(file), f"/proc/sys/{setting}")


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def main() -> None:
    """Take the cluster's name, options and binaries as JSON, as the supervisor passes them."""
    plan = json.loads(sys.argv[1])
    options = Options(**plan["options"])
    Init(Layout(plan["name"], Path(plan["cache"])), options, binaries_from(plan["binaries"])).run()


if __name__ == "__main__":
    main()
