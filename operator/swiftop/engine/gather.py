"""Reading: everything that a verdict depends on, from the store, and live where the store's silence would decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.engine.ports import Cluster, ProgressSource, Store
from swiftop.engine.warned import Warnings
from swiftop.errors import Invalid
from swiftop.model.kind import Ask, Key, Kind, Object, Pinned, Reference, Seen, World
from swiftop.runner.protocol import UploadedDataset
from swiftop.workload.defaults import defaults_of

_DEFAULTS_SECONDS = 10.0  # how long swiftop-defaults is taken as read: a burst of objects reads it once
_ROUNDS = 3  # of questions: a Job that is missing, pods that ended with it, events


@dataclass(frozen=True, slots=True)
class _Read:
    """``swiftop-defaults`` of one namespace. Two reads of the same ConfigMaps have the same version."""

    at: float
    defaults: Defaults | Invalid
    version: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One object that is being reconciled."""

    kind: Kind
    key: Key
    obj: Object
    resource: Any  # None when it cannot be read
    seen: Seen
    references: Mapping[Reference, Object | None]


class Gatherer:
    """Reads for all objects; keeps nothing but short-lived answers."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        store: Store,
        progress: ProgressSource,
        operator_namespace: str,
        runner_config_map: str,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._progress = progress
        self._operator_namespace = operator_namespace
        self._runner_config_map = runner_config_map
        self._clock = clock
        self._monotonic = monotonic
        self._defaults: dict[str, _Read] = {}  # by namespace
        self._warnings = Warnings(cluster, monotonic)

    def seen(self, kind: Kind, key: Key, obj: Object) -> Seen:
        """What the store has, and what the pods said."""
        children = {resource: self._store.children(resource, key) for resource in kind.children}
        return Seen(obj=obj, now=self._clock(), children=children, reading=self._progress.latest)

    async def observe(self, kind: Kind, seen: Seen) -> tuple[Seen, Any]:
        """Facts of the children, with all questions answered that they raise."""
        observed = kind.observe(seen)
        namespace = seen.obj["metadata"]["namespace"]
        for _ in range(_ROUNDS):
            new = [ask for ask in kind.asks(observed, seen) if ask not in seen.answers]
            if not new:
                break
            answers = {ask: await self._answer(ask, namespace) for ask in new}
            seen = replace(seen, answers={**seen.answers, **answers})
            observed = kind.observe(seen)
        return seen, observed

    async def references(self, kind: Kind, resource: Any, *, live: bool) -> Mapping[Reference, Object | None]:
        """Objects that this one refers to. One that the store does not have yet is waited for like one that is not.

        ``live``: an attempt is made of them, and of what is over the store keeps but a part.
        """
        if resource is None:
            return {}
        found: dict[Reference, Object | None] = {}
        for reference in kind.references(resource):
            where = (reference.resource, reference.namespace, reference.name)
            found[reference] = await self._cluster.get(*where) if live else self._store.get(*where)
        return found

    async def world(self, subject: Subject) -> World[Defaults]:
        """What besides the resource goes into its children."""
        return World(
            defaults=(await self._read_defaults(subject.key.namespace))[0],
            runner_config_map=self._runner_config_map,
            references=subject.references,
            pinned=_pinned(subject.obj.get("status") or {}),
            previous=subject.obj.get("status") or {},
            children=subject.seen.children,
        )

    async def defaults_version(self, namespace: str) -> tuple[str, ...]:
        """Changes when the platform's defaults for a namespace do."""
        return (await self._read_defaults(namespace))[1]

    async def _read_defaults(self, namespace: str) -> tuple[Defaults, tuple[str, ...]]:
        """With their version; a mistake is remembered as long."""
        known, now = self._defaults.get(namespace), self._monotonic()
        if known is not None and now - known.at < _DEFAULTS_SECONDS:
            return _valid(known)
        places = dict.fromkeys((self._operator_namespace, namespace))
        found = [await self._cluster.get(names.CONFIG_MAP, place, names.DEFAULTS_CONFIG_MAP) for place in places]
        version = tuple(config_map["metadata"]["resourceVersion"] if config_map else "" for config_map in found)
        read = self._defaults[namespace] = _Read(now, _outcome(found), version)
        return _valid(read)

    async def _answer(self, ask: Ask, namespace: str) -> Sequence[Object]:
        match ask.what:
            case "object":
                found = await self._cluster.get(ask.resource, namespace, ask.name)
                return (found,) if found else ()
            case "children":
                return await self._cluster.list(ask.resource, namespace, {names.LABEL_UID: ask.uid})
            case "warnings":
                return await self._warnings.about(ask, namespace)


def _outcome(config_maps: Sequence[Object | None]) -> Defaults | Invalid:
    try:
        return defaults_of(*config_maps)
    except Invalid as error:
        return error


def _valid(read: _Read) -> tuple[Defaults, tuple[str, ...]]:
    if isinstance(read.defaults, Invalid):
        raise Invalid(read.defaults.problems)
    return read.defaults, read.version


def _pinned(status: Mapping[str, Any]) -> Pinned | None:
    """What the first attempt was made with. Until a container has started, nothing is pinned."""
    resolved = status.get("resolved") or {}
    if not status.get("startTime") or not resolved.get("image"):
        return None
    return Pinned(
        image=resolved["image"],
        swift_version=resolved.get("swiftVersion") or "",
        command=resolved.get("command") or "",
        source=resolved.get("source") or {},
        datasets=tuple(_dataset(known) for known in resolved.get("datasets") or ()),
    )


def _dataset(known: Mapping[str, Any]) -> UploadedDataset:
    return UploadedDataset(**{member.name: known.get(member.name) or "" for member in fields(UploadedDataset)})
