"""A model that is served, as the end-to-end tests see it: its conditions, its pod, and OpenAI's client before it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e import objects
from tests.e2e.objects import Object
from tests.e2e.site import NAMESPACE, Site, condition
from tests.e2e.support import eventually

CLIENT_FILES = "chat-client"  # ConfigMap with the client's program
PROGRAM = Path(__file__).with_name("chat_client.py")


@dataclass(frozen=True)
class Served:
    """One ModelDeployment and the pod that asks it; ``secret`` has the key that both know as KEY."""

    site: Site
    name: str
    secret: str

    @property
    def asker(self) -> str:
        """Name of the pod with the client."""
        return f"asks-{self.name}"

    def client(self) -> Object:
        """That pod; the key comes from the Secret."""
        made = objects.pod(
            self.asker, image=self.site.trainer, command=["sleep", "infinity"], config_maps={CLIENT_FILES: "/client"}
        )
        key = {"secretKeyRef": {"name": self.secret, "key": "KEY"}}
        made["spec"]["containers"][0]["env"] += [
            {"name": "OPENAI_BASE_URL", "value": f"http://{self.name}.{NAMESPACE}.svc:8000/v1"},
            {"name": "OPENAI_API_KEY", "valueFrom": key},
        ]
        return made

    def run_client(self, *words: str) -> Any:
        """What the client printed."""
        printed = self.site.kubectl("exec", self.asker, "--", "python", "/client/chat_client.py", *words)
        return json.loads(printed)

    def now(self) -> Object:
        """As it is."""
        found = self.site.kubectl.get("modeldeployment", self.name)
        assert found is not None, f"ModelDeployment {self.name} does not exist"
        return found

    def told(self, type_: str, status: str, reason: str = "", *, seconds: float = 60) -> Object:
        """The deployment once a condition says this of its spec as it is now."""

        def found() -> Object | None:
            now = self.now()
            said = condition(now, type_)
            fits = said.get("status") == status and said.get("reason") == (reason or said.get("reason"))
            return now if fits and said["observedGeneration"] == now["metadata"]["generation"] else None

        what = f"{self.name}: condition {type_} is {status} {reason}".rstrip()
        return eventually(found, what=what, seconds=seconds, explain=lambda: self.site.story(self.name))

    def pod(self) -> Object:
        """The only pod that is to stay."""
        (found,) = [pod for pod in self.site.pods(self.name) if "deletionTimestamp" not in pod["metadata"]]
        return found


def client_files() -> Object:
    """The ConfigMap that every client's pod mounts."""
    return objects.config_map(CLIENT_FILES, {PROGRAM.name: PROGRAM.read_text()})
