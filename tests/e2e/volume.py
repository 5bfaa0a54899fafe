"""A claim of a few hundred MiB that a test can fill: the memory-backed emptyDir of one pod is the volume of others."""

from __future__ import annotations

from dataclasses import dataclass

from tests.e2e import objects
from tests.e2e.objects import Object
from tests.e2e.site import Site

PATH = "/room"


@dataclass(frozen=True)
class SmallVolume:
    """The pod, the volume and the claim, which have one name."""

    site: Site
    name: str
    mebibytes: int

    def create(self) -> None:
        """Make all three. A volume of an earlier session is of a pod that is gone."""
        kubectl = self.site.kubectl
        kubectl.delete("pv", self.name)
        pod = objects.pod(self.name, image=self.site.trainer, command=["sleep", "infinity"])
        memory = {"medium": "Memory", "sizeLimit": f"{self.mebibytes}Mi"}
        pod["spec"]["volumes"].append({"name": "room", "emptyDir": memory})
        pod["spec"]["containers"][0]["volumeMounts"].append({"name": "room", "mountPath": PATH})
        kubectl.create(pod)
        kubectl("wait", "--for=condition=Ready", f"pod/{self.name}", "--timeout=300s")
        kubectl.create(self._volume(), self._claim())

    def _volume(self) -> Object:
        uid = (self.site.kubectl.get("pod", self.name) or {})["metadata"]["uid"]
        spec = {
            "capacity": {"storage": f"{self.mebibytes}Mi"},
            "accessModes": ["ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "",
            "hostPath": {"path": f"/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/room"},
            "claimRef": {"namespace": self.site.kubectl.namespace, "name": self.name},
        }
        return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": self.name}, "spec": spec}

    def _claim(self) -> Object:
        claim = objects.claim(self.name)
        claim["spec"] |= {"storageClassName": "", "volumeName": self.name}
        claim["spec"]["resources"] = {"requests": {"storage": f"{self.mebibytes}Mi"}}
        return claim

    def delete(self) -> None:
        """Remove the volume, which belongs to no namespace; the rest goes with its own."""
        self.site.kubectl("delete", "pv", self.name, "--wait=false")

    def shell(self, script: str) -> str:
        """What a shell script prints where the volume is the working directory."""
        return self.site.kubectl.text("exec", self.name, "--", "sh", "-c", f"cd {PATH} && {script}")

    def fill(self, *, leave_kib: int) -> None:
        """Take all room but so much."""
        slack = f"dd if=/dev/zero of=slack bs=1024 count={leave_kib} 2>/dev/null"
        self.shell(f"{slack} && {{ dd if=/dev/zero of=filler bs=65536 2>/dev/null || true; }} && rm slack")

    def make_room(self) -> None:
        """Give back what was taken."""
        self.shell("rm filler")
