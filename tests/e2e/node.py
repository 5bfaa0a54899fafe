"""The processes of the node, which no pod of the tests' own namespace may see."""

from __future__ import annotations

from dataclasses import dataclass

from tests.e2e import objects
from tests.e2e.objects import Object
from tests.e2e.site import Site

NAME = "e2e-node"  # of the namespace and of the pod


@dataclass(frozen=True)
class Node:
    """A pod that may look at and end every process of the node, as an administrator may."""

    site: Site

    def start(self) -> None:
        """Make it anew."""
        kubectl = self.site.kubectl.within(NAME)
        kubectl.delete("namespace", NAME)
        pod = objects.pod(NAME, image=self.site.trainer, command=["sleep", "infinity"])
        pod["spec"] |= {"hostPID": True, "securityContext": {"runAsUser": 0}}
        pod["spec"]["containers"][0]["securityContext"] = {"privileged": True}
        kubectl.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME}})
        kubectl.create(pod)
        kubectl("wait", "--for=condition=Ready", f"pod/{NAME}", "--timeout=300s")

    def stop(self) -> None:
        """It lies outside the namespace of the tests."""
        self.site.kubectl("delete", "namespace", NAME, "--wait=false")

    def kill_container(self, pod: Object) -> None:
        """Send SIGKILL to all processes of a container, as no one inside could."""
        self._shell(f"kill -9 {_of(pod)}")

    def stop_guard(self, pod: Object) -> None:
        """Whatever it does, the guard does not go on."""
        guard = "grep -qzF .serve.guard /proc/$process/cmdline"
        self._shell(f"for process in {_of(pod)}; do {guard} && kill -STOP $process; done; true")

    def keep_closing(self, pod: Object, *, seconds: int) -> None:
        """How long a connection that only this side has closed stays in the pod's network; usually it is a minute."""
        limit = f"echo {seconds} > /proc/sys/net/ipv4/tcp_fin_timeout"
        self._shell(f'set -- {_of(pod)}; nsenter --net --target "$1" sh -c "{limit}"')

    def kill_process(self, pod: Object, title: str) -> None:
        """Send SIGKILL to the processes with this title whose parents belong to a pod.

        A process that has given itself a title has written it over its own environment.
        """
        uid = f"SWIFTOP_POD_UID={pod['metadata']['uid']}"
        titled = f"grep -laF '{title}' /proc/[0-9]*/cmdline | cut -d/ -f3"
        theirs = f"grep -qzxF '{uid}' /proc/$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$pid/status)/environ"
        self._shell(f"for pid in $({titled}); do {theirs} && kill -9 $pid; done; true")

    def arguments(self) -> str:
        """Command lines of all processes."""
        return self._shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '; echo")

    def _shell(self, script: str) -> str:
        return self.site.kubectl.within(NAME).text("exec", NAME, "--", "bash", "-c", script)


def _of(pod: Object) -> str:
    """In a shell, the processes of the main container."""
    uid = f"SWIFTOP_POD_UID={pod['metadata']['uid']}"
    return f"$(grep -lzxF '{uid}' /proc/[0-9]*/environ | cut -d/ -f3)"
