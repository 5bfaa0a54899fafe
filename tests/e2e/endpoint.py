"""A ModelDeployment as people see it: what it tells, its pods, and what a client in a pod of its own is answered."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.e2e import objects
from tests.e2e.objects import modeldeployment
from tests.e2e.probe import light
from tests.e2e.site import NAMESPACE, Site, condition
from tests.e2e.support import CommandFailed, Object, eventually

KEY_SECRET, KEY = "served", "canary-served-2f7a90c4e1d85b36"
CLIENT = "asks"  # the pod
LOAD = "/tmp/load"  # folders in it, one by deployment
HELD = "/tmp/held"  # as in the program
_SOCKETS = """
import pathlib
rows = [row.split() for name in ("tcp", "tcp6") for row in pathlib.Path("/proc/net", name).read_text().splitlines()[1:]]
print(*sorted({row[3] for row in rows if row[1].endswith(":1F40")}))
"""
CLOSING = {"05", "06"}  # FIN_WAIT2, TIME_WAIT: with nobody behind them, and still in the way of a careless bind
LISTENS = "0A"


def served(name: str, model: Object, **spec: Any) -> Object:
    """A deployment that takes the core which is free."""
    return modeldeployment(name, model, **{"runtime": light([]), **spec})


def behind_key(secret: str = KEY_SECRET) -> Object:
    """Members of the spec of one that asks for the key."""
    return {"apiKey": {"name": secret, "key": "KEY"}}


def start_client(site: Site) -> None:
    """The pod that asks. It has the key from its Secret."""
    program = Path(__file__).with_name("chat_client.py").read_text()
    made = objects.pod(CLIENT, image=site.trainer, command=["sleep", "infinity"], config_maps={CLIENT: "/client"})
    key = {"secretKeyRef": {"name": KEY_SECRET, "key": "KEY"}}
    made["spec"]["containers"][0]["env"].append({"name": "OPENAI_API_KEY", "valueFrom": key})
    made["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100m"}}  # else it gets what all others leave
    site.kubectl.apply(
        objects.secret(KEY_SECRET, {"KEY": KEY}), objects.config_map(CLIENT, {"chat_client.py": program}), made
    )
    site.kubectl("wait", "--for=condition=Ready", f"pod/{CLIENT}", "--timeout=300s")


@dataclass(frozen=True)
class Endpoint:
    """One of them."""

    site: Site
    name: str

    @property
    def now(self) -> Object:
        """As it is."""
        found = self.site.kubectl.get("modeldeployment", self.name)
        assert found is not None
        return found

    def told(self, type_: str, status: str, reason: str = "", *, seconds: float = 60) -> Object:
        """The deployment once a condition says this of its spec as it is now."""

        def found() -> Object | None:
            now = self.now
            return now if says(now, type_, status, reason) else None

        what = f"{self.name}: condition {type_} is {status} {reason}".rstrip()
        return eventually(found, what=what, seconds=seconds, explain=lambda: self.site.story(self.name))

    def rolled_out(self, seconds: float = 240) -> Object:
        """The deployment once all of its replicas are as the spec says."""
        return self.told("Progressing", "True", "RolledOut", seconds=seconds)

    def patch(self, **spec: Any) -> None:
        """Change members of its spec."""
        self.site.kubectl("patch", "modeldeployment", self.name, "--type=merge", "-p", json.dumps({"spec": spec}))

    @property
    def pods(self) -> list[Object]:
        """Those that are to stay, oldest first."""
        found = [pod for pod in self.site.pods(self.name) if "deletionTimestamp" not in pod["metadata"]]
        return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    @property
    def pod(self) -> Object:
        """The only one."""
        (found,) = self.pods
        return found

    def _client(self, *words: str) -> Any:
        url = f"http://{self.name}.{NAMESPACE}.svc:8000/v1"
        program = ("python", "/client/chat_client.py", url, *words)
        return json.loads(self.site.kubectl("exec", CLIENT, "--", *program))

    def ask(self, question: str) -> Any:
        """What it answers now."""
        return self._client("ask", question)

    def tools(self, name: str, question: str, tools: list[Object]) -> Any:
        """The calls that one of its names makes."""
        return self._client("tools", name, question, json.dumps(tools))

    def load(self, *, tokens: int = 300, streams: int = 1, short: int = 1) -> Load:
        """Requests without a pause, from now on."""
        folder = f"{LOAD}/{self.name}"
        client_shell(self.site, f"rm -rf {folder} && mkdir -p {folder}")
        pool = ThreadPoolExecutor(1)
        words = ("load", self.name, folder, str(tokens), str(streams), str(short))
        return Load(self.site, folder, pool.submit(self._client, *words), pool)

    def sockets(self) -> set[str]:
        """States of those on the port of the endpoint, once somebody listens there."""
        name = self.pod["metadata"]["name"]

        def found() -> set[str] | None:
            try:
                states = set(self.site.kubectl.text("exec", name, "--", "python", "-c", _SOCKETS).split())
            except CommandFailed:  # the container does not run yet
                return None
            return states if LISTENS in states else None

        return eventually(found, what=f"{name} listens", seconds=60, explain=lambda: self.site.story(self.name))

    def hold(self, seconds: float) -> None:
        """A connection that is kept for so long, though nothing is asked."""
        url = f"http://{self.name}.{NAMESPACE}.svc:8000/v1"
        hold = f"python /client/chat_client.py {url} hold {seconds} >/dev/null 2>&1 &"
        client_shell(self.site, f"rm -f {HELD}; {hold} until test -e {HELD}; do sleep 0.2; done")


def client_shell(site: Site, script: str) -> str:
    """What a shell script prints in the client's pod."""
    return site.kubectl.text("exec", CLIENT, "--", "sh", "-c", script)


@dataclass
class Load:
    """Requests under way."""

    site: Site
    folder: str
    _answers: Future[Any]
    _pool: ThreadPoolExecutor = field(repr=False)

    def flows(self) -> bool:
        """Whether a stream is in flight."""
        assert not self._answers.done(), self._answers.result()
        return "started" in client_shell(self.site, f"ls {self.folder}")

    def wait(self) -> None:
        """Until one is."""
        eventually(self.flows, what="a stream is in flight", seconds=60)

    def answered(self) -> int:
        """How many requests were, so far."""
        assert not self._answers.done(), self._answers.result()
        return len(client_shell(self.site, f"cat {self.folder}/answered || true"))

    def stop(self) -> dict[str, list[Object]]:
        """All answers, the last ones complete."""
        client_shell(self.site, f"touch {self.folder}/stop")
        found: dict[str, list[Object]] = self._answers.result(timeout=450)
        self._pool.shutdown()
        return found


def says(deployment: Object, type_: str, status: str, reason: str = "") -> bool:
    """Whether a condition says this of the spec as it is now."""
    said = condition(deployment, type_)
    fits = said.get("status") == status and said.get("reason") == (reason or said.get("reason"))
    return fits and bool(said["observedGeneration"] == deployment["metadata"]["generation"])


def revision(pod: Object) -> str:
    """That it is of."""
    return str(pod["metadata"]["labels"]["swiftop.dev/revision"])


def told_to_go(site: Site, pod: Object) -> float | None:
    """When; its time of deletion is that at which it will be ended."""
    now = site.kubectl.get("pod", pod["metadata"]["name"])
    assert now is not None, "it was gone before anybody saw it go"
    at = now["metadata"].get("deletionTimestamp")
    return datetime.fromisoformat(at).timestamp() - now["metadata"]["deletionGracePeriodSeconds"] if at else None


def lost(answers: dict[str, list[Object]]) -> list[Object]:
    """Answers that are none, not whole, or not the same as the first of their kind."""
    streams, short = answers["streams"], answers["short"]
    whole = ("length", streams[0].get("text"))
    found = [answer for answer in streams if (answer.get("ended"), answer.get("text")) != whole]
    return [*found, *(answer for answer in short if answer.get("text") != short[0].get("text") or "error" in answer)]
