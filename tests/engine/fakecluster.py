"""An API server in memory, as far as the engine can tell, and the parts of Kubernetes that act on a run's children.

It keeps resource versions, generations and UIDs, answers 409 where the real one does, deletes children with their
owner, and writes a watch log that a test may deliver late, twice, out of order or not at all. Faults are injected per
call: before it takes effect (it was refused) or after (it got through, but the answer was lost).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, TypeVar, cast

from swiftop import names
from swiftop.errors import AlreadyExists, Conflict, NotFound, SwiftopError
from swiftop.model.times import text_of
from swiftop.names import Resource

Object = dict[str, Any]
Objects = list[Object]  # inside a class with a method named list, the type needs another name
T = TypeVar("T")
Place = tuple[str, str, str]  # kind, namespace, name

START = 1_800_000_000.0


@dataclass(frozen=True)
class Fault:
    """An error that one call meets. ``late``: the call took effect, only its answer was lost."""

    error: SwiftopError
    late: bool = False


@dataclass
class FakeCluster:
    """Objects, watch log, and a count of what was asked."""

    now: float = START
    objects: dict[Place, Object] = field(default_factory=dict)
    log: list[tuple[str, Object]] = field(default_factory=list)  # watch events, oldest first
    calls: list[tuple[str, str, str]] = field(default_factory=list)  # verb, kind, name
    posted: list[tuple[str, str, str]] = field(default_factory=list)  # Kubernetes Events: type, reason, message
    warned: list[Object] = field(default_factory=list)  # Events of other components
    fault: Callable[[str, str], Fault | None] = lambda _verb, _kind: None
    wrote: Callable[[str, Object], None] = lambda _verb, _obj: None
    applied: dict[Place, Object] = field(default_factory=dict)  # what the manager applied last
    _version: int = 100
    _uids: int = 0

    def clock(self) -> float:
        return self.now

    @property
    def writes(self) -> list[tuple[str, str, str]]:
        return [call for call in self.calls if call[0] in ("create", "apply", "delete", "patch_status", "event")]

    def is_gone(self, obj: Object) -> bool:
        """Whether this very object exists no more."""
        known = self.objects.get(_place(obj))
        return known is None or known["metadata"]["uid"] != obj["metadata"]["uid"]

    # The protocol of the engine

    async def get(self, kind: Resource, namespace: str, name: str) -> Object | None:
        return self._call("get", kind, name, lambda: copied(self.objects.get((kind.kind, namespace, name))))

    async def list(
        self, kind: Resource, namespace: str = "", labels: Mapping[str, str] | None = None
    ) -> Sequence[Object]:
        def found() -> Sequence[Object]:
            wanted = (labels or {}).items()
            return [
                copied(obj)
                for (kind_name, where, _), obj in sorted(self.objects.items())
                if kind_name == kind.kind
                and namespace in ("", where)
                and wanted <= (obj["metadata"].get("labels") or {}).items()
            ]

        return self._call("list", kind, "", found)

    async def create(self, obj: Object) -> Object:
        kind = names.RESOURCES[obj["kind"]]

        def act() -> Object:
            if _place(obj) in self.objects:
                raise AlreadyExists(f"{obj['kind']} {obj['metadata']['name']}")
            return self._born(obj)

        return self._call("create", kind, obj["metadata"]["name"], act)

    async def apply(self, obj: Object) -> Object:
        kind = names.RESOURCES[obj["kind"]]

        def act() -> Object:
            known, uid = self.objects.get(_place(obj)), obj["metadata"].get("uid")
            if uid is not None and (known is None or known["metadata"]["uid"] != uid):
                raise Conflict(f"{obj['metadata']['name']} has another UID")
            before = self.applied.get(_place(obj), {}) if known else {}
            self.applied[_place(obj)] = copied(obj)
            if known is None:
                return self._born(obj)
            merged = _merge(_without(known, before, obj), obj)
            if "selector" in obj.get("spec", {}):
                merged["spec"]["selector"] = copied(obj["spec"]["selector"])  # atomic
            if "ownerReferences" not in obj["metadata"] and kind is names.PVC:
                merged["metadata"].pop("ownerReferences", None)  # what the manager applied before and no longer does
            return self._changed(merged)

        return self._call("apply", kind, obj["metadata"]["name"], act)

    async def patch_status(self, obj: Object, status: Object, resource_version: str) -> Object:
        kind = names.RESOURCES[obj["kind"]]

        def act() -> Object:
            known = self.objects.get(_place(obj))
            if known is None or known["metadata"]["uid"] != obj["metadata"]["uid"]:
                raise NotFound(obj["metadata"]["name"])
            if known["metadata"]["resourceVersion"] != resource_version:
                raise Conflict(f"{obj['metadata']['name']} is newer")
            return self._changed({**known, "status": merge_patched(known.get("status") or {}, status)})

        return self._call("patch_status", kind, obj["metadata"]["name"], act)

    async def delete(self, kind: Resource, namespace: str, name: str, uid: str) -> None:
        """In the foreground: what still has a pod that runs goes when that has ended (`Kubernetes.end_deletion`)."""

        def act() -> None:
            known = self.objects.get((kind.kind, namespace, name))
            if known is None or known["metadata"]["uid"] != uid:
                return
            pods = [pod for pod in self.owned(uid) if pod["kind"] == "Pod" and _holds(pod)]
            if not pods:
                self.remove(kind, namespace, name)
                return
            for obj in (known, *pods):
                if not obj["metadata"].get("deletionTimestamp"):
                    self._stored(
                        "MODIFIED",
                        {**obj, "metadata": {**obj["metadata"], "deletionTimestamp": text_of(self.now + 120)}},
                    )

        self._call("delete", kind, name, act)

    async def event(self, obj: Object, type_: str, reason: str, message: str) -> None:
        self.calls.append(("event", obj["kind"], obj["metadata"]["name"]))
        self.posted.append((type_, reason, message))

    async def warnings(self, kind: Resource, namespace: str) -> Sequence[Object]:
        told = [event for event in self.warned if event["involvedObject"]["kind"] == kind.kind]
        return self._call("warnings", kind, "", lambda: copied(told))

    # Users and Kubernetes

    def put(self, obj: Object) -> Object:
        """Create, or change: a changed spec is a new generation."""
        known = self.objects.get(_place(obj))
        return self._born(obj) if known is None else self._changed(_merge(known, obj))

    def remove(self, kind: Resource, namespace: str, name: str) -> None:
        """Delete with all that it owns, at once."""
        gone = self.objects.pop((kind.kind, namespace, name), None)
        if gone is None:
            return
        self._version += 1
        gone["metadata"]["resourceVersion"] = str(self._version)
        self.log.append(("DELETED", gone))
        uid = gone["metadata"]["uid"]
        for obj in self.owned(uid):
            self.remove(names.RESOURCES[obj["kind"]], obj["metadata"]["namespace"], obj["metadata"]["name"])

    def owned(self, uid: str) -> Objects:
        """Objects that this one owns."""
        everything = list(self.objects.values())
        return [o for o in everything if any(r["uid"] == uid for r in o["metadata"].get("ownerReferences", ()))]

    def of_kind(self, kind: Resource) -> Iterator[Object]:
        return (obj for (kind_name, _, _), obj in sorted(self.objects.items()) if kind_name == kind.kind)

    def find(self, kind: Resource, name: str, namespace: str = "team") -> Object:
        return self.objects[kind.kind, namespace, name]

    def _call(self, verb: str, kind: Resource, name: str, act: Callable[[], T]) -> T:
        self.calls.append((verb, kind.kind, name))
        fault = self.fault(verb, kind.kind)
        if fault is not None and not fault.late:
            raise fault.error
        answer = act()
        if fault is not None:
            raise fault.error
        if verb in ("create", "apply", "patch_status"):
            self.wrote(verb, copied(cast(Object, answer)))
        return answer

    def _born(self, obj: Object) -> Object:
        self._uids += 1
        obj = copied(obj)
        meta = obj["metadata"]
        meta.setdefault("uid", f"{self._uids:08x}-0000-4000-8000-000000000000")
        meta.setdefault("creationTimestamp", text_of(self.now))
        meta["generation"] = 1
        return self._stored("ADDED", obj)

    def _changed(self, obj: Object) -> Object:
        known = self.objects[_place(obj)]
        if obj == known:
            return copied(known)
        obj = copied(obj)
        if obj.get("spec") != known.get("spec"):
            obj["metadata"]["generation"] = known["metadata"]["generation"] + 1
        return self._stored("MODIFIED", obj)

    def _stored(self, type_: str, obj: Object) -> Object:
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        self.objects[_place(obj)] = obj
        self.log.append((type_, copied(obj)))
        return copied(obj)


def merge_patched(target: Any, patch: Any) -> Any:
    """RFC 7386, written from its text and not from the code under test."""
    if not isinstance(patch, dict):
        return copied(patch)
    result = copied(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patched(result.get(key), value)
    return result


def copied(value: T) -> T:
    """What JSON can say, some times as fast as ``copy.deepcopy``, which would take half of the time of a play."""
    if isinstance(value, dict):
        return cast(T, {key: copied(item) for key, item in value.items()})
    return cast(T, [copied(item) for item in value]) if isinstance(value, list) else value


def with_digest(obj: Object) -> Object:
    """The bytes of a ConfigMap by their digest: half a million characters take longer than all else to look through."""
    held = obj.get("binaryData")
    if held is None:
        return obj
    return {**obj, "binaryData": {key: _digest(text) for key, text in held.items()}}


@functools.lru_cache(maxsize=4)
def _digest(text: str) -> str:
    """In capitals, so that nobody takes a part of it for one of a UID."""
    return sha256(text.encode()).hexdigest().upper()


def _holds(pod: Object) -> bool:
    """Whether a pod still holds its node: one that was never placed, or has ended, goes at once."""
    status = pod.get("status") or {}
    placed = any(c["type"] == "PodScheduled" and c["status"] == "True" for c in status.get("conditions") or ())
    return placed and status.get("phase") not in ("Succeeded", "Failed")


def _merge(known: Any, wanted: Any) -> Any:
    if isinstance(known, dict) and isinstance(wanted, dict):
        return {**known, **{key: _merge(known.get(key), value) for key, value in wanted.items()}}
    return copied(wanted)


def _without(known: Any, before: Any, wanted: Any) -> Any:
    """What is applied no longer goes, of mappings at least."""
    if not (isinstance(known, dict) and isinstance(before, dict) and isinstance(wanted, dict)):
        return known
    gone = before.keys() - wanted.keys() - {"uid"}
    return {key: _without(value, before.get(key), wanted.get(key)) for key, value in known.items() if key not in gone}


def _place(obj: Object) -> Place:
    return obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"]
