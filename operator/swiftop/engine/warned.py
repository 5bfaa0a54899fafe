"""Kubernetes Events of a namespace, read once for all of its objects."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from swiftop.engine.ports import Cluster
from swiftop.errors import SwiftopError
from swiftop.model.kind import Ask, Object
from swiftop.names import Resource

log = logging.getLogger(__name__)

# How long the events of a namespace are taken as read: shorter for an object whose own event is not among them.
_READ_SECONDS = 10.0
_NO_EVENT_SECONDS = 2.0
_WAIT_SECONDS = 0.5  # that an object waits for a LIST: events only explain, and it is looked at again
_LIST_SECONDS = 30.0  # that a LIST may take


@dataclass(frozen=True, slots=True)
class _Read:
    """The answer to one LIST, by the UID of what it is about."""

    at: float
    by_uid: Mapping[str, Sequence[Object]]
    complete: bool = True

    def holds(self, uid: str, now: float) -> bool:
        """Whether it still answers for this object."""
        kept = _READ_SECONDS if uid in self.by_uid or not self.complete else _NO_EVENT_SECONDS
        return now - self.at < kept


class Warnings:
    """One LIST serves all objects of a namespace for some seconds: any LIST of events reads all on the server."""

    def __init__(self, cluster: Cluster, monotonic: Callable[[], float]) -> None:
        self._cluster = cluster
        self._monotonic = monotonic
        self._read: dict[tuple[Resource, str], _Read] = {}
        # One LIST per kind and namespace at a time, whose answer all find who ask meanwhile. Nobody waits for another
        # tenant's, nor for long for one's own.
        self._listing: dict[tuple[Resource, str], asyncio.Task[None]] = {}

    async def about(self, ask: Ask, namespace: str) -> Sequence[Object]:
        """Events about one object, as far as they are known by now."""
        place = (ask.resource, namespace)
        read = self._read.get(place)
        if read is None or not read.holds(ask.uid, self._monotonic()):
            listing = self._listing.get(place)
            if listing is None:
                listing = self._listing[place] = asyncio.create_task(self._refresh(place), name="events")
                listing.add_done_callback(lambda _: self._listing.pop(place, None))
            await asyncio.wait({listing}, timeout=_WAIT_SECONDS)
            read = self._read.get(place)  # while the LIST takes its time, what was read before
        return read.by_uid.get(ask.uid, ()) if read is not None else ()

    async def _refresh(self, place: tuple[Resource, str]) -> None:
        read = await self._list(*place)
        now = self._monotonic()
        self._read = {at: known for at, known in self._read.items() if now - known.at < _READ_SECONDS}
        self._read[place] = read

    async def _list(self, resource: Resource, namespace: str) -> _Read:
        """Stamped when it has come: what took long would else be out of date at once for those who wait."""
        by_uid: dict[str, list[Object]] = {}
        try:
            async with asyncio.timeout(_LIST_SECONDS):
                events = await self._cluster.warnings(resource, namespace)
        except (SwiftopError, TimeoutError) as error:  # forbidden, say: what they would explain stays unexplained
            log.warning("events of %s are not known: %s", namespace, str(error) or "their LIST takes too long")
            return _Read(self._monotonic(), by_uid, complete=False)
        for event in events:
            by_uid.setdefault((event.get("involvedObject") or {}).get("uid", ""), []).append(event)
        return _Read(self._monotonic(), by_uid)
