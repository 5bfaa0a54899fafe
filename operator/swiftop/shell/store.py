"""What the operator knows of the cluster: the newest version of each watched object, with the children of each owner.

Reconciling reads from here instead of from the API server, which halves the cost of a burst. Three rules keep it true:
a version never goes backwards (a late event, or an event older than the answer to our own write, is dropped); a deleted
object does not come back through such a straggler; and the resync LIST replaces a resource whole, since kopf never
delivers the deletes that happened in a watch gap. That LIST is also what tells that the cluster was restored from a
backup, where versions do go backwards.

The dicts are shared: whoever reads one must not change it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from swiftop import names
from swiftop.kinds.registry import KINDS
from swiftop.model.kind import Key, Kind
from swiftop.shell import slim

Object = dict[str, Any]
Objects = list[Object]  # inside a class with a method named list, the type needs another name
_Place = tuple[str, str]  # namespace, name

_MOST_CHILDREN = 2000  # of one owner and resource that are looked at: a thousand replicas, and those of an update


def version_of(obj: Object) -> int:
    """Resource version as the number that it is: since 1.35 Kubernetes promises that they can be ordered."""
    return int(obj["metadata"]["resourceVersion"])


def owner_of(obj: Object) -> Key | None:
    """By its labels, the object that a child was made for."""
    meta = obj["metadata"]
    labels = meta.get("labels") or {}
    kind, name = labels.get(names.LABEL_KIND), labels.get(names.LABEL_NAME)
    return Key(kind, meta["namespace"], name) if kind and name else None


def controller_of(obj: Object) -> str:
    """UID of the object that controls this one; empty without one."""
    owners = obj["metadata"].get("ownerReferences") or ()
    return next((owner["uid"] for owner in owners if owner.get("controller")), "")


class _Table:
    """Objects of one resource."""

    def __init__(self) -> None:
        self.objects: dict[_Place, Object] = {}
        self.tombstones: dict[_Place, int] = {}  # version at which an object was deleted; emptied by each resync
        # Owner -> its objects, by label: few, and a tuple is a fifth of a set.
        self.children: dict[Key, tuple[_Place, ...]] = {}
        self.newest = 0  # of all versions that were ever seen
        self.listed: dict[str, int] = {}  # namespace, empty for all -> version of its last LIST

    def is_gone(self, place: _Place, version: int) -> bool:
        """Whether an object that is not known was deleted since that version: by a delete event, or by a LIST."""
        listed = max(self.listed.get("", -1), self.listed.get(place[0], -1))
        return max(self.tombstones.get(place, -1), listed) >= version

    def put(self, place: _Place, obj: Object) -> None:
        old, owner = self.objects.get(place), owner_of(obj)
        if old is None or owner_of(old) != owner:  # else the siblings, of which there may be any number, stay
            self.drop(place)
            if owner is not None:
                self.children[owner] = (*self.children.get(owner, ()), place)
        self.objects[place] = obj
        self.tombstones.pop(place, None)

    def drop(self, place: _Place) -> Object | None:
        old = self.objects.pop(place, None)
        if old is not None and (owner := owner_of(old)):
            siblings = self.children.pop(owner)
            at = siblings.index(place)
            if len(siblings) > 1:
                self.children[owner] = siblings[:at] + siblings[at + 1 :]
        return old


class Store:
    """Newest known version of every watched object."""

    def __init__(self, kinds: Mapping[str, Kind] = KINDS) -> None:
        self._kinds = kinds
        self._tables: dict[str, _Table] = {}

    def get(self, resource: names.Resource, namespace: str, name: str) -> Object | None:
        """One object, or None."""
        return self._table(resource).objects.get((namespace, name))

    def list(self, resource: names.Resource) -> Iterable[Object]:
        """All objects of a resource, as a view that must not outlive the current step."""
        return self._table(resource).objects.values()

    def children(self, resource: names.Resource, owner: Key) -> Objects:
        """Objects labelled with this owner's kind and name, in order of name; a namesake's may be among them.

        So may any number that others have labelled: no more are returned than would keep nobody else waiting.
        """
        table = self._table(resource)
        return [table.objects[place] for place in sorted(table.children.get(owner, ()))[:_MOST_CHILDREN]]

    def count(self, resource: names.Resource) -> int:
        """Number of objects of a resource."""
        return len(self._table(resource).objects)

    def observe(self, resource: names.Resource, obj: Object) -> bool:
        """Take a version that was watched or answered to a write. False when it is not news."""
        table, place, version = self._table(resource), _place_of(obj), version_of(obj)
        table.newest = max(table.newest, version)
        known = table.objects.get(place)
        if known is not None and version_of(known) >= version:
            return False
        if known is None and table.is_gone(place, version):
            return False
        self._put(resource, table, place, obj)
        return True

    def forget(self, resource: names.Resource, obj: Object) -> bool:
        """Take a delete event. False when a newer object of that name is already known."""
        table, place, version = self._table(resource), _place_of(obj), version_of(obj)
        table.newest = max(table.newest, version)
        known = table.objects.get(place)
        if known is not None and version_of(known) > version:
            return False
        table.tombstones[place] = version
        return table.drop(place) is not None

    def relist(self, resource: names.Resource, namespace: str = "") -> Relist:
        """Begin to replace a resource, of one namespace or of all, by a LIST that is asked for after this call."""
        return Relist(self, resource, namespace, newest=self._table(resource).newest)

    def _take_listed(self, resource: names.Resource, obj: Object, *, listed_at: int, restored: bool) -> None:
        """Take an object of a LIST that was read at a version.

        What is known at a later one came after the LIST. What is known at an earlier one was the object's past, and
        with a version that is higher than the listed one it belongs to a history that is no more.
        """
        table, place, version = self._table(resource), _place_of(obj), version_of(obj)
        table.newest = max(table.newest, version)
        known = table.objects.get(place)
        at = table.tombstones.get(place, -1) if known is None else version_of(known)
        if restored or at < version or version < at <= listed_at:
            self._put(resource, table, place, obj)

    def _end_list(
        self, resource: names.Resource, namespace: str, listed: set[_Place], *, listed_at: int, restored: bool
    ) -> None:
        """What is older than the LIST and not in it is gone."""
        table = self._table(resource)
        for place in [place for place in table.objects if not namespace or place[0] == namespace]:
            if place not in listed and (restored or version_of(table.objects[place]) <= listed_at):
                table.drop(place)
        for place, at in list(table.tombstones.items()):
            if (not namespace or place[0] == namespace) and (restored or at <= listed_at):
                del table.tombstones[place]
        table.newest = listed_at if restored else max(table.newest, listed_at)
        table.listed[namespace] = listed_at

    def _put(self, resource: names.Resource, table: _Table, place: _Place, obj: Object) -> None:
        kind = self._kinds.get(resource.kind)
        if kind is None:
            owner = self._owner(obj)
            table.put(place, slim.active(resource, obj) if owner is None else slim.child_of_over(resource, obj))
            return
        known = table.objects.get(place)
        same = known is not None and known["metadata"].get("uid") == obj["metadata"].get("uid")
        before, after = same and _is_over(kind, known), _is_over(kind, obj)
        table.put(place, slim.over(resource, obj) if after else slim.active(resource, obj))
        if before != after:
            self._owner_changed(Key(resource.kind, *place), obj, over=after)

    def _owner(self, child: Object) -> Object | None:
        """The object that a child was made for, if that is known and over."""
        key, uid = owner_of(child), (child["metadata"].get("labels") or {}).get(names.LABEL_UID)
        kind = self._kinds.get(key.kind) if key and uid else None
        if key is None or kind is None:
            return None
        owner = self.get(kind.resource, key.namespace, key.name)
        return owner if owner and owner["metadata"].get("uid") == uid and _is_over(kind, owner) else None

    def _owner_changed(self, key: Key, owner: Object, *, over: bool) -> None:
        """Of the children of an object that is over little is kept.

        Should a person take the end out of a status by hand, they are unknown until the next resync, and not known by
        a part that looks like the whole.
        """
        uid = owner["metadata"].get("uid")
        for resource in names.RESOURCES.values():
            if resource.kind in self._kinds:  # whatever its labels say, it is nobody's child
                continue
            table = self._tables.get(resource.kind)
            for place in table.children.get(key, ()) if table else ():
                assert table is not None  # noqa: S101 - for the type checker
                child = table.objects[place]
                if (child["metadata"].get("labels") or {}).get(names.LABEL_UID) != uid:
                    continue
                if over:
                    table.put(place, slim.child_of_over(resource, child))
                else:
                    table.drop(place)

    def _table(self, resource: names.Resource) -> _Table:
        table = self._tables.get(resource.kind)
        if table is None:
            table = self._tables[resource.kind] = _Table()
        return table


class Relist:
    """One LIST that replaces what the store knows, page by page, so that it is never in memory twice."""

    def __init__(self, store: Store, resource: names.Resource, namespace: str, *, newest: int) -> None:
        self._store = store
        self._scope = (resource, namespace)
        self._newest = newest  # version that was known before the LIST was asked for
        self._listed: set[_Place] = set()
        self._version = 0
        self.last: Object | None = None  # of the listed objects the one that changed last

    @property
    def restored(self) -> bool:
        """Whether the cluster was restored from a backup.

        A LIST is read at the cluster's newest version: one that is older than what was known before it was asked for
        belongs to another history.
        """
        return self._version < self._newest

    def page(self, objects: Iterable[Object], *, version: int) -> None:
        """Take one page; all pages have one version."""
        self._version = version
        for obj in objects:
            self._listed.add(_place_of(obj))
            if self.last is None or version_of(self.last) < version_of(obj):
                self.last = obj
            self._store._take_listed(self._scope[0], obj, listed_at=version, restored=self.restored)

    def end(self) -> None:
        """Forget what was not listed."""
        self._store._end_list(*self._scope, self._listed, listed_at=self._version, restored=self.restored)


def _place_of(obj: Object) -> _Place:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _is_over(kind: Kind, obj: Object | None) -> bool:
    return obj is not None and kind.over(obj.get("status") or {})
