"""How the operator takes a thousand runs at once: ``python -m tests.bench.operator_burst``.

Each part has a fresh control plane without a node, so that every pod stays Pending. Times come from the API server's
audit log, which has microseconds and knows who wrote what; CPU and memory from /proc. The floor is what the same
control plane does with the same number of bare Jobs made by the same script.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from swiftop import names
from swiftop.api.crd import definition
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.kinds.registry import MODELS
from swiftop.shell.rest import path_of
from tests.support.objects import children_of
from tools.cluster.embedded import EmbeddedCluster
from tools.cluster.layout import Options

Object = dict[str, Any]

NAMESPACE = "burst"
USER_AGENT = "burst-bench"
CONCURRENCY = 20
AGENTS = (b"swiftop/", b"kopf/", USER_AGENT.encode())  # nobody else is asked for
WRITES = {"create", "update", "patch", "delete"}
REST_SECONDS = 30.0


@dataclass(frozen=True)
class Request:
    """One line of the audit log."""

    at: float
    agent: str
    verb: str
    resource: str  # with its subresource
    name: str
    status: int


class Client:
    """A plain client whose requests the audit log tells from the operator's, of the administrator or of a token."""

    def __init__(self, kubeconfig: Path, *, token: str = "") -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server = cluster["server"]
        self._ssl = ssl.create_default_context(cadata=b64decode(cluster["certificate-authority-data"]).decode())
        self._headers = {"User-Agent": USER_AGENT, **({"Authorization": f"Bearer {token}"} if token else {})}
        if token:
            return
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(b64decode(user["client-certificate-data"]) + b"\n" + b64decode(user["client-key-data"]))
            pair.flush()
            self._ssl.load_cert_chain(pair.name)

    async def __aenter__(self) -> Client:
        connector = aiohttp.TCPConnector(ssl=self._ssl, limit=CONCURRENCY)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def send(
        self, method: str, path: str, body: Object | None = None, *, content: str = "application/json"
    ) -> Object:
        """One request; anything but success is an error."""
        status, answer = await self.ask(method, path, json.dumps(body) if body else None, content=content)
        assert status < 300, answer
        return answer

    async def ask(
        self, method: str, path: str, body: str | None, *, content: str = "application/json"
    ) -> tuple[int, Object]:
        """Status and answer of one request, whatever it is."""
        headers = {"Content-Type": content}
        async with self._session.request(method, self._server + path, data=body, headers=headers) as response:
            return response.status, await response.json(content_type=None)

    async def watch(self, path: str) -> AsyncIterator[Object]:
        """Events of what changes from now on, with the objects' metadata alone."""
        headers = {"Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
        endless = aiohttp.ClientTimeout(total=None)
        async with self._session.get(f"{self._server}{path}?watch=1", headers=headers, timeout=endless) as response:
            rest = b""
            async for part in response.content.iter_any():
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    yield json.loads(line)

    async def make_all(self, kind: names.Resource, objects: Sequence[Object], namespace: str = NAMESPACE) -> None:
        """POST all of them, a few at a time."""
        waiting = iter(objects)

        async def worker() -> None:
            for obj in waiting:
                await self.send("POST", path_of(kind, namespace), obj)

        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))


class Operator:
    """``swiftop run`` as a process that is measured, in the cluster's network as in a pod, not behind its forwarder."""

    def __init__(self, cluster: EmbeddedCluster) -> None:
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:443"
        kubeconfig = cluster.layout.log / "operator.kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(config))
        arguments = ["run", "-n", NAMESPACE, "--operator-namespace", NAMESPACE, "--port", "18099"]
        with (cluster.layout.log / "operator.log").open("a") as stderr:
            self._process = subprocess.Popen(
                [*cluster.enter("net"), str(Path(sys.executable).parent / "swiftop"), *arguments],
                env={**os.environ, "KUBECONFIG": str(kubeconfig), "SWIFTOP_LOG_JSON": "false"},
                stderr=stderr,
            )

    def __enter__(self) -> Operator:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def cpu_seconds(self) -> float:
        """User and system time so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_rss_mib(self) -> float:
        """Highest resident memory so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024

    def stop(self) -> None:
        """Clean stop."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(30) == 0


class Audit:
    """The audit log of one cluster, each line of which is read once: the measured parts share the processor with us."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._known: list[Request] = []

    def requests(self, *, since: float = 0.0, agent: str = "") -> list[Request]:
        """All successful requests of an agent, in order of their end."""
        self._read_on()
        found = (r for r in self._known if r.at >= since and r.agent.startswith(agent) and 0 < r.status < 300)
        return sorted(found, key=lambda r: r.at)

    def _read_on(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):  # still being written
                    return
                self._offset += len(line)
                if any(b'"userAgent":"' + agent in line for agent in AGENTS):
                    self._known.append(_request(json.loads(line)))

    def writes(self, *, since: float) -> list[Request]:
        """What the operator wrote, its Lease aside."""
        return [
            r
            for agent in ("swiftop/", "kopf/")
            for r in self.requests(since=since, agent=agent)
            if r.verb in WRITES and r.resource != "leases"
        ]

    def ends(self, resource: str, verb: str, *, agent: str, since: float = 0.0) -> dict[str, float]:
        """When this first succeeded for each name."""
        ends: dict[str, float] = {}
        for r in self.requests(since=since, agent=agent):
            if (r.resource, r.verb) == (resource, verb):
                ends.setdefault(r.name, r.at)
        return ends

    async def quiet(self, *, seconds: float, patience: float) -> None:
        """Wait until the operator has written nothing for so long."""
        async with asyncio.timeout(patience):
            while self.writes(since=time.time() - seconds):  # noqa: ASYNC110 - polls a process
                await asyncio.sleep(1)


def _request(line: Object) -> Request:
    ref = line.get("objectRef", {})
    at = datetime.fromisoformat(line["stageTimestamp"]).astimezone(UTC).timestamp()
    resource = "/".join(part for part in (ref.get("resource", ""), ref.get("subresource", "")) if part)
    status = line.get("responseStatus", {}).get("code", 0)
    return Request(at, line.get("userAgent", ""), line["verb"], resource, ref.get("name", ""), status)


def run_object(name: str) -> Object:
    """A run as people write them: hub model and dataset, LoRA, one GPU, output on a claim."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": "SFTRun",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "model": {"id": "Qwen/Qwen2.5-7B-Instruct"},
            "datasets": [{"id": "CodyWhy/mh-sharegpt-20250820"}],
            "tuner": {"type": "lora", "rank": 8, "alpha": 32, "targetModules": ["all-linear"]},
            "training": {"epochs": 1, "learningRate": "2e-4", "maxLength": 3072, "gradientAccumulationSteps": 16},
            "output": {"persistentVolumeClaim": {"claimName": "outputs"}},
            "resources": {"gpus": 1},
            "runtime": {"image": "registry.example/trainer:4.6"},
        },
    }


def job_object(name: str) -> Object:
    """The Job that the operator would make of such a run, without its owner: one that is not there takes it away."""
    run = SFTRun.from_object(_with_uid(run_object(name)))
    job = children_of(run)[-1]
    job["metadata"] = {"name": name, "namespace": NAMESPACE, "labels": job["metadata"]["labels"]}
    return job


def _with_uid(run: Object) -> Object:
    return {**run, "metadata": {**run["metadata"], "uid": "00000000-0000-0000-0000-000000000000"}}


def completion(job: Object, now: str) -> Object:
    """Merge patch of a Job's status that the API server takes for a success."""
    done = [
        {"type": kind, "status": "True", "lastTransitionTime": now, "lastProbeTime": now}
        for kind in ("SuccessCriteriaMet", "Complete")
    ]
    begun = job["status"].get("startTime", now)
    counts = {"active": 0, "ready": 0, "terminating": 0, "succeeded": 1}
    return {"status": {**counts, "startTime": begun, "completionTime": now, "conditions": done}}


@contextmanager
def control_plane(name: str, *, audit: bool = True) -> Iterator[EmbeddedCluster]:
    """A fresh control plane, gone afterwards."""
    cluster = EmbeddedCluster(name)
    cluster.down()
    cluster.up(Options(control_plane_only=True, audit=audit))
    try:
        yield cluster
    finally:
        cluster.purge()


def quantiles(values: Sequence[float]) -> str:
    """p50 / p99 in seconds."""
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return f"{cuts[49]:.2f} / {cuts[98]:.2f} s"


def report(what: str, value: str) -> None:
    """One figure."""
    print(f"{what:<58} {value}", flush=True)


async def until(condition: Callable[[], bool], *, patience: float) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110 - polls a process
            await asyncio.sleep(0.25)


async def floor(cluster: EmbeddedCluster, count: int) -> None:
    """The same number of the same Jobs, bare."""
    async with Client(cluster.kubeconfig) as client:
        await client.send("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        begun = time.time()
        await client.make_all(names.JOB, [job_object(f"job-{n}") for n in range(count)])
        seconds = time.time() - begun
    report(f"floor: {count} bare Jobs by a script", f"{seconds:.1f} s, {count / seconds:.0f} Jobs/s")


async def burst(cluster: EmbeddedCluster, count: int) -> None:
    """The runs, then 200 ends, then rest and a restart."""
    audit = Audit(cluster.layout.audit_log)
    async with Client(cluster.kubeconfig) as client:
        await prepared(client, NAMESPACE)
        with Operator(cluster) as operator:
            await client.make_all(names.SFTRUN, [run_object(f"warm-{n}") for n in range(20)])
            await until(lambda: len(audit.ends("jobs", "create", agent="swiftop/")) == 20, patience=60)
            await audit.quiet(seconds=3, patience=60)
            await creation(client, audit, operator, count)
            await ends(client, audit, min(200, count))
            await rest(cluster, audit, operator)


async def prepared(client: Client, *namespaces: str) -> None:
    """CRD and namespaces."""
    for model in MODELS:
        crd = definition(model)
        await client.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    for namespace in namespaces:
        await client.send("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    for _ in range(100):
        try:
            await client.send("GET", path_of(names.SFTRUN))
            return
        except (AssertionError, aiohttp.ContentTypeError):  # Established is not served
            await asyncio.sleep(0.2)
    raise TimeoutError("the CRD is not served")


async def creation(client: Client, audit: Audit, operator: Operator, count: int) -> None:
    """A burst of runs until each has its Job, then until the operator has nothing more to say."""
    cpu, begun = operator.cpu_seconds(), time.time()
    await client.make_all(names.SFTRUN, [run_object(f"run-{n}") for n in range(count)])
    applied = time.time()
    jobs: dict[str, float] = {}

    def all_made() -> bool:
        jobs.update(audit.ends("jobs", "create", agent="swiftop/", since=begun))
        return len(jobs) >= count

    await until(all_made, patience=300)
    cpu_to_jobs = operator.cpu_seconds() - cpu
    last = max(jobs.values()) - begun
    made = audit.ends("sftruns", "create", agent=USER_AGENT, since=begun)
    report(f"{count} runs applied within", f"{applied - begun:.1f} s")
    report("last Job after", f"{last:.1f} s, {count / last:.0f} Jobs/s")
    report(
        "creation to Job, p50 / p99",
        quantiles([jobs[names.job_name(names.SFTRUN, run, 1)] - at for run, at in made.items()]),
    )
    report("operator CPU until the last Job", f"{cpu_to_jobs:.1f} s")
    await audit.quiet(seconds=5, patience=300)
    report("operator CPU until all pods are explained", f"{operator.cpu_seconds() - cpu:.1f} s")
    report("operator peak RSS", f"{operator.peak_rss_mib():.0f} MiB")
    writes = audit.writes(since=begun)
    kinds = Counter(f"{r.verb} {r.resource}" for r in writes)
    told = ", ".join(f"{n / count:.2f} {kind}" for kind, n in kinds.most_common())
    report("API writes per run", f"{len(writes) / count:.2f} ({told})")


async def ends(client: Client, audit: Audit, count: int) -> None:
    """Jobs that end at once, until their runs say so."""
    jobs = [await client.send("GET", path_of(names.JOB, NAMESPACE, f"run-{n}-1")) for n in range(count)]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    waiting, begun = iter(jobs), time.time()

    async def worker() -> None:
        for job in waiting:
            path = path_of(names.JOB, NAMESPACE, job["metadata"]["name"]) + "/status"
            await client.send("PATCH", path, completion(job, now), content="application/merge-patch+json")

    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    patched = audit.ends("jobs/status", "patch", agent=USER_AGENT, since=begun)
    seen: dict[str, float] = {}

    def all_seen() -> bool:
        seen.update(audit.ends("sftruns/status", "patch", agent="swiftop/", since=begun))
        return all(f"run-{n}" in seen for n in range(count))

    await until(all_seen, patience=60)
    lags = [seen[f"run-{n}"] - patched[f"run-{n}-1"] for n in range(count)]
    report(f"{count} Jobs complete at once: Job to run, p50 / p99", quantiles(lags))
    await audit.quiet(seconds=3, patience=60)
    states: Counter[str] = Counter()
    for n in range(count):
        run = await client.send("GET", path_of(names.SFTRUN, NAMESPACE, f"run-{n}"))
        states[run["status"]["state"]] += 1
    assert states == {"Succeeded": count}, states


async def rest(cluster: EmbeddedCluster, audit: Audit, operator: Operator) -> None:
    """Nothing happens: nothing is written; the same after a restart."""
    since, cpu = time.time(), operator.cpu_seconds()
    await asyncio.sleep(REST_SECONDS)
    report(f"writes at rest in {REST_SECONDS:.0f} s", str(len(audit.writes(since=since))))
    report("operator CPU at rest", f"{(operator.cpu_seconds() - cpu) / REST_SECONDS * 100:.1f} % of a core")
    operator.stop()
    since = time.time()
    with Operator(cluster) as successor:
        await asyncio.sleep(REST_SECONDS)
        report(f"writes in {REST_SECONDS:.0f} s after a restart", str(len(audit.writes(since=since))))
        report("operator CPU after a restart", f"{successor.cpu_seconds():.1f} s")
        report("operator peak RSS after a restart", f"{successor.peak_rss_mib():.0f} MiB")
        successor.stop()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--no-floor", action="store_true")
    options = parser.parse_args()
    if not options.no_floor:
        with control_plane("bench-floor") as cluster:
            asyncio.run(floor(cluster, options.runs))
    with control_plane("bench-burst") as cluster:
        asyncio.run(burst(cluster, options.runs))


if __name__ == "__main__":
    main()
