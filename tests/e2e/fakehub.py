"""A fake of both hubs in a pod of its own, whose faults a test can order: hold an upload, lose an answer, be taken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.e2e.site import HUB_TOKEN, Site, sha256

ENDPOINTS = ("MODELSCOPE_ENDPOINT", "HF_ENDPOINT")


@dataclass(frozen=True)
class FakeHub:
    """One such pod and the Service of its name."""

    site: Site
    name: str

    @property
    def url(self) -> str:
        """As pods reach it."""
        return f"http://{self.name}.{self.site.kubectl.namespace}.svc:8000"

    def start(self) -> None:
        """Create it."""
        options = ("--url", self.url, "--token-sha256", sha256(HUB_TOKEN))
        self.site.kubectl.create(*self.site.server(self.name, "hub", *options))

    @property
    def elsewhere(self) -> str:
        """The same server at an address that is not the hub's own."""
        pod = self.site.kubectl.get("pod", self.name) or {}
        return f"http://{pod['status']['podIP']}:8000"

    def send_elsewhere(self) -> None:
        """Let the links for large files name another host."""
        self.tell("_settings", {"uploads": self.elsewhere})

    def env(self) -> list[dict[str, str]]:
        """For ``runtime.env``: both hubs are this one."""
        return [{"name": name, "value": self.url} for name in ENDPOINTS]

    def tell(self, page: str, body: object) -> None:
        """Order something, see tests/fakes/hub_server.py."""
        path = f"/api/v1/namespaces/{self.site.kubectl.namespace}/services/{self.name}:8000/proxy/{page}"
        self.site.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body).encode())

    def hold(self, match: str, *others: Mapping[str, Any]) -> None:
        """Keep such requests waiting until ``release``, also when a client asks again; and other faults."""
        self.tell("_faults", [{"match": match, "times": -1, "delay": 3600.0}, *others])

    def release(self) -> None:
        """Let all requests go on."""
        self.tell("_release", {})

    def repositories(self, hub: str) -> dict[str, Any]:
        """All of one hub, by their names."""
        found: dict[str, Any] = self.site.recorded(self.name, "_state")[hub]
        return found

    def commits(self, hub: str, repository: str) -> list[str]:
        """Ids of its commits, without the one that the hub makes with the repository."""
        return [commit["id"] for commit in self.repositories(hub)[repository]["commits"]][1:]

    def requests(self) -> list[dict[str, Any]]:
        """All that it was asked."""
        found: list[dict[str, Any]] = self.site.recorded(self.name)
        return found
