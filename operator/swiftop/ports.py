"""What the engine needs of the world outside, as protocols: the cluster, the store and the source of progress.

The engine and its tests depend on these few methods only, never on a client library; `cluster.py`, `store.py` and
`progress.py` have them by shape and need not know this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from swiftop.names import Kind

Object = dict[str, Any]


class Key(NamedTuple):
    """What the work queue carries: "look at this object again"."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class PodTarget:
    """A running pod whose training reports progress."""

    key: Key  # the run to look at again when there is news
    uid: str  # of the pod: a new pod under an old name starts afresh
    name: str
    ip: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What a pod last said about its training."""

    report: Mapping[str, Any] | None = field(default=None)  # the runner's /progress, not checked
    reachable: bool = True  # False when both ways, HTTP and the log, failed several times


class Cluster(Protocol):
    """The API server: plain dicts in and out, errors of `swiftop.errors`. A write's answer also reaches the store."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """One object as it is now, or None."""
        ...

    async def list(self, kind: Kind, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[Object]:
        """Objects with these labels as they are now."""
        ...

    async def create(self, obj: Object) -> Object:
        """POST; raises AlreadyExists."""
        ...

    async def apply(self, obj: Object) -> Object:
        """Server-side apply with our field manager, by force."""
        ...

    async def patch_status(self, obj: Object, status: Object, resource_version: str) -> Object:
        """Merge patch of /status; raises Conflict when the object is newer than ``resource_version``."""
        ...

    async def event(self, obj: Object, type_: str, reason: str, message: str) -> None:
        """Post a Kubernetes Event. May return before it is sent, and never fails."""
        ...

    async def events_for(self, kind: Kind, namespace: str, name: str, uid: str) -> list[Object]:
        """Kubernetes Events about one object."""
        ...


class Store(Protocol):
    """What the watches know. May lag behind: nothing is concluded from an absence here without a live read."""

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Newest known version, or None."""
        ...

    def children(self, kind: Kind, namespace: str, run: str) -> list[Object]:
        """Objects labelled with this run's name, in order of name; a namesake's leftovers may be among them."""
        ...


class ProgressSource(Protocol):
    """Where progress comes from. It asks pods in the background and adds a run's key to the queue when there is news."""

    def follow(self, pod: PodTarget) -> Reading | None:
        """Start (or keep) asking this pod; what it last said, or None when it was never heard. Never waits."""
        ...

    def forget(self, key: Key) -> None:
        """The run ended or is gone: stop asking its pods."""
        ...
