"""Fetches what each running pod says of its training: its /progress page, or its log when the page cannot be reached.

The page is the cheap way, but a NetworkPolicy, a service mesh or an operator outside the cluster may be in between, so
after three failures in a row the tail of the log is read instead, where the runner prints the same numbers; the page is
tried again now and then. Only pod addresses as the API server reports them are asked, redirects are not followed,
answers are cut at a size, and only finite numbers of known names are taken from them: what a pod says is input from
somebody else's code.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import aiohttp

from swiftop import names
from swiftop.errors import SwiftopError
from swiftop.ports import Key, PodTarget, Reading

Numbers = dict[str, float]

LOG_PREFIX = "swiftop-progress "
FIELDS = frozenset(
    {
        "version", "updated", "phase", "step", "maxSteps", "epoch", "loss", "evalLoss", "learningRate", "gradNorm",
        "secondsPerStep", "etaSeconds", "memoryGiB", "checkpointStep", "checkpointTime", "bestStep", "bestMetric",
    }
)  # fmt: skip

_LONGEST = 16 * 1024  # bytes of a /progress answer
_LOG_LINES = 200  # enough to hold one progress line even when every step is logged
_FALL_BACK_AFTER = 3
_RETRY_PAGE_EVERY = 20  # looks at the log between two tries of the page


@dataclass(slots=True)
class _Followed:
    """What is remembered of one pod between two looks."""

    pod: PodTarget
    reading: Reading | None = None
    page_failures: int = 0
    log_looks: int = 0
    log_failures: int = 0


def parse(text: str | bytes) -> Numbers | None:
    """Numbers of a progress document; None when it is none. Unknown names, texts and non-finite numbers are dropped."""
    with suppress(ValueError, RecursionError):
        document = json.loads(text)
        if isinstance(document, dict) and document.get("version") == 1:
            return {
                name: value
                for name, value in document.items()
                if name in FIELDS and type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e15
            }
    return None


def last_in_log(text: str) -> Numbers | None:
    """Numbers of the last progress line in a log tail."""
    for line in reversed(text.splitlines()):
        if line.startswith(LOG_PREFIX) and (numbers := parse(line.removeprefix(LOG_PREFIX))):
            return numbers
    return None


def page_url(ip: str, port: int) -> str | None:
    """URL of a pod's progress page; None for what cannot be a pod's address, such as loopback or link-local."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return None
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        return None
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"http://{host}:{port}/progress"


class Puller:
    """Looks at every followed pod once per interval, spread over it, a few at a time."""

    def __init__(
        self,
        *,
        log_tail: Callable[[str, str, int], Awaitable[str]],
        news: Callable[[Key], None],
        pulled: Callable[[str, bool], None] = lambda _source, _ok: None,
        interval: float = 15.0,
        timeout: float = 2.0,
        url: Callable[[str, int], str | None] = page_url,
        parallel: int = 16,
    ) -> None:
        """``news`` is told the run of which ``follow`` has something new; ``pulled`` counts each look by its way."""
        self._log_tail = log_tail
        self._news = news
        self._pulled = pulled
        self._interval = interval
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._url = url
        self._limit = asyncio.Semaphore(parallel)
        self._followed: dict[Key, _Followed] = {}

    def follow(self, pod: PodTarget) -> Reading | None:
        """Start or keep asking this pod, in place of an earlier one of the same run; what it last said."""
        followed = self._followed.get(pod.key)
        if followed is None or followed.pod.uid != pod.uid:
            followed = self._followed[pod.key] = _Followed(pod)
        followed.pod = pod  # an address may come late
        return followed.reading

    def forget(self, key: Key) -> None:
        """Stop asking the pod of this run."""
        self._followed.pop(key, None)

    async def run(self) -> None:
        """Look until cancelled."""
        # A proxy of the environment would be asked for pod addresses; trust_env stays off.
        async with aiohttp.ClientSession(timeout=self._timeout) as session:
            while True:
                due = list(self._followed)
                spread = self._interval / max(len(due), 1)
                looks = [self._look_after(n * spread, session, key) for n, key in enumerate(due)]
                # Without pods a new one is noticed within a second; with pods, at the next round.
                await asyncio.gather(asyncio.sleep(self._interval if due else 1.0), *looks)

    async def _look_after(self, seconds: float, session: aiohttp.ClientSession, key: Key) -> None:
        await asyncio.sleep(seconds)
        async with self._limit:
            await self.look(session, key)

    async def look(self, session: aiohttp.ClientSession, key: Key) -> None:
        """Ask one run's pod once, by the way that works for it."""
        followed = self._followed.get(key)
        if followed is None:
            return
        before = followed.reading
        page_is_down = followed.page_failures >= _FALL_BACK_AFTER
        if not page_is_down or followed.log_looks % _RETRY_PAGE_EVERY == _RETRY_PAGE_EVERY - 1:
            await self._look_at_page(session, followed)
        if followed.page_failures >= _FALL_BACK_AFTER:
            await self._look_at_log(followed)
        if _differ(before, followed.reading) and self._followed.get(key) is followed:
            self._news(key)

    async def _look_at_page(self, session: aiohttp.ClientSession, followed: _Followed) -> None:
        numbers = await self._page(session, followed.pod.ip)
        self._pulled("page", numbers is not None)
        if numbers is None:
            followed.page_failures += 1
        else:
            followed.reading = Reading(numbers)
            followed.page_failures = followed.log_looks = followed.log_failures = 0

    async def _look_at_log(self, followed: _Followed) -> None:
        followed.log_looks += 1
        numbers, pod = None, followed.pod
        with suppress(SwiftopError):
            numbers = last_in_log(await self._log_tail(pod.key.namespace, pod.name, _LOG_LINES))
        self._pulled("log", numbers is not None)
        if numbers is not None:
            followed.reading, followed.log_failures = Reading(numbers), 0
            return
        followed.log_failures += 1
        if followed.log_failures >= _FALL_BACK_AFTER:
            followed.reading = replace(followed.reading or Reading(), reachable=False)

    async def _page(self, session: aiohttp.ClientSession, ip: str) -> Numbers | None:
        url = self._url(ip, names.PROGRESS_PORT)
        if url is None:
            return None
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with session.get(url, allow_redirects=False) as response:
                if response.status != 200:
                    return None
                body = b""
                while len(body) <= _LONGEST and (more := await response.content.read(_LONGEST)):
                    body += more
                return parse(body) if len(body) <= _LONGEST else None
        return None


def _differ(before: Reading | None, after: Reading | None) -> bool:
    """Whether there is news, apart from the time at which the runner wrote it."""
    if before is None or after is None:
        return before is not after
    old, new = dict(before.report or {}), dict(after.report or {})
    old.pop("updated", None)
    new.pop("updated", None)
    return before.reachable != after.reachable or old != new
