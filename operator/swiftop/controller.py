"""The working part of the operator: notes what the watches see, keeps the store whole, and works off the queue.

It knows neither kopf nor signals nor the Lease; ``app.py`` wires it to them.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from swiftop import names
from swiftop.cluster import Cluster, Object
from swiftop.config import Config
from swiftop.errors import SwiftopError
from swiftop.metrics import Metrics
from swiftop.ports import Key
from swiftop.progress import Puller
from swiftop.queue import Queue
from swiftop.store import Store, slim

log = logging.getLogger(__name__)

# What is watched, with the label selector that the API server applies: of users' own Jobs, Pods and claims nothing is
# ever sent to us.
WATCHED: dict[names.Kind, str] = {
    names.SFTRUN: "",
    names.JOB: names.MANAGED_SELECTOR,
    names.POD: names.MANAGED_SELECTOR,
    names.PVC: names.MANAGED_SELECTOR,
}

_STUCK = 120.0  # seconds that no key takes unless something hangs: every API call ends after 30


def key_of(kind: names.Kind, obj: Object) -> Key | None:
    """The object to look at when ``obj`` has changed: itself, or by its labels the one that it was made for."""
    meta = obj["metadata"]
    if kind.group == names.GROUP:
        return Key(kind.kind, meta["namespace"], meta["name"])
    labels = meta.get("labels", {})
    owner, name = labels.get(names.LABEL_KIND), labels.get(names.LABEL_NAME)
    return Key(owner, meta["namespace"], name) if owner in names.KINDS and name else None


class Controller:
    """Store, queue and progress of one operator process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.metrics = Metrics()
        self.store = Store()
        self.queue: Queue[Key] = Queue(waited=self.metrics.waited)
        self.metrics.watch_queue(depth=lambda: self.queue.depth, oldest=self.queue.oldest)
        self.metrics.watch_runs(lambda: self.store.list(names.SFTRUN))
        self._resynced: float | None = None  # loop time; None while standing by

    def puller(self, cluster: Cluster) -> Puller:
        """Where progress comes from."""
        return Puller(
            pods=lambda: self.store.list(names.POD),
            log_tail=cluster.log_tail,
            news=lambda pod: self._add(names.POD, pod),
            pulled=self.metrics.pulled,
            interval=self._config.progress_seconds,
        )

    def seen(self, kind: names.Kind, type_: str | None, obj: Object) -> None:
        """Note a watch event. What is no news, such as the echo of our own write, wakes nobody."""
        news = self.store.forget(kind, obj) if type_ == "DELETED" else self._observe(kind, obj)
        if news:
            self._add(kind, obj)

    def wrote(self, verb: str, obj: Object) -> None:
        """Note the answer to our own write, so that the next look at the run already knows it."""
        kind = names.KINDS[obj["kind"]]
        self.metrics.wrote(verb, kind.kind)
        if kind in WATCHED:
            self._observe(kind, obj)

    async def resync(self, cluster: Cluster) -> None:
        """Replace the store by what is there, and look at every run again: heals all that the watches may have lost."""
        for kind, selector in WATCHED.items():
            for namespace in self._config.namespaces or ("",):
                objects: list[Object] = []
                version = 0
                async for page in cluster.pages(kind, namespace, selector=selector):
                    objects += (slim(kind, obj) for obj in page.items)
                    version = page.version
                self.store.replace(kind, objects, version=version, namespace=namespace)
        for run in self.store.list(names.SFTRUN):
            self._add(names.SFTRUN, run)
        self._resynced = asyncio.get_running_loop().time()
        self.metrics.resynced(time.time())
        log.info("resync: %d runs, %d jobs", self.store.count(names.SFTRUN), self.store.count(names.JOB))

    async def first_resync(self, cluster: Cluster) -> None:
        """Fill the store; nothing is worked on before, since a missing child would look like a deleted one."""
        self._resynced = asyncio.get_running_loop().time()  # the health check's patience starts here
        pause = 0.5
        while True:
            try:
                return await self.resync(cluster)
            except SwiftopError as error:
                log.warning("first resync failed, again in %.1f s: %s", pause, error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 10.0)

    async def keep_resyncing(self, cluster: Cluster) -> None:
        """Resync until cancelled: soon once more, for what fell between the first LIST and the watches, then rarely."""
        pause = min(20.0, self._config.resync_seconds)
        while True:
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load, guards nothing
            pause = self._config.resync_seconds
            try:
                await self.resync(cluster)
            except SwiftopError as error:
                pause = min(30.0, pause)
                log.warning("resync failed, again in %.0f s: %s", pause, error)

    async def work(self, reconcile: Callable[[Key], Awaitable[float | None]]) -> None:
        """Work off the queue until it is stopped."""

        async def timed(key: Key) -> float | None:
            started = time.perf_counter()
            try:
                pause = await reconcile(key)
            except Exception as error:
                self.metrics.reconciled(time.perf_counter() - started, error)
                raise
            self.metrics.reconciled(time.perf_counter() - started)
            return pause

        await self.queue.run(timed, workers=self._config.workers)

    def sickness(self) -> str:
        """Why this process should be restarted; empty when it is well. A standby is well."""
        if self._resynced is None:
            return ""
        if (oldest := self.queue.oldest()) > _STUCK:
            return f"a key has waited for {oldest:.0f} s"
        silent = asyncio.get_running_loop().time() - self._resynced
        if silent > 2.5 * self._config.resync_seconds + _STUCK:
            return f"no resync for {silent:.0f} s"
        return ""

    def _observe(self, kind: names.Kind, obj: Object) -> bool:
        before = None
        if kind == names.SFTRUN:
            before = self.store.get(kind, obj["metadata"]["namespace"], obj["metadata"]["name"])
        news = self.store.observe(kind, obj)
        if news and kind == names.SFTRUN:
            self.metrics.run_changed(before, obj)
        return news

    def _add(self, kind: names.Kind, obj: Object) -> None:
        key = key_of(kind, obj)
        if key is not None:
            self.queue.add(key)
