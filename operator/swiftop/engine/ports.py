"""What the engine needs of the world outside, as protocols: the cluster, the store and the source of progress.

The engine and its tests depend on these few methods only, never on a client library; `cluster.py`, `store.py` and
`progress.py` have them by shape and need not know this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from swiftop.names import Resource

Object = dict[str, Any]


class Key(NamedTuple):
    """What the work queue carries: "reconcile this object"."""

    kind: str
    namespace: str
    name: str


class Kind(Protocol):
    """What the shell has to know of a kind."""

    @property
    def resource(self) -> Resource:
        """The kind itself."""
        ...

    def over(self, status: Mapping[str, Any], /) -> bool:
        """Whether an object of this status has ended for good."""
        ...

    def reports(self, pod: Mapping[str, Any], /) -> bool:
        """Whether this pod of an object is asked for its progress."""
        ...


class Said(Protocol):
    """What a pod last said about its training."""

    @property
    def numbers(self) -> Mapping[str, float | str] | None:
        """The runner's /progress, None when it was never heard."""
        ...

    @property
    def source(self) -> str:
        """Where the numbers came from: page, log, or none when neither can be read any more."""
        ...


class Cluster(Protocol):
    """The API server: plain dicts in and out, errors of `swiftop.errors`. A write's answer also reaches the store."""

    async def get(self, kind: Resource, namespace: str, name: str) -> Object | None:
        """One object as it is now, or None."""
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

    async def list(
        self, kind: Resource, namespace: str = "", labels: Mapping[str, str] | None = None
    ) -> Sequence[Object]:
        """Objects with these labels as they are now."""
        ...

    async def event(self, obj: Object, type_: str, reason: str, message: str) -> None:
        """Post a Kubernetes Event. May return before it is sent, and never fails."""
        ...

    async def warnings(self, kind: Resource, namespace: str) -> Sequence[Object]:
        """Kubernetes Events of type Warning about all objects of a kind in a namespace."""
        ...


class Store(Protocol):
    """What the watches know. May lag behind: nothing is concluded from an absence here without a live read."""

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """Newest known version, or None. Of an object that is over, and of its children, it is only a part."""
        ...

    def children(self, resource: Resource, owner: Key) -> Sequence[Object]:
        """Objects labelled with this owner's kind and name, in order of name; a namesake's may be among them."""
        ...


class ProgressSource(Protocol):
    """Where progress comes from. It asks pods by itself and adds a run's key to the queue on news."""

    def latest(self, pod_uid: str) -> Said | None:
        """What this pod last said, or None before the first look at it. Never waits."""
        ...
