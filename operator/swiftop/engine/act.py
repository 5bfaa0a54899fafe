"""Acting: what is done once is made once, what may change is brought into line as a whole, and all is deleted by UID.

Work that ends has ``create`` and ``ensure``, what serves ``apply``, ``make`` and ``withdraw``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from swiftop import names
from swiftop.engine.adoption import adopted_claim, as_wanted, in_line, name_conflict, owned, terminating
from swiftop.engine.blocked import BLOCKING, BlockedError, mistake
from swiftop.engine.gather import Gatherer, Subject
from swiftop.engine.ports import Cluster
from swiftop.errors import AlreadyExists, Conflict, SwiftopError
from swiftop.model.facts import Withdrawn
from swiftop.model.kind import Key, Kind, Object, Pinned, Seen
from swiftop.model.verdict import Apply, Create, Delete, Ensure, Make, Withdraw
from swiftop.names import Resource
from swiftop.observe.jobs import job_facts, owner_uid
from swiftop.runner import bundle
from swiftop.workload.deployment import taken_back
from swiftop.workload.runner import runner_config_map

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Checked:
    """What the children of an object were last found to agree with."""

    generation: int
    defaults: tuple[str, ...]


class Created(NamedTuple):
    """The Job of an attempt; one that is not new was made by an earlier try, maybe from another spec."""

    job: Object
    new: bool
    pinned: Pinned | None


class Actor:
    """Writes children. Remembers only what spares it reads."""

    def __init__(self, *, cluster: Cluster, gather: Gatherer) -> None:
        self._cluster = cluster
        self._gather = gather
        self._runner_name = names.runner_config_map_name(bundle.digest())
        self._with_runner: set[str] = set()  # namespaces that are known to have the runner
        self._checked: dict[Key, _Checked] = {}
        self._agreed: dict[Key, Hashable] = {}  # what the children were last brought into line with

    def forget(self, key: Key) -> None:
        """The object is gone or over."""
        self._checked.pop(key, None)
        self._agreed.pop(key, None)

    async def create(self, subject: Subject, create: Create) -> Created:
        """Make the children of an attempt, the Job last."""
        kind, uid = subject.kind, subject.obj["metadata"]["uid"]
        prepared = _guarded(kind.prepare, subject.resource, await self._gather.world(subject))
        *others, made = _guarded(kind.build, prepared, create)
        await self._ensure_runner(subject.key.namespace)
        for child in others:
            await self._ensure_child(child, uid)
        job, new = await self._create_once(made, uid)
        self._checked[subject.key] = await self._state(subject)
        return Created(job, new, kind.pinned(made if new else job))

    async def ensure(self, subject: Subject, ensure: Ensure) -> Create | None:
        """Bring children into line: what may change in them, one that is missing, a Job that waits with an old spec.

        Returns the attempt that replaces such a Job, as long as it is not written down in the status.
        """
        for change in subject.kind.changes(subject.resource, subject.seen.children):
            await self._cluster.apply(change)
        if ensure.repair:
            await self._repair(subject)
        return await self._replace(subject) if ensure.replace else None

    async def apply(self, subject: Subject, apply: Apply) -> Mapping[Resource, Sequence[Object]]:
        """Bring all children into line, and remove those that are no longer wanted. Returns them; empty for no news.

        What was found in line once is not rendered again while neither spec nor sources nor children change.
        """
        kind, uid, state = subject.kind, subject.obj["metadata"]["uid"], _state_of(subject, apply)
        if apply.live or apply.repair:
            await self._look_for_runner(subject.key.namespace)
        if self._agreed.get(subject.key) == state:
            return {}
        prepared = _guarded(kind.prepare, subject.resource, await self._gather.world(subject))
        wanted = _guarded(kind.objects, prepared)
        await self._ensure_runner(subject.key.namespace)
        known = {resource: _own(subject.seen.children.get(resource, ()), uid) for resource in kind.applied}
        news = False
        for child in wanted:
            siblings, name = known[names.RESOURCES[child["kind"]]], child["metadata"]["name"]
            found = await self._applied(child, uid, siblings.get(name))
            news = news or found is not siblings.get(name)
            siblings[name] = found
        kept = {(child["kind"], child["metadata"]["name"]) for child in wanted}
        for resource, children in known.items():
            for name in [name for name in children if (resource.kind, name) not in kept]:
                news = True
                await self.delete(subject.key, Delete(resource, name, children.pop(name)["metadata"]["uid"]))
        if not news:
            self._agreed[subject.key] = state
            return {}
        return {resource: tuple(children.values()) for resource, children in known.items()}

    async def _applied(self, child: Object, uid: str, known: Object | None) -> Object:
        """The child as it is wanted: as the store has it, or as the API server has it after the apply."""
        if known is not None and in_line(known, child):
            return known
        meta = child["metadata"]
        known = await self._cluster.get(names.RESOURCES[child["kind"]], meta["namespace"], meta["name"])
        if known is None:
            return await self._cluster.apply(child)
        if terminating(known) or owner_uid(known) != uid or not owned(known, child, uid):
            raise name_conflict(known)
        # Also where it is in line by now, which the store has not heard: the answer to an apply is what it hears next.
        if child["kind"] == names.DEPLOYMENT.kind and "template" not in child["spec"]:  # that which is there
            child = {**child, "spec": {**child["spec"], "template": known["spec"]["template"]}}
        # With its UID: another object that has taken its name meanwhile is not overwritten.
        return await self._cluster.apply({**child, "metadata": {**meta, "uid": known["metadata"]["uid"]}})

    async def make(self, subject: Subject, make: Make) -> None:
        """POST, once nothing has its name: what is somebody else's is left alone."""
        child, uid = make.child, subject.obj["metadata"]["uid"]
        meta = child["metadata"]
        known = await self._cluster.get(names.RESOURCES[child["kind"]], meta["namespace"], meta["name"])
        if known is not None and (owner_uid(known) != uid or terminating(known)):
            raise name_conflict(known)
        if known is None:
            with suppress(AlreadyExists):  # made this moment, as by another operator: the next look tells whose it is
                await self._cluster.create(child)

    async def withdraw(self, subject: Subject, withdraw: Withdraw) -> None:
        """Take a revision back. The Deployment controller keeps the templates of earlier ones as ReplicaSets."""
        namespace, uid = subject.key.namespace, subject.obj["metadata"]["uid"]
        made = await self._cluster.get(names.DEPLOYMENT, namespace, withdraw.name)
        if made is None or terminating(made) or owner_uid(made) != uid:
            return
        if (made["metadata"].get("annotations") or {}).get(names.ANNOTATION_DIGEST) != withdraw.revision:
            return
        labels = {names.LABEL_UID: uid, names.LABEL_REVISION: withdraw.to}
        sets = await self._cluster.list(names.REPLICA_SET, namespace, labels) if withdraw.to else ()
        own = [one for one in sets if owner_uid(one) == made["metadata"]["uid"]]
        earlier = max(own, key=lambda one: str(one["metadata"]["creationTimestamp"]), default=None)
        if withdraw.to and earlier is None:
            log.warning("%s: no template of revision %s is left to go back to", "/".join(subject.key), withdraw.to)
            return
        withdrawn = Withdrawn(withdraw.revision, withdraw.message)
        await self._cluster.apply(taken_back(made, earlier, withdrawn))

    async def confirm(self, subject: Subject) -> None:
        """Raise ``Conflict`` where a child that may change is not as it was seen: a write of ours may be news."""
        for resource in subject.kind.applied:
            for seen in _own(subject.seen.children.get(resource, ()), subject.obj["metadata"]["uid"]).values():
                name, version = seen["metadata"]["name"], seen["metadata"]["resourceVersion"]
                known = await self._cluster.get(resource, subject.key.namespace, name)
                if known is None or known["metadata"]["resourceVersion"] != version:
                    raise Conflict(f"{resource.kind} {name} has changed")

    async def delete(self, key: Key, delete: Delete) -> None:
        """Delete one child, its own children first."""
        log.info("%s: deleting %s %s", "/".join(key), delete.resource.kind, delete.name)
        await self._cluster.delete(delete.resource, key.namespace, delete.name, delete.uid)

    async def clean_up(self, kind: Kind, key: Key, seen: Seen) -> None:
        """Do what is left to do with the children of an object that is over. A refusal does not touch its status."""
        try:
            for item in kind.cleanup(seen.obj, seen.children):
                if not isinstance(item, Delete):
                    await self._cluster.apply(item)
                elif await self._still_to_go(kind, seen, item):
                    await self.delete(key, item)
        except BLOCKING as error:
            log.warning("%s: children of a finished object stay: %s", "/".join(key), error)

    async def _still_to_go(self, kind: Kind, seen: Seen, delete: Delete) -> bool:
        """Ask the cluster: the store may not have heard that the Job has ended, and its pods' logs go with it."""
        known = await self._cluster.get(delete.resource, seen.obj["metadata"]["namespace"], delete.name)
        return known is not None and delete in kind.cleanup(seen.obj, {delete.resource: [known]})

    async def _state(self, subject: Subject) -> _Checked:
        version = await self._gather.defaults_version(subject.key.namespace)
        return _Checked(subject.obj["metadata"]["generation"], version)

    async def _repair(self, subject: Subject) -> None:
        await self._look_for_runner(subject.key.namespace)
        prepared = _guarded(subject.kind.prepare, subject.resource, await self._gather.world(subject))
        for child in _guarded(subject.kind.objects, prepared):
            await self._ensure_child(child, subject.obj["metadata"]["uid"])

    async def _replace(self, subject: Subject) -> Create | None:
        """A Job is immutable: while nothing of it has started, an edit is followed by deleting and making it anew."""
        state, uid = await self._state(subject), subject.obj["metadata"]["uid"]
        if self._checked.get(subject.key) == state:
            return None
        world = await self._gather.world(subject)
        digest = _guarded(subject.kind.digest, subject.resource, world)
        for job in map(job_facts, subject.seen.children.get(names.JOB, ())):
            if job.owner_uid != uid or job.over or job.deleting or job.digest == digest:
                continue
            # What is wrong with the new spec is told before what waits is given up.
            _guarded(subject.kind.prepare, subject.resource, world)
            if (subject.obj.get("status") or {}).get("nextAttempt") != job.attempt:
                return Create(job.attempt, job.retries)
            await self.delete(subject.key, Delete(names.JOB, job.name, job.uid))
        self._checked[subject.key] = state
        return None

    async def _create_once(self, job: Object, uid: str) -> tuple[Object, bool]:
        """POST under the deterministic name: of two tries, or two operators, one gets through."""
        try:
            return await self._cluster.create(job), True
        except AlreadyExists:
            meta = job["metadata"]
            known = await self._cluster.get(names.JOB, meta["namespace"], meta["name"])
            if known is None:
                raise Conflict(f"Job {meta['name']} was there and is gone") from None
            # Without the labels it would never be seen as this object's Job, and be posted again and again.
            if owner_uid(known) != uid or not owned(known, job, uid) or terminating(known):
                raise name_conflict(known) from None
            return known, False

    async def _ensure_child(self, child: Object, uid: str) -> None:
        """Server-side apply of a child that may change, when it is missing or not as it should be."""
        meta = child["metadata"]
        known = await self._cluster.get(names.RESOURCES[child["kind"]], meta["namespace"], meta["name"])
        if known is None:
            await self._cluster.apply(child)
            return
        if terminating(known) or not owned(known, child, uid):
            raise name_conflict(known)
        if child["kind"] == names.PVC.kind:
            child = adopted_claim(known, child)
        if not as_wanted(known, child):
            await self._cluster.apply(child)

    async def _look_for_runner(self, namespace: str) -> None:
        """Make sure of the runner's ConfigMap: somebody may have deleted it, or the namespace and made it anew."""
        if await self._cluster.get(names.CONFIG_MAP, namespace, self._runner_name) is None:
            self._with_runner.discard(namespace)
        await self._ensure_runner(namespace)

    async def _ensure_runner(self, namespace: str) -> None:
        """The runner's ConfigMap, once per namespace and process."""
        if namespace in self._with_runner:
            return
        config_map = runner_config_map(namespace, digest=bundle.digest(), data=bundle.bundle())
        try:
            await self._cluster.create(config_map)
        except AlreadyExists:
            known = await self._cluster.get(names.CONFIG_MAP, namespace, self._runner_name)
            if known is None or known.get("binaryData") != config_map["binaryData"]:
                raise name_conflict(known or config_map) from None
        self._with_runner.add(namespace)


def _state_of(subject: Subject, apply: Apply) -> Hashable:
    """All that an apply depends on. Of children what somebody else may change: a status is none of it."""
    versions = tuple(
        (resource.kind, child["metadata"]["name"], child["metadata"]["uid"], *_version(child))
        for resource in subject.kind.applied
        for child in subject.seen.children.get(resource, ())
    )
    return subject.obj["metadata"]["uid"], subject.obj["metadata"]["generation"], apply.key, versions


def _version(child: Object) -> tuple[str, ...]:
    """Not the resource version, which each report of a status changes."""
    meta = child["metadata"]
    content = (child.get("spec"), child.get("data"))
    parts = (meta.get("labels"), meta.get("annotations"), meta.get("deletionTimestamp"), *content)
    return tuple(json.dumps(part, sort_keys=True) for part in parts)


def _own(children: Sequence[Object], uid: str) -> dict[str, Object]:
    """By name, those that this very object controls and that stay."""
    stay = [child for child in children if owner_uid(child) == uid and not terminating(child)]
    return {child["metadata"]["name"]: child for child in stay}


def _guarded(function: Any, *args: Any) -> Any:
    """Call a kind's own code: a mistake in it is said on the object whose spec brings it to light."""
    try:
        return function(*args)
    except SwiftopError:
        raise
    except Exception as error:
        log.error("a kind's own code failed", exc_info=error)
        found = mistake(error)
        raise BlockedError(found.outlook, requeue_after=found.requeue_after or 0.0) from error
