"""What the engine needs of the world outside, as protocols: the cluster, the store and the source of progress.

The engine and its tests depend on these few methods only, never on a client library; `cluster.py`, `store.py` and
`puller.py` have them by shape and need not know this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from swiftop.model.kind import Key, Object, Reading
from swiftop.names import Resource


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

    async def delete(self, kind: Resource, namespace: str, name: str, uid: str) -> None:
        """Delete the object of this UID after all that it owns. What is gone, or another's by now, is no error."""
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
    """Where reports come from. It asks pods by itself and adds their object's key to the queue on news."""

    def latest(self, pod_uid: str) -> Reading | None:
        """What this pod last said, or None before it was first asked. Never waits."""
        ...
