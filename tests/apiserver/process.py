"""The operator as a process of its own, and waiting for what it does."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self, TypeVar

import httpx

from swiftop import names
from swiftop.shell.cluster import Cluster

T = TypeVar("T")

_START_SECONDS = 60  # importing alone takes long on a busy machine; no test is about it


async def eventually(look: Callable[[], Awaitable[T]], *, within: float, every: float = 0.05) -> T:
    """What ``look`` returns once that is true; fails with its last answer after ``within`` seconds."""
    end = time.monotonic() + within
    while True:
        answer = await look()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {within} s; last answer: {answer!r}"
        await asyncio.sleep(every)


async def started(k8s: Cluster, namespace: str, name: str, *, within: float) -> None:
    """Wait until the run has its Job and a status that says so."""

    async def look() -> bool:
        run = await k8s.get(names.SFTRUN, namespace, name)
        job = await k8s.get(names.JOB, namespace, names.job_name(names.SFTRUN, name, 1))
        return bool(run and run.get("status", {}).get("attempts") == 1 and job)

    await eventually(look, within=within)


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class OperatorProcess:
    """``swiftop run`` on one namespace, which also holds its Lease."""

    def __init__(self, kubeconfig: Path, namespace: str, **environment: str) -> None:
        self._port = free_port()
        self._log = tempfile.NamedTemporaryFile("w+", suffix=".log")  # noqa: SIM115 - lives as long as this object
        self._arguments = ("-n", namespace, "--operator-namespace", namespace, "--port", str(self._port))
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "SWIFTOP_LOG_JSON": "true", **environment}
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "swiftop"),
            "run",
            *self._arguments,
            env=self._environment,
            stderr=self._log,
        )
        await eventually(self.healthy, within=_START_SECONDS)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        self._log.close()

    async def refused(self, *arguments: str) -> tuple[int, str]:
        """Exit code and log of a start with further arguments that ends by itself."""
        command = (str(Path(sys.executable).parent / "swiftop"), "run", *self._arguments, *arguments)
        process = await asyncio.create_subprocess_exec(*command, env=self._environment, stderr=self._log)
        code = await asyncio.wait_for(process.wait(), _START_SECONDS)
        told = self.log
        self._log.close()
        return code, told

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The running process."""
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        """All that it has logged."""
        return Path(self._log.name).read_text()

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def ended(self, *, within: float) -> int:
        """Exit code."""
        return await asyncio.wait_for(self.process.wait(), within)

    async def healthy(self) -> bool:
        """Whether the health page says ok."""
        assert self.process.returncode is None, f"ended with {self.process.returncode}:\n{self.log}"
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                return (await client.get(f"http://127.0.0.1:{self._port}/healthz")).status_code == 200
        except httpx.TransportError:
            return False

    async def metrics(self) -> dict[str, float]:
        """Samples by their name with labels."""
        async with httpx.AsyncClient(trust_env=False) as client:
            text = (await client.get(f"http://127.0.0.1:{self._port}/metrics")).text
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    async def leads(self) -> bool:
        """Whether it holds the Lease and has read the cluster."""
        seen = await self.metrics()
        return bool(seen["swiftop_lease_held"] and seen["swiftop_last_resync_timestamp_seconds"])

    async def writes(self) -> float:
        """Writes to the API server apart from the Lease's."""
        seen = await self.metrics()
        return sum(n for name, n in seen.items() if name.startswith("swiftop_api_writes_total") and "Lease" not in name)
