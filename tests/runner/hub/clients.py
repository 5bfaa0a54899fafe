"""The real clients of both hubs as a pod has them, against the fake hub: each task a process in the trainer's image."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftop.runner.hub.request import HUGGINGFACE, MODEL, MODELSCOPE, Push, Target
from swiftop.runner.typed_json import to_json
from tests.runner.harness import free_port, wait_until
from tests.swift_versions.environments import Environment

ROOT = Path(__file__).parents[3]
FAKES = ROOT / "tests" / "fakes"
TOKEN, STRANGER = "ms-canary-8f2e-4b17", "ms-canary-of-nobody"
UID = "0f3a1c9e-5d1b-4e0a-9a55-0c1d2e3f4a5b"
MARKER = f".swiftop/{UID}.json"
USER = 1000
# Hub and environment of each client; those of the trainer's image first.
CLIENTS = {
    "modelscope": (MODELSCOPE, "4.6"),
    "huggingface-0": (HUGGINGFACE, "4.6"),
    "huggingface-1": (HUGGINGFACE, "4.6-transformers5"),
}
IN_THE_IMAGE = ("modelscope", "huggingface-0")
ENVIRONMENTS, SOURCES, WORK = "/mnt", "/srv", "/media"  # inside; every Debian has these empty directories
ENTER = f"""set -e
root=$1; mount --bind "$2" "$root{ENVIRONMENTS}"; mount --bind "$3" "$root{SOURCES}"; mount --bind "$4" "$root{WORK}"
mount --rbind /dev "$root/dev"; mount -t proc proc "$root/proc"; mount -t tmpfs tmpfs "$root/tmp"
shift 4; exec chroot --userspec={USER}:{USER} "$root" "$@"
"""


@dataclass(frozen=True)
class Client:
    """One hub, and an environment with its client."""

    hub: str
    environment: Environment


@dataclass(frozen=True)
class Done:
    """How a task ended."""

    code: int
    result: dict[str, Any]
    refused: dict[str, Any]
    progress: dict[str, Any]
    log: str
    seconds: float

    @property
    def reason(self) -> str:
        """Of the cause; empty for a success."""
        return str(self.refused.get("reason", ""))


@dataclass
class FakeHub:
    """The server, as tests see it."""

    port: int
    upload_port: int
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def other(self) -> str:
        """A second address, which is not the hub's own."""
        return f"http://127.0.0.1:{self.upload_port}"

    def ask(self, path: str, body: object = None) -> Any:
        """Tell the fake something, or ask it."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.url}{path}", data=data, timeout=10) as answer:
            return json.load(answer)

    def faults(self, *faults: Mapping[str, Any]) -> None:
        """What goes wrong next."""
        self.ask("/_faults", list(faults))

    def pending(self) -> dict[str, Any]:
        """Requests that are held, and faults that have not come."""
        found: dict[str, Any] = self.ask("/_pending")
        return found

    def repository(self, hub: str, name: str = "alice/demo") -> dict[str, Any]:
        """What is in it."""
        found: dict[str, Any] = self.ask("/_state")[hub][name]
        return found

    def requests(self, path: str = "") -> list[dict[str, Any]]:
        """What was asked, as far as the path has this text."""
        return [entry for entry in self.ask("/_recorded") if path in entry["path"]]


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """A hub that knows ``TOKEN``."""
    port, upload_port = free_port(), free_port()
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    options = ["--port", str(port), "--upload-port", str(upload_port), "--token-sha256", digest]
    server = subprocess.Popen([sys.executable, str(FAKES / "hub_server.py"), *options])
    hub = FakeHub(port, upload_port, server)

    def answers() -> bool:
        try:
            return bool(hub.ask("/_state"))
        except (urllib.error.URLError, ConnectionError):
            return False

    try:
        wait_until(answers)
        yield hub
    finally:
        server.kill()
        server.wait()


@dataclass(frozen=True)
class Desk:
    """One client, one hub, and a folder of its own to publish."""

    client: Client
    hub: FakeHub
    directory: Path

    @property
    def source(self) -> Path:
        """The folder that is published."""
        return self.directory / "model"

    @property
    def repository(self) -> dict[str, Any]:
        """What came of it."""
        return self.hub.repository(self.client.hub)

    def push(self, **changes: Any) -> Push:
        """A request; members of its target too."""
        names = Target.__dataclass_fields__
        target: dict[str, Any] = {"hub": self.client.hub, "repo": "alice/demo", "repo_type": MODEL}
        target.update(token_env="PUSH_TOKEN", **{name: value for name, value in changes.items() if name in names})
        rest = {name: value for name, value in changes.items() if name not in names}
        options = {"uid": UID, "source": f"{WORK}/model", "backoff_seconds": 0.05, **rest}
        return Push(Target(**target), **options)

    def run(self, task: str = "hub.push", *, token: str = TOKEN, endpoint: str = "", **changes: Any) -> Done:
        """Run the task to its end."""
        process = self.start(task, token=token, endpoint=endpoint, **changes)
        return self.end(process)

    def start(self, task: str = "hub.push", *, token: str = TOKEN, endpoint: str = "", **changes: Any) -> Running:
        """Run the task."""
        number = len(list(self.directory.glob("task-*")))
        directory = self.directory / f"task-{number}"
        directory.mkdir()
        directory.chmod(0o777)
        (directory / "request").write_text(json.dumps(to_json(self.push(**changes))))
        environ = {**self._environ(endpoint or self.hub.url), "PUSH_TOKEN": token}
        command = self._command("-m", f"swiftop.runner.{task}", f"{WORK}/{directory.name}")
        log = (directory / "log").open("wb")
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=subprocess.STDOUT)
        return Running(process, directory, os.times().elapsed)

    def python(self, code: str) -> str:
        """What a user's program says, who is logged in."""
        environ = {**self._environ(self.hub.url), "HOME": "/tmp", "MODELSCOPE_API_TOKEN": TOKEN, "HF_TOKEN": TOKEN}
        done = subprocess.run(self._command("-c", code), env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _command(self, *words: str) -> list[str]:
        environment = self.client.environment
        enter = ["unshare", "--pid", "--fork", "--mount", "--kill-child", "sh", "-c", ENTER, "sh"]
        mounts = [str(environment.rootfs), str(environment.store), str(ROOT / "operator"), str(self.directory)]
        return [*enter, *mounts, environment.python, *words]

    def _environ(self, address: str) -> dict[str, str]:
        return {
            "PATH": "/opt/swift/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/nonexistent",
            "LANG": "C.UTF-8",
            "PYTHONPATH": SOURCES,
            "PYTHONDONTWRITEBYTECODE": "1",
            "MODELSCOPE_ENDPOINT": address,
            "HF_ENDPOINT": address,
        }

    def end(self, running: Running) -> Done:
        """Wait for it; whatever it left holds no token."""
        code = running.process.wait(120)
        left = {name: _read(running.directory / name) for name in ("result", "refused", "progress")}
        log = (running.directory / "log").read_text()
        assert TOKEN not in log + json.dumps(left)
        return Done(code, **left, log=log, seconds=os.times().elapsed - running.started)


@dataclass(frozen=True)
class Running:
    """A task on its way."""

    process: subprocess.Popen[bytes]
    directory: Path
    started: float


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found
