"""The engine with its real store on the cluster in memory, driven by hand: no clock, no tasks, no sleeping."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from swiftop import names
from swiftop.engine.reconcile import Reconciler
from swiftop.errors import Transient
from swiftop.kinds.registry import KINDS, WATCHED
from swiftop.model.conditions import by_type
from swiftop.model.kind import Key, Kind, Reading
from swiftop.runner.report import TRAINING, read, read_acceleration, read_previous
from swiftop.shell.store import Store
from tests.engine.fakecluster import START, FakeCluster, Object, copied
from tests.engine.kubernetes import NAMESPACE, Kubernetes, sftrun, termination

WATCHED_KINDS = tuple(WATCHED)


@dataclass
class Readings:
    """Source of reports whose readings a test sets."""

    by_pod: dict[str, Reading] = field(default_factory=dict)

    def latest(self, pod_uid: str) -> Reading | None:
        return self.by_pod.get(pod_uid)


class Harness:
    """One operator process and its cluster."""

    def __init__(self, cluster: FakeCluster | None = None, run: str = "tiny") -> None:
        self.cluster = cluster or FakeCluster()
        self.kubernetes = Kubernetes(self.cluster, run)
        self.key = Key("SFTRun", NAMESPACE, run)
        self.delivered = 0
        self.watched = WATCHED
        self.readings = Readings()
        self.restart()

    def restart(self, listed: tuple[names.Resource, ...] = WATCHED_KINDS, *, kinds: Mapping[str, Kind] = KINDS) -> None:
        """A new process: nothing is remembered but what is in the cluster, of which this much is listed already."""
        self.store = Store(kinds)
        self.engine = Reconciler(
            cluster=self.cluster,
            store=self.store,
            progress=self.readings,
            kinds=kinds,
            clock=self.cluster.clock,
            monotonic=lambda: self.cluster.clock() - START,  # a clock of its own, that only runs forward
        )
        self.cluster.wrote = lambda _verb, obj: self._note("MODIFIED", obj)
        self.resync(listed)

    def resync(self, listed: tuple[names.Resource, ...] = WATCHED_KINDS) -> None:
        for kind in listed:
            objects = [copied(obj) for obj in self.cluster.of_kind(kind)]
            relist = self.store.relist(kind)
            relist.page(objects, version=self.cluster._version)
            relist.end()
        self.delivered = len(self.cluster.log)

    def deliver(self) -> None:
        """All watch events that are still under way."""
        for type_, obj in self.cluster.log[self.delivered :]:
            self._note(type_, obj)
        self.delivered = len(self.cluster.log)

    def _note(self, type_: str, obj: Object) -> None:
        kind = names.RESOURCES.get(obj["kind"])
        managed = (obj["metadata"].get("labels") or {}).get(names.LABEL_MANAGED_BY) == names.MANAGED_BY
        if kind is None or kind not in self.watched or not (managed or not self.watched[kind]):
            return
        if type_ == "DELETED":
            self.store.forget(kind, copied(obj))
        else:
            self.store.observe(kind, copied(obj))

    async def look(self) -> float | None:
        """Deliver what is under way and look at the run once."""
        self.deliver()
        return await self.engine.reconcile(self.key)

    async def settle(self, most: int = 10) -> None:
        """Look until nothing is written any more, over any errors that are retried."""
        for _ in range(most):
            before = len(self.cluster.writes)
            try:
                await self.look()
            except Transient:
                continue
            if len(self.cluster.writes) == before:
                return
        raise AssertionError(f"not settled after {most} looks: {self.cluster.writes[-5:]}")

    def apply(self, obj: Object | None = None, **spec: Any) -> Object:
        return self.cluster.put(obj or sftrun(self.key.name, **spec))

    def say(self, **document: Any) -> None:
        """The pod of the run says how far it is."""
        accelerated = read_acceleration(document)
        self._hear(Reading(read(TRAINING, document), read_previous(document), acceleration=accelerated))

    def fall_silent(self) -> None:
        """Neither the page nor the log of the pod can be read."""
        self._hear(Reading(None, reachable=False))

    def _hear(self, reading: Reading) -> None:
        pod = self.cluster.find(names.POD, self.kubernetes.pod_name)
        self.readings.by_pod[pod["metadata"]["uid"]] = reading

    @property
    def run(self) -> Object:
        return self.cluster.find(names.SFTRUN, self.key.name)

    @property
    def status(self) -> Object:
        found: Object = self.run.get("status", {})
        return found

    def condition(self, type_: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        found = by_type(self.status)[type_]
        return found["status"], found["reason"]

    @property
    def job_names(self) -> list[str]:
        """Of the Jobs that are there."""
        return [job["metadata"]["name"] for job in self.cluster.of_kind(names.JOB)]

    def jobs_created(self) -> int:
        return sum(call[:2] == ("create", "Job") for call in self.cluster.calls)


async def started(**spec: Any) -> Harness:
    """A run whose training runs."""
    harness = Harness()
    harness.apply(**spec)
    await harness.settle()
    harness.kubernetes.start()
    await harness.settle()
    return harness


def edit(harness: Harness, **spec: Any) -> None:
    run = harness.run
    harness.cluster.put({**run, "spec": {**run["spec"], **spec}})


def fail(harness: Harness, reason: str, *, exit_code: int = 7) -> None:
    harness.kubernetes.end(exit_code=exit_code, message=termination("failed", reason))
    harness.kubernetes.fail_job()
