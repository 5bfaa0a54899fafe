"""Leader election on a coordination Lease: at most one operator acts at a time.

An own loop, because the client library's asyncio election dies at the first start without a Lease and at one refused
connection, and never releases. The rules here: whoever stands by tolerates every error for ever; a leader tolerates
errors until the renew deadline, which ends before anybody else may take over, and must then end its process at once;
a clean stop releases, so that a successor does not wait out the Lease; time is only ever compared on one's own clock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from swiftop import names
from swiftop.errors import AlreadyExists, Conflict, SwiftopError

log = logging.getLogger(__name__)

Object = dict[str, Any]


class LeaseLost(SwiftopError):
    """Somebody else may act now: stop at once."""


class LeaseApi(Protocol):
    """The calls that an election needs."""

    async def get(self, kind: names.Kind, namespace: str, name: str) -> Object | None: ...
    async def create(self, obj: Object) -> Object: ...
    async def replace(self, obj: Object) -> Object: ...


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. ``deadline`` + ``call_timeout`` stays below ``duration``, so a leader is gone before it is succeeded."""

    duration: float = 12.0
    deadline: float = 8.0
    renew: float = 2.0
    poll: float = 1.0  # of a standby
    call_timeout: float = 3.0


class Lease:
    """One candidate's view of the Lease."""

    def __init__(
        self,
        api: LeaseApi,
        *,
        namespace: str,
        identity: str,
        name: str = "swiftop",
        timing: Timing | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._place = (namespace, name)
        self._identity = identity
        self._timing = timing or Timing()
        self._now = now
        self._held: Object | None = None  # as last written by us
        self._seen: tuple[str, float] | None = None  # resource version of the other's Lease, and since when it stands

    @property
    def held(self) -> bool:
        """Whether this candidate leads."""
        return self._held is not None

    async def acquire(self) -> None:
        """Return once the Lease is ours. Errors only delay it: a standby without an API server is a healthy standby."""
        log.info("waiting for the lease %s/%s as %s", *self._place, self._identity)
        while True:
            try:
                async with asyncio.timeout(self._timing.call_timeout):
                    if await self._try_acquire():
                        log.info("lease acquired")
                        return
            except (SwiftopError, TimeoutError) as error:
                log.warning("lease not read or taken: %s", error or type(error).__name__)
            await asyncio.sleep(self._timing.poll)

    async def keep(self) -> None:
        """Renew until cancelled. Raises ``LeaseLost`` when another holds it or the deadline has passed."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            await asyncio.sleep(self._timing.renew)
            try:
                async with asyncio.timeout(self._timing.call_timeout):
                    await self._renew()
                renewed = loop.time()
            except (SwiftopError, TimeoutError) as error:
                if isinstance(error, LeaseLost):
                    self._held = None
                    raise
                silent = loop.time() - renewed
                log.warning("lease not renewed for %.1f s: %s", silent, error or type(error).__name__)
                # The next try would end after the deadline when nothing answers.
                if silent + self._timing.renew > self._timing.deadline:
                    self._held = None
                    raise LeaseLost(f"not renewed for {silent:.1f} s") from error

    async def release(self) -> None:
        """Give the Lease back, if it is ours. Failing is harmless: it then expires."""
        if self._held is None:
            return
        held, self._held = self._held, None
        try:
            async with asyncio.timeout(self._timing.call_timeout):
                try:
                    await self._vacate(held)
                except Conflict:  # a renewal that was cut off got through
                    lease = await self._api.get(names.LEASE, *self._place)
                    if lease is not None and lease["spec"].get("holderIdentity") == self._identity:
                        await self._vacate(lease)
        except (SwiftopError, TimeoutError) as error:
            log.warning("lease not released: %s", error or type(error).__name__)
        else:
            log.info("lease released")

    async def _vacate(self, lease: Object) -> None:
        await self._api.replace(self._body(lease, holder="", transitions=lease["spec"].get("leaseTransitions", 0)))

    async def _try_acquire(self) -> bool:
        lease = await self._api.get(names.LEASE, *self._place)
        try:
            if lease is None:
                self._held = await self._api.create(self._body(None, holder=self._identity, transitions=0))
            elif self._free(lease):
                transitions = lease["spec"].get("leaseTransitions", 0) + 1
                self._held = await self._api.replace(self._body(lease, holder=self._identity, transitions=transitions))
        except (AlreadyExists, Conflict):  # another candidate was faster
            return False
        return self.held

    def _free(self, lease: Object) -> bool:
        """Released, ours from before a restart, or unchanged for its whole duration by our own clock."""
        holder = lease["spec"].get("holderIdentity")
        if not holder or holder == self._identity:
            return True
        now, version = asyncio.get_running_loop().time(), lease["metadata"]["resourceVersion"]
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, now)
            return False
        return now - self._seen[1] > float(lease["spec"].get("leaseDurationSeconds", self._timing.duration))

    async def _renew(self) -> None:
        assert self._held is not None  # noqa: S101 - keep() is only called after acquire()
        held = self._held
        try:
            transitions = held["spec"].get("leaseTransitions", 0)
            self._held = await self._api.replace(self._body(held, holder=self._identity, transitions=transitions))
        except Conflict:
            # Our own renewal may have got through without its answer; only another holder is a loss.
            lease = await self._api.get(names.LEASE, *self._place)
            holder = lease["spec"].get("holderIdentity") if lease else None
            if lease is None or holder != self._identity:
                raise LeaseLost(f"held by {holder or 'nobody'}") from None
            self._held = lease
            raise

    def _body(self, previous: Object | None, *, holder: str, transitions: int) -> Object:
        namespace, name = self._place
        stamp = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = previous is not None and previous["spec"].get("holderIdentity") == holder
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": int(self._timing.duration),
            "acquireTime": previous["spec"].get("acquireTime", stamp) if ours and previous else stamp,
            "renewTime": stamp,
            "leaseTransitions": transitions,
        }
        meta: Object = {"namespace": namespace, "name": name}
        if previous is not None:
            meta["resourceVersion"] = previous["metadata"]["resourceVersion"]
        return {"apiVersion": names.LEASE.api_version, "kind": names.LEASE.kind, "metadata": meta, "spec": spec}
