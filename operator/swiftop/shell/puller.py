"""Fetches what each running pod says of its training: its /progress page, or its log when the page cannot be reached.

The page is the cheap way, but a NetworkPolicy, a service mesh or an operator outside the cluster may be in between, so
after three failures in a row the tail of the log is read instead, where the runner prints the same numbers; the page is
tried again now and then. A pod that answers neither way, as on a dead node, is asked less and less often, and neither
its looks nor the reading of logs hold up the pages of others. Only pod addresses as the API server reports them are
asked, redirects are not followed, all bytes and all the time of an answer are bounded (`page`), and only finite numbers
of known names are taken from it: what a pod says is input from somebody else's code.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import Any
from weakref import WeakValueDictionary

from swiftop import names
from swiftop.errors import SwiftopError
from swiftop.model.kind import Reading
from swiftop.runner.protocol import PROGRESS_PATH, PROGRESS_PREFIX, REPORT_VERSION
from swiftop.runner.report import TRAINING, Member, read, read_acceleration, read_previous
from swiftop.shell import page

log = logging.getLogger(__name__)

Object = dict[str, Any]
Members = tuple[Member, ...]

_LOG_SECONDS = 40  # of the log: the runner prints its line every 15
_LINES = 8  # of a log that are read: more than the runner prints in that time
_LOGS_AT_ONCE = 4  # each is held by the API server and a kubelet too
_SHARE = 0.5  # of all looks at once, those that one namespace may take: its pods may all be slow
_LONGEST_PAUSE = 16  # intervals between two looks at a pod that does not answer
_FALL_BACK_AFTER = 3
_RETRY_PAGE_EVERY = 20  # looks at the log between two tries of the page


class Source(StrEnum):
    """Where the numbers came from."""

    PAGE = "page"
    LOG = "log"


@dataclass(slots=True)
class _Pod:
    """What is remembered of one pod between two looks, as long as its container is the same."""

    restarts: int = 0
    reading: Reading | None = None
    page_failures: int = 0
    log_looks: int = 0
    log_failures: int = 0
    due: float = 0.0  # loop time of the next look
    looking: bool = False  # a look that takes long is not joined by another


class _Slots:
    """So many looks at once, of which one namespace may take a share."""

    def __init__(self, count: int) -> None:
        self._all = asyncio.Semaphore(count)
        self._share = max(int(count * _SHARE), 1)
        self._by_namespace: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def one_for(self, namespace: str) -> AsyncIterator[None]:
        """Wait for one and hold it."""
        own = self._by_namespace.setdefault(namespace, asyncio.Semaphore(self._share))
        async with own, self._all:
            yield


def parse(text: str | bytes, members: Members) -> Reading | None:
    """A report of the runner; None when it is none. What is odd in it is left out (``report.read``)."""
    with suppress(ValueError, RecursionError):
        document = json.loads(text)
        if isinstance(document, dict) and document.get("version") == REPORT_VERSION:
            return Reading(read(members, document), read_previous(document), acceleration=read_acceleration(document))
    return None


def last_in_log(text: str, members: Members) -> Reading | None:
    """The report of the last progress line in a log tail. Of what only looks like one, little is read."""
    lines = (line for line in reversed(text.splitlines()) if line.startswith(PROGRESS_PREFIX))
    readings = (parse(line.removeprefix(PROGRESS_PREFIX), members) for line in islice(lines, _LINES))
    return next(filter(None, readings), None)


def is_running(pod: Object) -> bool:
    """Whether the main container has started and not ended."""
    return "running" in _container(pod).get("state", {})


def _container(pod: Object) -> Object:
    statuses = pod.get("status", {}).get("containerStatuses", [])
    return next((status for status in statuses if status.get("name") == names.CONTAINER), {})


def _restarts(pod: Object) -> int:
    return int(_container(pod).get("restartCount", 0))


def page_url(pod: Object) -> str | None:
    """URL of a pod's progress page: only for an address of the pod network, never the node's own or a special one."""
    if pod.get("spec", {}).get("hostNetwork"):
        return None
    try:
        address = ipaddress.ip_address(pod.get("status", {}).get("podIP", ""))
    except ValueError:
        return None
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        return None
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"http://{host}:{names.PROGRESS_PORT}{PROGRESS_PATH}"


class Puller:
    """Looks at every running pod once per interval, spread over it, a few at a time."""

    def __init__(
        self,
        *,
        pods: Callable[[], Iterable[Object]],
        members: Callable[[Object], Members] = lambda _pod: TRAINING,
        log_tail: Callable[[str, str, int], Awaitable[str]],
        news: Callable[[Object], None],
        pulled: Callable[[str, bool], None] = lambda _source, _ok: None,
        interval: float = 15.0,
        timeout: float = 2.0,
        log_timeout: float = 5.0,
        url: Callable[[Object], str | None] = page_url,
        parallel: int = 16,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``members`` are those of a pod's report; ``news`` is told each pod of which ``latest`` has something new;
        ``pulled`` counts the pulls."""
        self._pods = pods
        self._members = members
        self._log_tail = log_tail
        self._news = news
        self._pulled = pulled
        self._interval = interval
        self._timeout = timeout
        self._log_timeout = log_timeout
        self._url = url
        self._pages = _Slots(parallel)
        self._logs = _Slots(_LOGS_AT_ONCE)
        self._chance = chance
        self._known: dict[str, _Pod] = {}  # by pod UID

    def latest(self, pod_uid: str) -> Reading | None:
        """What this pod last said, or None before it was first asked. Never waits."""
        known = self._known.get(pod_uid)
        return known.reading if known else None

    async def run(self) -> None:
        """Look until cancelled. A container is first looked at within a second of its start.

        Those that run already, as at a restart of the operator, are spread over one interval.
        """
        loop = asyncio.get_running_loop()
        spread = self._interval
        async with asyncio.TaskGroup() as looks:
            while True:
                now = loop.time()
                running = {pod["metadata"]["uid"]: pod for pod in self._pods() if is_running(pod)}
                self._known = {uid: self._same(uid, pod) or self._new(pod, now, spread) for uid, pod in running.items()}
                spread = 0.0
                for uid, pod in running.items():
                    known = self._known[uid]
                    if known.due <= now and not known.looking:
                        known.looking = True
                        looks.create_task(self._look_once(pod, known), name=f"progress-{uid}")
                await asyncio.sleep(1.0)

    def _same(self, uid: str, pod: Object) -> _Pod | None:
        """What is known of it; nothing of a container that was started again, whatever the one before has said."""
        known = self._known.get(uid)
        return known if known is not None and known.restarts == _restarts(pod) else None

    def _new(self, pod: Object, now: float, spread: float) -> _Pod:
        return _Pod(restarts=_restarts(pod), due=now + spread * self._chance())

    async def _look_once(self, pod: Object, known: _Pod) -> None:
        started = asyncio.get_running_loop().time()
        try:
            await self.look(pod)
        except Exception:  # what a pod says may be anything: one must not end the looks at all others
            log.exception("progress of %s/%s", pod["metadata"]["namespace"], pod["metadata"]["name"])
        finally:
            failed = max(known.log_failures - _FALL_BACK_AFTER + 1, 0)
            known.due = started + self._interval * min(2.0 ** min(failed, 10), _LONGEST_PAUSE)
            known.looking = False

    async def look(self, pod: Object) -> None:
        """Ask one pod once, by the way that works for it."""
        known = self._known.setdefault(pod["metadata"]["uid"], _Pod(restarts=_restarts(pod)))
        before = known.reading
        page_is_down = known.page_failures >= _FALL_BACK_AFTER
        if not page_is_down or known.log_looks % _RETRY_PAGE_EVERY == _RETRY_PAGE_EVERY - 1:
            await self._look_at_page(pod, known)
        if known.page_failures >= _FALL_BACK_AFTER:
            await self._look_at_log(pod, known)
        if _differ(before, known.reading):
            self._news(pod)

    async def _look_at_page(self, pod: Object, known: _Pod) -> None:
        async with self._pages.one_for(pod["metadata"]["namespace"]):
            report = await self._page(pod)
        self._pulled(Source.PAGE, report is not None)
        if report is None:
            known.page_failures += 1
        else:
            known.reading = report
            known.page_failures = known.log_looks = known.log_failures = 0

    async def _look_at_log(self, pod: Object, known: _Pod) -> None:
        known.log_looks += 1
        report, meta = None, pod["metadata"]
        with suppress(SwiftopError, TimeoutError):
            async with self._logs.one_for(meta["namespace"]), asyncio.timeout(self._log_timeout):
                tail = await self._log_tail(meta["namespace"], meta["name"], _LOG_SECONDS)
                report = last_in_log(tail, self._members(pod))
        self._pulled(Source.LOG, report is not None)
        if report is not None:
            known.reading, known.log_failures = report, 0
            return
        known.log_failures += 1
        if known.log_failures >= _FALL_BACK_AFTER:
            known.reading = replace(known.reading or Reading(None), reachable=False)

    async def _page(self, pod: Object) -> Reading | None:
        url = self._url(pod)
        body = await page.fetch(url, seconds=self._timeout) if url else None
        return parse(body, self._members(pod)) if body is not None else None


def _differ(before: Reading | None, after: Reading | None) -> bool:
    """Whether there is news, apart from the time at which the runner wrote it."""
    if before is None or after is None:
        return before is not after
    return _timeless(before) != _timeless(after)


def _timeless(reading: Reading) -> Reading:
    report = {name: value for name, value in (reading.report or {}).items() if name != "updated"}
    return replace(reading, report=report)
