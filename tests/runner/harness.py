"""Starts the real zip file as a process, as PID 1 of its own PID namespace when asked, and looks at it from outside."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from swiftop.runner.bundle import bundle
from swiftop.runner.child import children_of
from swiftop.runner.protocol import DEFAULT_LOGGING_STEPS, PLAN_VARIABLE, PLAN_VERSION, Owner, Plan, TrainSettings
from swiftop.runner.typed_json import to_json

OLDEST = (3, 9)  # that the runner promises to work with
FAKE = str(Path(__file__).with_name("fake_sft.py"))
OWNER = Owner("SFTRun", "ns", "demo", "uid-1")
_SETTINGS = {item.name for item in fields(TrainSettings)}
UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


@cache
def interpreters() -> dict[str, str]:
    """One Python of each version from ``OLDEST`` on that this machine has, the oldest first."""
    roots = [*map(Path, os.environ["PATH"].split(os.pathsep)), *Path.home().glob(".pyenv/versions/*/bin")]
    paths = [path for root in roots for path in sorted(root.glob("python3.*")) if path.suffix[1:].isdigit()]
    found = {"3." + str(sys.version_info.minor): sys.executable}
    for path in paths:
        version = path.name.removeprefix("python")
        ask = [str(path), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]  # a shim may lead to none
        told = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
        if told == version and tuple(map(int, version.split("."))) >= OLDEST:
            found.setdefault(version, str(path))
    return {version: found[version] for version in sorted(found, key=lambda text: int(text.partition(".")[2]))}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], *, seconds: float = 30, what: str = "condition") -> Any:
    """The first true answer of ``condition``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{what} not reached within {seconds} s")


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``."""
    children = children_of(pid)
    return [*children, *(below for child in children for below in descendants(child))]


def alive(pid: int) -> bool:
    """Whether it still does something; what is left of a killed process until its parent asks does nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass
class Bench:
    """One output directory, and the executions of a run on it."""

    directory: Path
    prefix: tuple[str, ...] = ()
    python: str = sys.executable
    mounted: str = ""  # where the runner sees the directory; empty: in the same place
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory.mkdir(exist_ok=True)
        self.zip = self.inside("runner.pyz")
        self.local("runner.pyz").write_bytes(bundle())
        self._processes: list[subprocess.Popen[bytes]] = []

    def inside(self, *names: str) -> str:
        """A path as the runner sees it."""
        return str(Path(self.mounted or self.directory).joinpath(*names))

    def local(self, *names: str) -> Path:
        return self.directory.joinpath(*names)

    @property
    def output(self) -> Path:
        return self.local("out")

    def plan(self, command: list[str], **changes: Any) -> Plan:
        """A plan with these attributes of ``Plan`` and of ``TrainSettings``."""
        settings = {name: changes.pop(name) for name in _SETTINGS & changes.keys()}
        usual = {
            "program": "train",
            "owner": OWNER,
            "attempt": 1,
            "command": tuple(command),
            "output_dir": self.inside("out"),
            "port": free_port(),
            "progress_interval": 1.0,
            "settings": to_json(
                TrainSettings(**{"logging_steps": DEFAULT_LOGGING_STEPS, "finish_timeout": 2.0, **settings})
            ),
            "termination_log": self.inside("termination-log"),
        }
        return Plan(**{**usual, **changes})

    def start(
        self,
        command: list[str],
        *,
        environ: Mapping[str, str] | None = None,
        unread: bool = False,
        version: int = PLAN_VERSION,
        **changes: Any,
    ) -> Execution:
        """Start the runner; ``unread``: its log is a pipe that nobody reads."""
        plan = self.plan(command, **changes)
        log = self.local(f"log-{time.monotonic_ns()}")
        self.local("termination-log").unlink(missing_ok=True)
        with log.open("wb") as file:
            process = subprocess.Popen(
                [*self.prefix, self.python, self.zip],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if unread else file,
                stderr=file,
                env={
                    "PATH": os.environ["PATH"],
                    "FAKE_OUTPUT": self.inside("out"),
                    PLAN_VARIABLE: json.dumps({**json.loads(plan.to_json()), "version": version}),
                    **self.environ,
                    **(environ or {}),
                },
            )
        self._processes.append(process)
        return Execution(self, process, log, plan.port)

    def close(self) -> None:
        """End what a failed test has left running, the training included."""
        for process in self._processes:
            if process.poll() is None:
                for pid in [*descendants(process.pid), process.pid]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                process.wait()

    def fake(self, mode: str, *args: str, **changes: Any) -> Execution:
        """Start the runner with the stand-in for ms-swift."""
        return self.start([self.python, FAKE, mode, *args], **changes)

    @property
    def record(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self.output / "swiftop-run.json").read_text())
        return data


@dataclass
class Execution:
    """One running or ended runner."""

    bench: Bench
    process: subprocess.Popen[bytes]
    log_file: Path
    port: int

    @property
    def log(self) -> str:
        return self.log_file.read_bytes().decode()

    @property
    def runner_pid(self) -> int:
        """The runner itself: under ``unshare`` it is the child."""
        if not self.bench.prefix:
            return self.process.pid
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(wait_until(lambda: children.read_text().split(), what="child of unshare")[0])

    def get(self, path: str) -> str | None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.suppress(OSError):
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        return None

    def progress(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.get("/progress") or "{}")
        return data

    def wait_for_step(self, step: int, seconds: float = 60) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            assert self.process.poll() is None, self.log[-3000:]
            data = self.progress()
            return data if (data.get("step") or 0) >= step else None

        data: dict[str, Any] = wait_until(reached, seconds=seconds, what=f"step {step}")
        return data

    def wait_for_log(self, text: str, seconds: float = 30) -> None:
        wait_until(lambda: text in self.log, seconds=seconds, what=f"{text!r} in the log")

    def terminate(self) -> None:
        os.kill(self.runner_pid, signal.SIGTERM)

    def kill(self) -> None:
        """As when the node is lost: nothing is said, and with PID 1 goes everything."""
        os.kill(self.runner_pid, signal.SIGKILL)
        self.process.wait(30)

    def end(self, seconds: float = 60) -> tuple[int, dict[str, Any]]:
        """Exit code and termination message."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            self.process.kill()
            raise AssertionError(f"still running after {seconds} s:\n{self.log[-3000:]}") from error
        raw = self.bench.local("termination-log").read_bytes()
        assert len(raw) <= 4096
        return code, json.loads(raw)
