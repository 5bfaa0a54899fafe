"""What the stories of exports and uploads are played on: hubs with faults, probes in pods, a volume, the operator."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from tests.e2e import objects
from tests.e2e.fakehub import FakeHub
from tests.e2e.node import Node
from tests.e2e.objects import on_claim
from tests.e2e.probe import CONFIG_MAP, FOLDER, USERCUSTOMIZE, Probe, light, user_packages
from tests.e2e.site import HUB_TOKEN, Site, condition
from tests.e2e.stories import Act, Now
from tests.e2e.support import Kubectl, Object
from tests.e2e.volume import SmallVolume

SECRET = "faults-hub"
LATE_SECRET = "faults-late"
TOKENS = {"MODELSCOPE_API_TOKEN": HUB_TOKEN, "HF_TOKEN": HUB_TOKEN}
OUTPUT = on_claim("faults", objects.RUNS)
SMALL_VOLUME, SMALL_MIB = "small", 560  # the runner asks for 512 MiB before it starts
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
HUBS = ("hub", "hub-killed", "hub-restarted", "hub-filled", "hub-upload")

_HELD = f"""
import glob, json, urllib.request
held = [path.split("/")[-2] for path in glob.glob("{FOLDER}/*/held")]
for hub in {json.dumps(HUBS[1:])}:
    with urllib.request.urlopen("http://" + hub + ":8000/_pending", timeout=30) as answer:
        held += [hub] * bool(json.load(answer)["requests"])
print(json.dumps(held))
"""


@dataclass
class Scene:
    """All of it, and what was seen in passing."""

    site: Site
    operator: Kubectl
    node: Node
    hubs: dict[str, FakeHub] = field(default_factory=dict)
    packages: str = ""
    arguments: str = ""  # of all processes, whenever one was held
    published: Object = field(default_factory=dict)  # a repository before it was deleted
    left: list[str] = field(default_factory=list)  # files of an export whose volume was full

    def prepare(self) -> None:
        """Make what the stories need."""
        kubectl = self.site.kubectl
        self.hubs = {name: FakeHub(self.site, name) for name in HUBS}
        for name in HUBS[1:]:  # the first one is there
            self.hubs[name].start()
        self.volume.create()
        self.packages = user_packages(self.site)
        kubectl.apply(
            objects.secret(SECRET, TOKENS), objects.config_map(CONFIG_MAP, {"usercustomize.py": USERCUSTOMIZE})
        )
        for pod in HUBS:
            kubectl("wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=300s")

    def close(self) -> None:
        """Remove what lies outside the namespace."""
        self.volume.delete()

    @property
    def volume(self) -> SmallVolume:
        """The claim that can be full."""
        return SmallVolume(self.site, SMALL_VOLUME, SMALL_MIB)

    def probe(self, name: str) -> Probe:
        """Into the pods of one export."""
        return Probe(self.site, name)

    def probed(self, name: str, hub: str, *, held: bool = False, **spec: Any) -> Callable[[Now], Object]:
        """An export with a probe. It publishes to this hub, if it publishes."""

        def make(now: Now) -> Object:
            probe = self.probe(name)
            probe.prepare(held=held)
            runtime = probe.runtime(self.hubs[hub].env(), self.packages)
            source = spec.get("source") or checkpoint(now)
            return objects.modelexport(name, **{**self._common(runtime), **spec, "source": source})

        return make

    def plain(self, name: str, hub: str, **spec: Any) -> Callable[[Now], Object]:
        """An export without a probe."""

        def make(now: Now) -> Object:
            source = spec.get("source") or checkpoint(now)
            common = self._common(light(self.hubs[hub].env()))
            return objects.modelexport(name, **{**common, **spec, "source": source})

        return make

    def uploaded(self, name: str, hub: str, source: Object, **spec: Any) -> Callable[[Now], Object]:
        """An upload."""
        common = {"runtime": light(self.hubs[hub].env()), "credentials": {"secretName": SECRET}}
        return lambda _now: objects.datasetupload(name, source, **{**common, **spec})

    @staticmethod
    def _common(runtime: Object) -> Object:
        return {"runtime": runtime, "credentials": {"secretName": SECRET}, "output": OUTPUT, "verify": "Skip"}

    def held(self) -> list[str]:
        """Names of the exports whose merge is held, and of the hubs that keep a request waiting; asked at once."""
        found: list[str] = json.loads(self.site.shell(f"python -c '{_HELD}'"))
        return found

    # What is done to them

    def running(self, name: str) -> Object | None:
        """The pod that runs, and is not being deleted."""
        pods = [pod for pod in self.site.pods(name) if pod["status"]["phase"] == "Running"]
        return next((pod for pod in pods if "deletionTimestamp" not in pod["metadata"]), None)

    def delete_pod(self, name: str) -> None:
        """Delete the pod as a person does, and wait until it is gone."""
        pod = self.running(name)
        assert pod is not None
        self.site.kubectl.delete("pod", pod["metadata"]["name"])

    def evict_pod(self, name: str) -> None:
        """Evict it, and wait until it is gone."""
        pod = self.running(name)
        assert pod is not None
        self.site.evict(pod)
        self.site.kubectl("wait", "--for=delete", f"pod/{pod['metadata']['name']}", "--timeout=300s")

    def kill_container(self, name: str) -> None:
        """Send SIGKILL to all of its container."""
        pod = self.running(name)
        assert pod is not None
        self.node.kill_container(pod)

    def look_at_arguments(self) -> None:
        """Remember the command lines of all processes of the node."""
        self.arguments += self.node.arguments()

    def restart_operator(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Delete its pods, and wait for the new ones; ``meanwhile`` nobody watches."""
        self.operator("delete", "pods", "-l", "app.kubernetes.io/name=swiftop", "--wait=true")
        meanwhile()
        self.operator("rollout", "status", "deployment/swiftop", "--timeout=300s")

    def apply_again(self, kind: str, name: str, *, anew: bool = False) -> None:
        """Apply the same manifest; ``anew``: to an object that was deleted."""
        found = self.site.kubectl.get(kind, name)
        assert found is not None
        if anew:
            self.site.kubectl.delete(kind, name)
        self.site.kubectl.apply(json.loads(found["metadata"]["annotations"][APPLIED]))

    def secret(self, name: str, **keys: str) -> None:
        """Make or change a Secret."""
        self.site.kubectl.apply(objects.secret(name, keys))


def checkpoint(now: Now) -> Object:
    """The checkpoint of the run that has succeeded, by its folder: the run itself may be gone."""
    status = now[RUN]["status"]
    folder = on_claim(f"{status['output']['path']}/checkpoint-{status['checkpoint']['step']}", objects.RUNS)
    return {**folder, "base": on_claim(objects.MODEL)}


RUN = "comes-and-goes"


def reason(name: str, type_: str, wanted: str, do: Callable[[], object]) -> Act:
    """Do it once the condition has this reason."""

    def act(now: Now, _held: Collection[str]) -> bool:
        if condition(now.get(name, {}), type_).get("reason") != wanted:
            return False
        do()
        return True

    return act


def when(held: str, do: Callable[[], object]) -> Act:
    """Do it once this is held: the merge of an export by its name, or a request by the name of the hub."""

    def act(_now: Now, keeps: Collection[str]) -> bool:
        if held not in keeps:
            return False
        do()
        return True

    return act


def rows(good: int, bad: int) -> str:
    """A file of chats, the bad ones first: they end with what nobody answers."""
    question = {"role": "user", "content": "a?"}
    lines = [{"messages": [question]}] * bad
    lines += [{"messages": [question, {"role": "assistant", "content": f"b {n}"}]} for n in range(good)]
    return "".join(f"{json.dumps(line)}\n" for line in lines)
