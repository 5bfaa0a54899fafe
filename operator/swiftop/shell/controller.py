"""The working part of the operator: notes what the watches see, keeps the store whole, and works off the queue.

It knows neither kopf nor signals nor the Lease; ``app.py`` wires it to them.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cache, partial

from swiftop import names
from swiftop.errors import Conflict, Forbidden, SwiftopError, Transient
from swiftop.kinds.registry import KINDS, WATCHED
from swiftop.model.kind import Key, Kind
from swiftop.runner.report import Member
from swiftop.shell import slim
from swiftop.shell.cluster import Cluster, Object
from swiftop.shell.config import Config
from swiftop.shell.metrics import Metrics
from swiftop.shell.puller import Puller, is_running
from swiftop.shell.queue import Queue
from swiftop.shell.store import Relist, Store, controller_of, owner_of, version_of

log = logging.getLogger(__name__)

_STUCK = 300.0  # seconds that no reconcile takes unless something hangs: every API call of it ends after 30
# Seconds that news of a child wait for more: in its first second a Job and its pods change half a dozen times.
_GATHER = 0.2
_ROW = 20  # looks that fail in a row, of any objects, before the page tells
_LIST, _WORK = "list", "work"
_REPORT_SECONDS = 20.0  # for saying on an object that it keeps failing
# Seconds within which a watch tells of an object: kopf gives a silent stream up after 70 and then pauses 21 at most.
_STALLED = 120.0

Report = Callable[[Key, Exception, int], Awaitable[None]]


class WatchStalled(Exception):
    """A watch does not tell what is there. It cannot be repaired from inside: the restart is the recovery."""


@dataclass(frozen=True, slots=True)
class _Awaited:
    """The newest object of a LIST, of which the watch has to tell, and when it was listed."""

    namespace: str
    name: str
    uid: str
    version: int
    since: float


def _others_wrote(obj: Object) -> bool:
    """Whether the object is not as we alone made it."""
    return any(entry.get("manager") != names.FIELD_MANAGER for entry in obj["metadata"].get("managedFields", ()))


async def _report_nothing(_key: Key, _error: Exception, _failures: int) -> None:
    pass


class Controller:
    """Store, queue and progress of one operator process."""

    def __init__(
        self,
        config: Config,
        *,
        kinds: Mapping[str, Kind] = KINDS,
        watched: Mapping[names.Resource, str] = WATCHED,
    ) -> None:
        self._config = config
        self._kinds = kinds
        self._watched = watched
        self.metrics = Metrics()
        self.store = Store(kinds)
        self.queue: Queue[Key] = Queue(waited=self.metrics.waited, group=lambda key: key.namespace)
        self.metrics.watch_queue(depth=lambda: self.queue.depth, oldest=self.queue.oldest)
        self.metrics.watch_objects(self._objects)
        self.referring: Callable[[Key], Iterable[Key]] = lambda _key: ()  # who waits for an object
        self.unready: Callable[[], str] = lambda: ""  # why this process, though healthy, can do nothing
        self._odd_pods: set[str] = set()  # by UID: those whose oddity is logged
        self._resynced: float | None = None  # loop time; None while standing by
        self._row: list[str] = []  # namespaces of the last looks, which all failed at the API server
        self._trouble: dict[str, str] = {}  # what this process cannot do for now: list, write
        # By resource and watched namespace: the newest version that the watch told, and what it has yet to tell.
        self._told: dict[tuple[str, str], int] = {}
        self._told_at: dict[tuple[str, str], float] = {}  # loop time
        self._awaited: dict[tuple[str, str], _Awaited] = {}
        self.metrics.watch_stalls(self._longest_stall)

    def puller(self, cluster: Cluster) -> Puller:
        """Where progress comes from."""
        return Puller(
            pods=self._reporting_pods,
            members=self._members_of,
            log_tail=cluster.log_tail,
            news=lambda pod: self._add(names.POD, pod),
            pulled=self.metrics.pulled,
            interval=self._config.progress_seconds,
        )

    def key_of(self, resource: names.Resource, obj: Object) -> Key | None:
        """What to reconcile when ``obj`` has changed: itself, or by its labels the object that it was made for.

        Anybody can write such labels: those of a kind that is not ours lead nowhere.
        """
        if resource.kind in self._kinds:
            return Key(resource.kind, obj["metadata"]["namespace"], obj["metadata"]["name"])
        owner = owner_of(obj)
        return owner if owner and owner.kind in self._kinds else None

    def seen(self, resource: names.Resource, type_: str | None, obj: Object) -> None:
        """Note a watch event. What is no news, such as the echo of our own write, queues nothing."""
        self._note_told(resource, obj)
        news = self.store.forget(resource, obj) if type_ == "DELETED" else self._observe(resource, obj)
        if news and resource.kind in self._kinds:
            self._add(resource, obj)
        elif news and (key := self.key_of(resource, obj)):
            self.queue.add_after(key, _GATHER)

    def wrote(self, verb: str, obj: Object) -> None:
        """Note the answer to our own write, so that the next reconcile already knows it."""
        resource = names.RESOURCES[obj["kind"]]
        self.metrics.wrote(verb, resource.kind)
        if resource not in self._watched or not self._observe(resource, obj):
            return
        # An apply names no version, so its answer may carry what others wrote, whose watch event will be no news any
        # more. A status patch cannot: it names the version that it was computed from.
        if verb == "PATCH" and resource.kind not in self._kinds and _others_wrote(obj):
            self._add(resource, obj)
        if (
            verb == "POST" and resource.kind in self._kinds
        ):  # made for another object of ours, and to be worked on itself
            self._add(resource, obj)
        elif resource.kind in self._kinds:  # our own status is news to those who wait for it
            for waiting in self._concerned(resource, obj):
                self.queue.add(waiting)

    async def resync(self, cluster: Cluster) -> None:
        """Replace the store by what is there, and reconcile every object: heals all that the watches may have lost."""
        for resource, selector in self._watched.items():
            for namespace in self._config.namespaces or ("",):
                relist = self.store.relist(resource, namespace)
                cut = partial(slim.active, resource)  # of all objects of a page at once there may be too much
                async for page in cluster.pages(resource, namespace, selector=selector, cut=cut):
                    relist.page(page.items, version=page.version)
                relist.end()
                self._check_watch(resource, namespace, relist)
        for kind in self._kinds.values():
            for obj in self.store.list(kind.resource):
                self._add(kind.resource, obj)
        self._trouble.pop(_LIST, None)
        self._resynced = asyncio.get_running_loop().time()
        self.metrics.resynced(time.time())
        counted = ", ".join(f"{self.store.count(resource)} {resource.plural}" for resource in self._watched)
        log.info("resync: %s", counted)

    async def until_served(self, cluster: Cluster) -> None:
        """Wait until discovery lists all that is to be watched: kopf looks there once, and goes on without the rest."""
        missing = list(self._watched)
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
            self._awaited.clear()  # nothing is watched yet
            try:
                return await self.resync(cluster)
            except SwiftopError as error:
                self._trouble[_LIST] = f"cannot list: {error}"
                log.warning("first resync failed, again in %.1f s: %s", pause, error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 10.0)

    async def keep_resyncing(self, cluster: Cluster) -> None:
        """Resync until cancelled: soon once more, for what fell between the first LIST and the watches, then rarely.

        Raises ``WatchStalled`` when a watch has not told what a resync found long before.
        """
        pause = min(20.0, self._config.resync_seconds)
        while True:
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load, guards nothing
            pause = self._config.resync_seconds
            try:
                await self.resync(cluster)
                if self._awaited:
                    pause = min(1.3 * _STALLED, pause)
            except SwiftopError as error:
                pause = min(30.0, pause)
                self._trouble[_LIST] = f"cannot list: {error}"
                log.warning("resync failed, again in %.0f s: %s", pause, error)

    async def work(
        self, reconcile: Callable[[Key], Awaitable[float | None]], report_failure: Report = _report_nothing
    ) -> None:
        """Work off the queue until it is stopped.

        ``report_failure`` is told after each failed try how often in a row the same kind of error was met; it may take
        its time only to a limit, and its own errors are logged and nothing else.
        """

        async def timed(key: Key) -> float | None:
            started = time.perf_counter()
            try:
                pause = await reconcile(key)
            except Exception as error:
                self.metrics.reconciled(key.kind, time.perf_counter() - started, error)
                self._note_end(key, error)
                raise
            self._note_end(key)
            self.metrics.reconciled(key.kind, time.perf_counter() - started)
            return pause

        async def failed(key: Key, error: Exception, failures: int) -> None:
            async with asyncio.timeout(_REPORT_SECONDS):
                await report_failure(key, error, failures)

        await self.queue.run(timed, workers=self._config.workers, failed=failed)

    def _note_end(self, key: Key, error: Exception | None = None) -> None:
        """When the API server lets nothing through for whoever's objects, and for long, a person has to look.

        A stale read is no failure, and what fails in one namespace of several may be that one's own webhook.
        """
        if not isinstance(error, Transient | Forbidden) or isinstance(error, Conflict):
            self._row.clear()
            self._trouble.pop(_WORK, None)
            return
        self._row.append(key.namespace)
        if len(self._row) == _ROW:
            everywhere = {obj["metadata"]["namespace"] for _, obj in self._objects()}
            if len(set(self._row)) > 1 or len(everywhere) <= 1:
                self._trouble[_WORK] = f"the last {_ROW} looks at objects have failed: {error}"
            self._row.clear()

    def unhealthy(self) -> str:
        """Why this process should be restarted; empty when it is healthy. A standby is healthy."""
        if self._resynced is None:
            return ""
        if (stuck := self.queue.stuck()) > _STUCK:
            return f"no key was finished for {stuck:.0f} s"
        silent = asyncio.get_running_loop().time() - self._resynced
        if silent > 2.5 * self._config.resync_seconds + _STUCK:
            return f"no resync for {silent:.0f} s"
        return ""

    def helpless(self) -> str:
        """What a leader cannot do for now, which no restart mends; empty when it can work."""
        return "; ".join(self._trouble.values())

    def _objects(self) -> Iterator[tuple[str, Object]]:
        for name, kind in self._kinds.items():
            for obj in self.store.list(kind.resource):
                yield name, obj

    def _reporting_pods(self) -> Iterator[Object]:
        """Running pods of our objects that are to be asked: anybody can write labels, which make no pod one of ours."""
        odd = set()
        jobs = cache(self._jobs_of)  # for all pods of an owner: it may have any number of both
        for pod in self.store.list(names.POD):
            try:
                asked = self._is_asked(pod, jobs)
            except Exception:  # of one pod, whoever wrote it: the others are asked
                uid = pod["metadata"]["uid"]
                odd.add(uid)
                if uid not in self._odd_pods:
                    log.exception("pod %s/%s is not asked", pod["metadata"]["namespace"], pod["metadata"]["name"])
                continue
            if asked:
                yield pod
        self._odd_pods = odd

    def _is_asked(self, pod: Object, jobs: Callable[[Key, str], Set[str]]) -> bool:
        key = self.key_of(names.POD, pod) if is_running(pod) else None
        if key is None:
            return False
        kind = self._kinds[key.kind]
        return kind.reports(pod) and self._is_made_for(kind, key, pod, jobs)

    def _is_made_for(self, kind: Kind, key: Key, pod: Object, jobs: Callable[[Key, str], Set[str]]) -> bool:
        """Whether the pod's labels name an object that there is, and the pod belongs to one of its Jobs.

        Pods of a Deployment belong to a ReplicaSet, which is not watched.
        """
        obj = self.store.get(kind.resource, key.namespace, key.name)
        uid = obj["metadata"]["uid"] if obj else ""
        if not uid or (pod["metadata"].get("labels") or {}).get(names.LABEL_UID) != uid:
            return False
        return names.JOB not in kind.children or controller_of(pod) in jobs(key, uid)

    def _jobs_of(self, key: Key, uid: str) -> Set[str]:
        jobs = self.store.children(names.JOB, key)
        return {job["metadata"]["uid"] for job in jobs if controller_of(job) == uid}

    def _members_of(self, pod: Object) -> tuple[Member, ...]:
        owner = self.key_of(names.POD, pod)
        return self._kinds[owner.kind].members if owner else ()

    def _observe(self, resource: names.Resource, obj: Object) -> bool:
        if resource.kind not in self._kinds:
            return self.store.observe(resource, obj)
        before = self.store.get(resource, obj["metadata"]["namespace"], obj["metadata"]["name"])
        news = self.store.observe(resource, obj)
        if news:
            self.metrics.object_changed(resource.kind, before, obj)
        return news

    # Whether the watches tell what is there

    def _watch_of(self, resource: names.Resource, namespace: str) -> tuple[str, str]:
        return resource.kind, namespace if self._config.namespaces else ""

    def _note_told(self, resource: names.Resource, obj: Object) -> None:
        watch, version = self._watch_of(resource, obj["metadata"]["namespace"]), version_of(obj)
        self._told[watch] = max(version, self._told.get(watch, 0))
        self._told_at[watch] = asyncio.get_running_loop().time()
        if watch in self._awaited and self._awaited[watch].version <= version:
            del self._awaited[watch]

    def _check_watch(self, resource: names.Resource, namespace: str, relist: Relist) -> None:
        """Of an object that was there at two resyncs, a watch has told the first one's version, or it is stalled.

        One that still tells of others is not: its first LIST may have tens of thousands of objects.
        """
        watch, now = self._watch_of(resource, namespace), asyncio.get_running_loop().time()
        if relist.restored:
            log.warning("%s have older versions than before: the cluster was restored from a backup", resource.plural)
            self._told.pop(watch, None)
            self._awaited.pop(watch, None)
        awaited = self._awaited.get(watch)
        known = self.store.get(resource, awaited.namespace, awaited.name) if awaited else None
        if awaited is not None and known is not None and known["metadata"]["uid"] == awaited.uid:
            silent = now - max(awaited.since, self._told_at.get(watch, 0.0))
            if silent > _STALLED:
                where = f" in {namespace}" if namespace else ""
                raise WatchStalled(f"the watch of {resource.plural}{where} has told nothing for {silent:.0f} s")
            return
        self._awaited.pop(watch, None)
        newest = relist.last
        if newest is not None and version_of(newest) > self._told.get(watch, 0):
            meta = newest["metadata"]
            self._awaited[watch] = _Awaited(meta["namespace"], meta["name"], meta["uid"], version_of(newest), now)

    def _longest_stall(self) -> float:
        since = [awaited.since for awaited in self._awaited.values()]
        return asyncio.get_running_loop().time() - min(since) if since else 0.0

    def _add(self, resource: names.Resource, obj: Object) -> None:
        key = self.key_of(resource, obj)
        if key is None:
            return
        self.queue.add(key)
        if resource.kind in self._kinds:
            for waiting in self._concerned(resource, obj):
                self.queue.add(waiting)

    def _concerned(self, resource: names.Resource, obj: Object) -> Iterator[Key]:
        """Those who wait for an object of ours, and the one that it was made for."""
        yield from self.referring(Key(resource.kind, obj["metadata"]["namespace"], obj["metadata"]["name"]))
        owner = owner_of(obj)
        if owner and owner.kind in self._kinds:
            yield owner
