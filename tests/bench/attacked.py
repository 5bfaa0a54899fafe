"""An operator that is attacked: what becomes of another namespace's runs, of its Lease, its memory and its pages.

All of it runs in the network of the cluster, as pods do.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from swiftop import names
from swiftop.runner.protocol import PROGRESS_PREFIX
from swiftop.shell.rest import path_of
from tests.apiserver.proxy import Proxy
from tests.apiserver.runs import run_of
from tests.bench.operator_burst import Client, Object, prepared
from tests.bench.operator_memory import memory_mib

LOUD, CALM = "loud", "calm"  # the namespace that attacks, and the one beside it
OWN = names.OPERATOR_NAMESPACE
BASE = Path(__file__).parents[2] / "manifests" / "base"
PAGE_PORT = 18099

_EVERY = 1.5  # seconds between two runs of the calm namespace
_PATIENCE = 30.0  # seconds that the last of them may take
_PROBE_SECONDS = 5.0  # as the readiness probe
_JUNK = (PROGRESS_PREFIX.encode() + b"{\n") * 3000


async def furnish(admin: Client, *, without: str = "") -> tuple[str, str]:
    """CRDs, namespaces and rights, those on one resource aside. Tokens of the operator and of a tenant."""
    await prepared(admin, LOUD, CALM, OWN)
    for obj in yaml.safe_load_all((BASE / "rbac.yaml").read_text()):
        for rule in obj.get("rules", ()):
            rule["resources"] = [resource for resource in rule["resources"] if resource != without]
        await admin.send("POST", _path_of(obj), {**obj, "rules": [r for r in obj.get("rules", ()) if r["resources"]]})
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "tenant", "namespace": LOUD}}
    await admin.send("POST", _path_of(account), account)
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "tenant", "namespace": LOUD},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "tenant", "namespace": LOUD}],
    }
    await admin.send("POST", _path_of(binding), binding)
    return await _token(admin, OWN, "swiftop"), await _token(admin, LOUD, "tenant")


def _path_of(obj: Object) -> str:
    version, namespace = obj["apiVersion"], obj["metadata"].get("namespace", OWN)
    namespace = "" if obj["kind"].startswith("Cluster") else namespace
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return root + (f"/namespaces/{namespace}" if namespace else "") + f"/{obj['kind'].lower()}s"


async def _token(admin: Client, namespace: str, account: str) -> str:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    answer = await admin.send("POST", path, {"spec": {"expirationSeconds": 7200}})
    return str(answer["status"]["token"])


class Courtesies(Proxy):
    """An API server that is slow, or worse, in what the operator asks beside its work."""

    def __init__(self, kubeconfig: Path, *, token: str, fault: str) -> None:
        super().__init__(kubeconfig, token=token)
        self._fault = fault

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        if self._fault == "events" and request.path.endswith("/events"):
            await asyncio.sleep(25)
        if self._fault == "logs" and request.path.endswith("/log"):
            return await self._junk(request)
        return await super()._pass(request)

    async def _junk(self, request: web.Request) -> web.StreamResponse:
        """A log that never ends."""
        answer = web.StreamResponse()
        with suppress(ConnectionError):
            await answer.prepare(request)
            while True:
                await answer.write(_JUNK)
        return answer


def proxied(kubeconfig: Path, token: str, fault: str, told: Connection) -> None:
    """Be the proxy, in a process of its own; tells the kubeconfig that leads through it."""

    async def be() -> None:
        async with Courtesies(kubeconfig, token=token, fault=fault) as proxy:
            told.send(str(proxy.kubeconfig))
            await asyncio.Event().wait()

    asyncio.run(be())


class Operator:
    """``swiftop run`` with the rights of the manifests, as a process that is looked at."""

    def __init__(self, kubeconfig: Path, log: Path, niceness: int) -> None:
        arguments = ["run", "--operator-namespace", OWN, "--port", str(PAGE_PORT)]
        with log.open("a") as stderr:
            self._process = subprocess.Popen(
                [str(Path(sys.executable).parent / "swiftop"), *arguments],
                env={**os.environ, "KUBECONFIG": str(kubeconfig), "SWIFTOP_LOG_JSON": "false"},
                stderr=stderr,
            )
        os.setpriority(os.PRIO_PROCESS, self._process.pid, niceness)
        self.memory: list[float] = []

    def __enter__(self) -> Operator:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def ended(self) -> int | None:
        """Its exit code, which it must not have."""
        return self._process.poll()

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        if self.ended is not None:
            return 0.0
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def note_memory(self) -> float:
        """Resident memory goes to the list; its peak is returned."""
        if self.ended is not None:
            return 0.0
        now = memory_mib(self._process.pid)
        self.memory.append(now["VmRSS"])
        return now["VmHWM"]


@dataclass
class Pages:
    """What the probes of the kubelet would get."""

    answers: list[tuple[str, int, float]] = field(default_factory=list)  # page, status, seconds

    async def ask_for_ever(self) -> None:
        """Each page once a second."""
        async with aiohttp.ClientSession() as session:
            while True:
                for page in ("healthz", "readyz"):
                    await self._ask(session, page)
                await asyncio.sleep(1)

    async def _ask(self, session: aiohttp.ClientSession, page: str) -> int:
        begun, status = time.monotonic(), 0
        with suppress(aiohttp.ClientError, TimeoutError):
            patience = aiohttp.ClientTimeout(total=_PROBE_SECONDS)
            async with session.get(f"http://127.0.0.1:{PAGE_PORT}/{page}", timeout=patience) as answer:
                status = answer.status
        self.answers.append((page, status, time.monotonic() - begun))
        return status

    def failed(self, page: str) -> int:
        """Probes that got no 200 in time."""
        return sum(1 for asked, status, _ in self.answers if asked == page and status != 200)


@dataclass
class Lease:
    """The leader's Lease."""

    admin: Client
    renewals: list[float] = field(default_factory=list)
    transitions: set[int] = field(default_factory=set)

    async def look(self) -> bool:
        """Once; whether somebody holds it."""
        status, lease = await self.admin.ask("GET", path_of(names.LEASE, OWN, "swiftop"), None)
        if status != 200 or not lease["spec"].get("holderIdentity"):
            return False
        renewed = datetime.fromisoformat(lease["spec"]["renewTime"]).timestamp()
        self.transitions.add(lease["spec"]["leaseTransitions"])
        if renewed not in self.renewals:
            self.renewals.append(renewed)
        return True

    async def look_for_ever(self) -> None:
        """Oftener than it is renewed."""
        while True:
            await self.look()
            await asyncio.sleep(0.5)

    def longest(self) -> float:
        """Seconds between two renewals."""
        pairs = zip(self.renewals, self.renewals[1:], strict=False)
        return max((after - before for before, after in pairs), default=0.0)


class Calm:
    """Runs of the other namespace, and when each has its Job.

    Beside them a ConfigMap by the least of all controllers, which watches and posts: what the API server takes for that
    is its own and the machine's part.
    """

    def __init__(self, admin: Client) -> None:
        self._admin = admin
        self._begun: dict[str, float] = {}
        self._made: dict[str, float] = {}
        self._least: dict[str, float] = {}
        self.posts: list[float] = []  # seconds that the API server itself took

    async def watch(self) -> None:
        """Note each Job."""
        async for event in self._admin.watch(path_of(names.JOB, CALM)):
            meta = event["object"]["metadata"]
            self._made.setdefault((meta.get("labels") or {}).get(names.LABEL_NAME, ""), time.monotonic())

    async def control(self) -> None:
        """Be the least controller."""
        async for event in self._admin.watch(path_of(names.SFTRUN, CALM)):
            if event["type"] == "ADDED":
                body = {"metadata": {"name": event["object"]["metadata"]["name"]}}
                await self._admin.ask("POST", path_of(names.CONFIG_MAP, CALM), json.dumps(body))

    async def watch_least(self) -> None:
        """Note what it makes."""
        async for event in self._admin.watch(path_of(names.CONFIG_MAP, CALM)):
            self._least.setdefault(event["object"]["metadata"]["name"], time.monotonic())

    async def apply_for(self, seconds: float) -> None:
        """One run after the other, whatever became of those before."""
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < end:
                group.create_task(self._apply(f"run-{len(self._begun)}"))
                await asyncio.sleep(_EVERY)

    async def _apply(self, name: str) -> None:
        self._begun[name] = time.monotonic()
        await self._admin.send("POST", path_of(names.SFTRUN, CALM), run_of(name, CALM))
        self.posts.append(time.monotonic() - self._begun[name])

    def missing(self) -> list[str]:
        """Runs without a Job."""
        return [name for name in self._begun if name not in self._made]

    def waits(self) -> list[float]:
        """Seconds from apply to Job; of one that has none, until now."""
        return self._since(self._made)

    def least(self) -> list[float]:
        """The same of the least controller."""
        return self._since(self._least)

    def _since(self, made: dict[str, float]) -> list[float]:
        now = time.monotonic()
        return [made.get(name, now) - begun for name, begun in self._begun.items()]


async def measure(admin: Client, operator: Operator, lease: Lease, seconds: float) -> Object:
    """All figures of one attack that is going on."""
    calm, pages, cpu, load = Calm(admin), Pages(), operator.cpu_seconds(), os.getloadavg()[0]
    looks = [
        asyncio.create_task(look)
        for look in (
            calm.watch(),
            calm.control(),
            calm.watch_least(),
            pages.ask_for_ever(),
            _note_memory(operator),
        )
    ]
    begun = time.monotonic()
    await calm.apply_for(seconds)
    used = (operator.cpu_seconds() - cpu) / (time.monotonic() - begun)
    with suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            while calm.missing():  # noqa: ASYNC110 - polls a cluster
                await asyncio.sleep(0.1)
    for look in looks:
        look.cancel()
    for error in await asyncio.gather(*looks, return_exceptions=True):
        if error is not None and not isinstance(error, asyncio.CancelledError):
            raise error
    return {
        "runs": len(calm.waits()),
        "without": len(calm.missing()),
        "waits": quantiles(calm.waits()),
        "least": quantiles(calm.least()),
        "posts": quantiles(calm.posts),
        "renewals": len(lease.renewals),
        "longest": lease.longest(),
        "transitions": max(lease.transitions) - min(lease.transitions),
        "rss": [operator.memory[0], operator.memory[len(operator.memory) // 2], operator.memory[-1]],
        "peak": operator.note_memory(),
        "cpu": used,
        "unhealthy": pages.failed("healthz"),
        "unready": pages.failed("readyz"),
        "slowest": max(seconds for _, _, seconds in pages.answers),
        "ended": operator.ended,
        "load": [load, os.getloadavg()[0]],
    }


async def _note_memory(operator: Operator) -> None:
    while True:
        operator.note_memory()
        await asyncio.sleep(1)


def quantiles(values: list[float]) -> list[float]:
    """p50, p99 and the longest."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return [cuts[49], cuts[98], max(values)]


def through(kubeconfig: Path, *, user: dict[str, Any], to: Path) -> Path:
    """A kubeconfig for somebody within the cluster's network."""
    config = yaml.safe_load(kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:443"
    config["users"][0]["user"] = user or config["users"][0]["user"]
    to.write_text(yaml.safe_dump(config))
    return to
