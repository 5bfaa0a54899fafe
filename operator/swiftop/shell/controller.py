"""The working part of the operator: notes what the watches see, keeps the store whole, and works off the queue.

It knows neither kopf nor signals nor the Lease; ``app.py`` wires it to them.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from swiftop import names
from swiftop.engine.ports import Key
from swiftop.errors import SwiftopError
from swiftop.shell.cluster import Cluster, Object
from swiftop.shell.config import Config
from swiftop.shell.metrics import Metrics
from swiftop.shell.puller import Puller
from swiftop.shell.queue import Queue
from swiftop.shell.store import Store, slim, version_of

log = logging.getLogger(__name__)

# What is watched, with the label selector that the API server applies: of users' own Jobs, Pods and claims nothing is
# ever sent to us.
WATCHED: dict[names.Resource, str] = {
    names.SFTRUN: "",
    names.JOB: names.MANAGED_SELECTOR,
    names.POD: names.MANAGED_SELECTOR,
    names.PVC: names.MANAGED_SELECTOR,
}

_STUCK = 300.0  # seconds that no look takes unless something hangs: every API call of it ends after 30
# Seconds within which a watch tells of an object: kopf gives a silent stream up after 70 and then pauses 21 at most.
_DEAF = 120.0


class Deaf(Exception):
    """A watch does not tell what is there. It cannot be mended from inside: the restart is the recovery."""


@dataclass(frozen=True, slots=True)
class _Unheard:
    """The newest object of a LIST, and when it was listed."""

    uid: str
    version: int
    since: float


def key_of(kind: names.Resource, obj: Object) -> Key | None:
    """The object to look at when ``obj`` has changed: itself, or by its labels the one that it was made for."""
    meta = obj["metadata"]
    if kind.group == names.GROUP:
        return Key(kind.kind, meta["namespace"], meta["name"])
    labels = meta.get("labels", {})
    owner, name = labels.get(names.LABEL_KIND), labels.get(names.LABEL_NAME)
    return Key(owner, meta["namespace"], name) if owner in names.RESOURCES and name else None


def _others_wrote(obj: Object) -> bool:
    """Whether the object is not as we alone made it."""
    return any(entry.get("manager") != names.FIELD_MANAGER for entry in obj["metadata"].get("managedFields", ()))


class Controller:
    """Store, queue and progress of one operator process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.metrics = Metrics()
        self.store = Store()
        self.queue: Queue[Key] = Queue(waited=self.metrics.waited)
        self.metrics.watch_queue(depth=lambda: self.queue.depth, oldest=self.queue.oldest)
        self.metrics.watch_runs(lambda: self.store.list(names.SFTRUN))
        self.obstacle: Callable[[], str] = lambda: ""  # why this process, though well, can do nothing
        self._resynced: float | None = None  # loop time; None while standing by
        self._heard: dict[tuple[str, str], int] = {}  # (kind, watched namespace) -> newest version that a watch told
        self._unheard: dict[tuple[str, str], _Unheard] = {}  # likewise: what a resync found before the watch told it
        self.metrics.watch_ears(self._longest_unheard)

    def puller(self, cluster: Cluster) -> Puller:
        """Where progress comes from."""
        return Puller(
            pods=lambda: self.store.list(names.POD),
            log_tail=cluster.log_tail,
            news=lambda pod: self._add(names.POD, pod),
            pulled=self.metrics.pulled,
            interval=self._config.progress_seconds,
        )

    def seen(self, kind: names.Resource, type_: str | None, obj: Object) -> None:
        """Note a watch event. What is no news, such as the echo of our own write, wakes nobody."""
        self._hear(kind, obj)
        news = self.store.forget(kind, obj) if type_ == "DELETED" else self._observe(kind, obj)
        if news:
            self._add(kind, obj)

    def wrote(self, verb: str, obj: Object) -> None:
        """Note the answer to our own write, so that the next look at the run already knows it."""
        kind = names.RESOURCES[obj["kind"]]
        self.metrics.wrote(verb, kind.kind)
        if kind not in WATCHED or not self._observe(kind, obj):
            return
        # An apply names no version, so its answer may carry what others wrote, whose watch event will be no news any
        # more. A status patch cannot: it names the version that it was computed from.
        if verb == "PATCH" and kind != names.SFTRUN and _others_wrote(obj):
            self._add(kind, obj)

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
                self._expect(kind, namespace, objects)
        for run in self.store.list(names.SFTRUN):
            self._add(names.SFTRUN, run)
        self._resynced = asyncio.get_running_loop().time()
        self.metrics.resynced(time.time())
        log.info("resync: %d runs, %d jobs", self.store.count(names.SFTRUN), self.store.count(names.JOB))

    async def until_served(self, cluster: Cluster) -> None:
        """Wait until discovery lists all that is to be watched: kopf looks there once, and goes on without the rest."""
        missing = list(WATCHED)
        while True:
            try:
                missing = [kind for kind in missing if not await cluster.serves(kind)]
                if not missing:
                    return
                log.warning("not served yet: %s", ", ".join(kind.plural for kind in missing))
            except SwiftopError as error:
                log.warning("discovery failed: %s", error)
            await asyncio.sleep(1.0)

    async def first_resync(self, cluster: Cluster) -> None:
        """Fill the store; nothing is worked on before, since a missing child would look like a deleted one."""
        self._resynced = asyncio.get_running_loop().time()  # the health check's patience starts here
        pause = 0.5
        while True:
            self._unheard.clear()  # nothing is watched yet
            try:
                return await self.resync(cluster)
            except SwiftopError as error:
                log.warning("first resync failed, again in %.1f s: %s", pause, error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 10.0)

    async def keep_resyncing(self, cluster: Cluster) -> None:
        """Resync until cancelled: soon once more, for what fell between the first LIST and the watches, then rarely.

        Raises ``Deaf`` when a watch has not told what a resync found long before.
        """
        pause = min(20.0, self._config.resync_seconds)
        while True:
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load, guards nothing
            pause = self._config.resync_seconds
            try:
                await self.resync(cluster)
                if self._unheard:
                    pause = min(1.3 * _DEAF, pause)
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
        if (stuck := self.queue.stuck()) > _STUCK:
            return f"no key was finished for {stuck:.0f} s"
        silent = asyncio.get_running_loop().time() - self._resynced
        if silent > 2.5 * self._config.resync_seconds + _STUCK:
            return f"no resync for {silent:.0f} s"
        return ""

    def _observe(self, kind: names.Resource, obj: Object) -> bool:
        before = None
        if kind == names.SFTRUN:
            before = self.store.get(kind, obj["metadata"]["namespace"], obj["metadata"]["name"])
        news = self.store.observe(kind, obj)
        if news and kind == names.SFTRUN:
            self.metrics.run_changed(before, obj)
        return news

    def _ear(self, kind: names.Resource, namespace: str) -> tuple[str, str]:
        return kind.kind, namespace if self._config.namespaces else ""

    def _hear(self, kind: names.Resource, obj: Object) -> None:
        ear, version = self._ear(kind, obj["metadata"]["namespace"]), version_of(obj)
        self._heard[ear] = max(version, self._heard.get(ear, 0))
        if ear in self._unheard and self._unheard[ear].version <= version:
            del self._unheard[ear]

    def _expect(self, kind: names.Resource, namespace: str, objects: list[Object]) -> None:
        """Of an object that was there at two resyncs, a watch has told the first one's version, or it is deaf."""
        ear, now = self._ear(kind, namespace), asyncio.get_running_loop().time()
        before, heard = self._unheard.get(ear), self._heard.get(ear, 0)
        if before is not None and any(obj["metadata"]["uid"] == before.uid for obj in objects):
            if now - before.since > _DEAF:
                where = f" in {namespace}" if namespace else ""
                raise Deaf(f"the watch of {kind.plural}{where} has told nothing for {now - before.since:.0f} s")
            return
        self._unheard.pop(ear, None)
        newest = max(objects, key=version_of, default=None)
        if newest is not None and version_of(newest) > heard:
            self._unheard[ear] = _Unheard(newest["metadata"]["uid"], version_of(newest), now)

    def _longest_unheard(self) -> float:
        since = [unheard.since for unheard in self._unheard.values()]
        return asyncio.get_running_loop().time() - min(since) if since else 0.0

    def _add(self, kind: names.Resource, obj: Object) -> None:
        key = key_of(kind, obj)
        if key is not None:
            self.queue.add(key)
