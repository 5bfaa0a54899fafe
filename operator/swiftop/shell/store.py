"""What the operator knows of the cluster: the newest version of each watched object, with the children of each run.

Reconciling reads from here instead of from the API server, which halves the cost of a burst. Three rules keep it true:
a version never goes backwards (a late event, or an event older than the answer to our own write, is dropped); a deleted
object does not come back through such a straggler; and the resync LIST replaces a kind whole, since kopf never delivers
the deletes that happened in a watch gap.

The dicts are shared: whoever reads one must not change it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from swiftop import names

Object = dict[str, Any]
Objects = list[Object]  # inside a class with a method named list, the type needs another name
_Place = tuple[str, str]  # namespace, name

# Parts of a Job and a Pod that no decision reads and that make most of their size: a thousand runs' pod templates
# would otherwise stay in memory twice. The Job's template is never compared: it is immutable after creation.
_DROPPED_SPEC = {
    names.JOB.kind: frozenset({"template", "podFailurePolicy"}),
    names.POD.kind: frozenset(
        {"volumes", "tolerations", "affinity", "securityContext", "containers", "initContainers"}
    ),
}


def slim(kind: names.Resource, obj: Object) -> Object:
    """``obj`` without what nobody reads. A new dict: the given one may be in use elsewhere."""
    meta = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    annotations = meta.get("annotations")
    if annotations:
        # kubectl's copy of the whole object
        last_applied = "kubectl.kubernetes.io/last-applied-configuration"
        meta["annotations"] = {k: v for k, v in annotations.items() if k != last_applied}
    kept = {**obj, "metadata": meta}
    dropped = _DROPPED_SPEC.get(kind.kind)
    if dropped and "spec" in obj:
        kept["spec"] = {k: v for k, v in obj["spec"].items() if k not in dropped}
    return kept


def version_of(obj: Object) -> int:
    """Resource version as the number that it is: since 1.35 Kubernetes promises that they can be ordered."""
    return int(obj["metadata"]["resourceVersion"])


class _Table:
    """Objects of one kind."""

    def __init__(self) -> None:
        self.objects: dict[_Place, Object] = {}
        self.buried: dict[_Place, int] = {}  # version at which an object was deleted; emptied by each resync
        self.children: dict[_Place, set[_Place]] = {}  # run -> its objects, by label

    def put(self, place: _Place, obj: Object) -> None:
        self.drop(place)
        self.objects[place] = obj
        if run := _run_of(place, obj):
            self.children.setdefault(run, set()).add(place)

    def drop(self, place: _Place) -> Object | None:
        old = self.objects.pop(place, None)
        if old is not None and (run := _run_of(place, old)):
            siblings = self.children[run]
            siblings.discard(place)
            if not siblings:
                del self.children[run]
        return old


class Store:
    """Newest known version of every watched object."""

    def __init__(self) -> None:
        self._tables: dict[str, _Table] = {}

    def get(self, kind: names.Resource, namespace: str, name: str) -> Object | None:
        """One object, or None."""
        return self._table(kind).objects.get((namespace, name))

    def list(self, kind: names.Resource) -> Iterable[Object]:
        """All objects of a kind, as a view that must not outlive the current step."""
        return self._table(kind).objects.values()

    def children(self, kind: names.Resource, namespace: str, run: str) -> Objects:
        """Objects labelled with this run's name, in order of name; a namesake's leftovers may be among them."""
        table = self._table(kind)
        return [table.objects[place] for place in sorted(table.children.get((namespace, run), ()))]

    def count(self, kind: names.Resource) -> int:
        """Number of objects of a kind."""
        return len(self._table(kind).objects)

    def observe(self, kind: names.Resource, obj: Object) -> bool:
        """Take a version that was read, watched or answered to a write. False when it is not news."""
        table, place, version = self._table(kind), _place_of(obj), version_of(obj)
        known = table.objects.get(place)
        if known is not None and version_of(known) >= version:
            return False
        if table.buried.get(place, -1) >= version:
            return False
        table.put(place, slim(kind, obj))
        return True

    def forget(self, kind: names.Resource, obj: Object) -> bool:
        """Take a delete event. False when a newer object of that name is already known."""
        table, place, version = self._table(kind), _place_of(obj), version_of(obj)
        known = table.objects.get(place)
        if known is not None and version_of(known) > version:
            return False
        table.buried[place] = version
        return table.drop(place) is not None

    def replace(self, kind: names.Resource, objects: Iterable[Object], *, version: int, namespace: str = "") -> None:
        """Take a whole LIST of version ``version``, of one namespace or of all: what is older and not in it is gone."""
        table, listed = self._table(kind), set()
        for obj in objects:
            listed.add(_place_of(obj))
            self.observe(kind, obj)
        in_scope = [place for place in table.objects if not namespace or place[0] == namespace]
        for place in in_scope:
            if place not in listed and version_of(table.objects[place]) <= version:
                table.drop(place)
        for place in [place for place, at in table.buried.items() if at <= version]:
            del table.buried[place]

    def _table(self, kind: names.Resource) -> _Table:
        table = self._tables.get(kind.kind)
        if table is None:
            table = self._tables[kind.kind] = _Table()
        return table


def _place_of(obj: Object) -> _Place:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _run_of(place: _Place, obj: Object) -> _Place | None:
    run = obj["metadata"].get("labels", {}).get(names.LABEL_NAME)
    return (place[0], run) if run else None
