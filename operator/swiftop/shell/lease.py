"""Leader election on a coordination Lease: at most one operator acts at a time.

An own loop, because the client library's asyncio election dies at the first start without a Lease and at one refused
connection, and never releases. The rules here: whoever stands by tolerates every error for ever; a leader tolerates
errors until the renew deadline, which ends before anybody else may take over, and must then end its process at once;
a clean stop releases, so that a successor does not wait out the Lease; time is only ever compared on one's own clock.
A renewal counts from the moment before it was sent: others may have seen it long before its answer arrived here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from swiftop import names
from swiftop.errors import AlreadyExists, Conflict, Forbidden, NotFound, Refused, SwiftopError

log = logging.getLogger(__name__)

Object = dict[str, Any]


class LeaseLost(SwiftopError):
    """Somebody else may act now: stop at once."""


class LeaseRefused(SwiftopError):
    """The API server answers, and will not let this candidate lead: only a person can fix that."""


class LeaseApi(Protocol):
    """The calls that an election needs."""

    async def get(self, kind: names.Resource, namespace: str, name: str) -> Object | None: ...
    async def create(self, obj: Object) -> Object: ...
    async def replace(self, obj: Object) -> Object: ...


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. ``deadline`` + ``call_timeout`` stays below ``duration``, so a leader is gone before it is succeeded."""

    duration: float = 12.0
    deadline: float = 8.0
    renew: float = 2.0
    poll: float = 1.0  # of a standby
    longest_poll: float = 30.0  # of one that is refused
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock`` must go on while the process is stopped, which the clock of an event loop may not notice."""
        self._api = api
        self._place = (namespace, name)
        self._identity = identity
        self._timing = timing or Timing()
        self._now = now
        self._clock = clock
        self._held: Object | None = None  # as last written by us
        self._renewed = 0.0  # just before the last write that got through was sent
        self._seen: tuple[str, float] | None = None  # resource version of the other's Lease, and since when it stands
        self._leader: str | None = None  # as last logged
        self.obstacle = ""  # why this candidate can never lead, as long as that is so

    @property
    def held(self) -> bool:
        """Whether this candidate leads."""
        return self._held is not None

    def valid(self) -> bool:
        """Whether nobody else can act yet: asked before each write, since a process may have been stopped meanwhile."""
        return self.held and self._clock() - self._renewed < self._timing.deadline + self._timing.call_timeout

    async def acquire(self, *, patient: bool = True) -> None:
        """Return once the Lease is ours. A standby without an API server is a healthy standby, and waits.

        One that the API server refuses waits too, less and less often; an impatient one is told by ``LeaseRefused``,
        unless it was let in before: an API server that has just started knows its rules bit by bit.
        """
        log.info("waiting for the lease %s/%s as %s", *self._place, self._identity)
        pause = self._timing.poll
        while True:
            try:
                async with asyncio.timeout(self._timing.call_timeout):
                    if await self._try_acquire():
                        self.obstacle = ""
                        log.info("lease acquired")
                        return
                self.obstacle, pause, patient = "", self._timing.poll, True
            except (Forbidden, NotFound, Refused) as error:
                self.obstacle = self._hint(error)
                if not patient:
                    raise LeaseRefused(self.obstacle) from error
                pause = min(pause * 2, self._timing.longest_poll)
                log.error("%s; again in %.0f s", self.obstacle, pause)
            except (SwiftopError, TimeoutError) as error:
                pause = self._timing.poll
                log.warning("lease not read or taken: %s", str(error) or type(error).__name__)
            await asyncio.sleep(pause)

    async def keep(self) -> None:
        """Renew until cancelled. Raises ``LeaseLost`` when another holds it or the deadline has passed."""
        while True:
            await asyncio.sleep(self._timing.renew)
            try:
                async with asyncio.timeout(self._timing.call_timeout):
                    await self._renew()
            except (SwiftopError, TimeoutError) as error:
                if isinstance(error, LeaseLost):
                    self._held = None
                    raise
                silent = self._clock() - self._renewed
                log.warning("lease not renewed for %.1f s: %s", silent, str(error) or type(error).__name__)
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
                    if lease is not None and _holder(lease) == self._identity:
                        await self._vacate(lease)
        except (SwiftopError, TimeoutError) as error:
            log.warning("lease not released: %s", str(error) or type(error).__name__)
        else:
            log.info("lease released")

    async def _vacate(self, lease: Object) -> None:
        await self._api.replace(self._body(lease, holder="", transitions=_transitions(lease)))

    async def _try_acquire(self) -> bool:
        lease = await self._api.get(names.LEASE, *self._place)
        asked = self._clock()
        try:
            if lease is None:
                self._held = await self._api.create(self._body(None, holder=self._identity, transitions=0))
            elif self._free(lease):
                taken = self._body(lease, holder=self._identity, transitions=_transitions(lease) + 1)
                self._held = await self._api.replace(taken)
        except (AlreadyExists, Conflict):  # another candidate was faster
            return False
        self._renewed = asked
        return self.held

    def _free(self, lease: Object) -> bool:
        """Released, ours from before a restart, or unchanged for its whole duration by our own clock."""
        holder = _holder(lease)
        if holder in ("", self._identity):
            return True
        if holder != self._leader:
            self._leader = holder
            log.info("standing by: the lease is held by %s", holder)
        now, version = self._clock(), lease["metadata"]["resourceVersion"]
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, now)
            return False
        return now - self._seen[1] > float(_spec(lease).get("leaseDurationSeconds") or self._timing.duration)

    async def _renew(self) -> None:
        assert self._held is not None  # noqa: S101 - keep() is only called after acquire()
        try:
            try:
                await self._write_renewal(self._held)
            except Conflict:
                # Our own renewal may have got through without its answer; only another holder is a loss.
                lease = await self._api.get(names.LEASE, *self._place)
                if lease is None or _holder(lease) != self._identity:
                    raise LeaseLost(f"held by {(lease and _holder(lease)) or 'nobody'}") from None
                await self._write_renewal(lease)
        except NotFound:
            raise LeaseLost("the Lease was deleted: anybody may have made it anew") from None

    async def _write_renewal(self, lease: Object) -> None:
        asked = self._clock()
        self._held = await self._api.replace(self._body(lease, holder=self._identity, transitions=_transitions(lease)))
        self._renewed = asked

    def _hint(self, error: SwiftopError) -> str:
        namespace, name = self._place
        if isinstance(error, NotFound):
            return (
                f"the Lease {name} cannot be made, its namespace {namespace} does not exist: create it, name another "
                "with --operator-namespace, or run alone with --no-leader-election"
            )
        return f"the Lease {namespace}/{name} is refused, see manifests/base/rbac.yaml for the rights it takes: {error}"

    def _body(self, previous: Object | None, *, holder: str, transitions: int) -> Object:
        namespace, name = self._place
        stamp = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = previous is not None and _holder(previous) == holder
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": int(self._timing.duration),
            "acquireTime": _spec(previous).get("acquireTime") or stamp if ours and previous else stamp,
            "renewTime": stamp,
            "leaseTransitions": transitions,
        }
        meta: Object = {"namespace": namespace, "name": name}
        if previous is not None:
            meta["resourceVersion"] = previous["metadata"]["resourceVersion"]
        return {"apiVersion": names.LEASE.api_version, "kind": names.LEASE.kind, "metadata": meta, "spec": spec}


# A Lease that somebody made by hand may have no spec, and every field of a spec may be missing.


def _spec(lease: Object) -> Object:
    spec: Object = lease.get("spec") or {}
    return spec


def _holder(lease: Object) -> str:
    return str(_spec(lease).get("holderIdentity") or "")


def _transitions(lease: Object) -> int:
    return int(_spec(lease).get("leaseTransitions") or 0)
