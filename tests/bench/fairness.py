"""What one namespace can do to another: ``python -m tests.bench.fairness``.

One namespace holds 10,000 invalid SFTRuns, each with 64 misspelt flags, which are all in line at once and edited in a
loop. Meanwhile runs of another namespace are applied one after another: how long until each has its Job. Queue, store
and engine are the operator's own in one process. The API server is that of the tests, in memory; each of its answers
takes some milliseconds, and its processor time counts against the operator.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import uvloop

from swiftop import names
from swiftop.engine.reconcile import Reconciler
from swiftop.model.kind import Reading
from swiftop.shell.config import Config
from swiftop.shell.controller import Controller
from tests.bench.operator_burst import quantiles, report, run_object
from tests.engine.fakecluster import FakeCluster, Object

NOISY, QUIET = "noisy", "quiet"
ANSWER = 0.005  # seconds that the API server takes


class SlowCluster(FakeCluster):
    """Its answers take time, as over a network."""

    async def get(self, kind: names.Resource, namespace: str, name: str) -> Object | None:
        await asyncio.sleep(ANSWER)
        return await super().get(kind, namespace, name)

    async def list(
        self, kind: names.Resource, namespace: str = "", labels: Mapping[str, str] | None = None
    ) -> Sequence[Object]:
        await asyncio.sleep(ANSWER)
        return ()

    async def create(self, obj: Object) -> Object:
        await asyncio.sleep(ANSWER)
        return await super().create(obj)

    async def apply(self, obj: Object) -> Object:
        await asyncio.sleep(ANSWER)
        return await super().apply(obj)

    async def patch_status(self, obj: Object, status: Object, resource_version: str) -> Object:
        await asyncio.sleep(ANSWER)
        return await super().patch_status(obj, status, resource_version)


class NoProgress:
    """No pod runs."""

    def latest(self, pod_uid: str) -> Reading | None:
        return None


def run_of(namespace: str, name: str, **spec: Any) -> Object:
    """As people write them."""
    obj = run_object(name)
    return {**obj, "metadata": {"name": name, "namespace": namespace}, "spec": {**obj["spec"], **spec}}


def misspelt(edit: int) -> list[Object]:
    """64 flags that no release has, other ones at each edit."""
    return [{"name": f"num_train_epoch_{edit}_{n}", "value": "1"} for n in range(64)]


class World:
    """The operator and its cluster."""

    def __init__(self) -> None:
        self.cluster = SlowCluster()
        self.controller = Controller(Config())
        self.cluster.wrote = lambda verb, obj: self.controller.wrote(
            {"create": "POST", "apply": "PATCH", "patch_status": "PATCH"}[verb], obj
        )
        self.engine = Reconciler(cluster=self.cluster, store=self.controller.store, progress=NoProgress())

    def put(self, obj: Object) -> None:
        """A user applies it, and the watch tells."""
        stored = self.cluster.put(obj)
        self.controller.seen(names.SFTRUN, "MODIFIED", stored)
        self.cluster.log.clear()

    def edit(self, name: str, edit: int) -> None:
        """Another spec of a run of the noisy namespace, at little more cost than that of the watch event."""
        place = names.SFTRUN.kind, NOISY, name
        known, run = self.cluster.objects[place], run_of(NOISY, name, extraArgs=misspelt(edit))
        self.cluster._version += 1
        changed = {"resourceVersion": str(self.cluster._version), "generation": known["metadata"]["generation"] + 1}
        self.cluster.objects[place] = {**known, "metadata": {**known["metadata"], **changed}, "spec": run["spec"]}
        self.controller.seen(names.SFTRUN, "MODIFIED", self.cluster.objects[place])

    async def edit_for_ever(self, count: int, rate: float) -> None:
        """One edit after the other."""
        for edit in itertools.count():
            self.edit(f"run-{random.randrange(count)}", edit)  # noqa: S311 - guards nothing
            await asyncio.sleep(1 / rate)

    async def job_of(self, name: str) -> None:
        """Until the run has its Job."""
        while (names.JOB.kind, QUIET, names.job_name(names.SFTRUN, name, 1)) not in self.cluster.objects:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def bench(count: int, runs: int, rate: float) -> tuple[list[float], list[float]]:
    """From apply to Job, of each run of the quiet namespace: seconds, and those of the processor."""
    world = World()
    waits, processor = [], []
    for n in range(count):
        world.put(run_of(NOISY, f"run-{n}", extraArgs=misspelt(n)))
    tasks = [
        asyncio.create_task(world.controller.work(world.engine.reconcile, world.engine.report_failure)),
        asyncio.create_task(world.edit_for_ever(count, rate)),
    ]
    await asyncio.sleep(2)
    for n in range(runs):
        begun, used = time.monotonic(), time.process_time()
        world.put(run_of(QUIET, f"run-{n}"))
        await world.job_of(f"run-{n}")
        waits.append(time.monotonic() - begun)
        processor.append(time.process_time() - used)
        await asyncio.sleep(0.2)
    report("keys of the noisy namespace still in line", str(world.controller.queue.depth))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return waits, processor


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--noise", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--edits-per-second", type=float, default=100)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        waits, processor = runner.run(bench(options.noise, options.runs, options.edits_per_second))
    report(f"apply to Job beside {options.noise} invalid runs, p50 / p99", quantiles(waits))
    report("the longest", f"{max(waits):.2f} s")
    report("of it processor time of this process, p50 / p99", quantiles(processor))


if __name__ == "__main__":
    main()
