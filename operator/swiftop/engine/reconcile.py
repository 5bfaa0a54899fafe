"""The engine: from what is there to what should be, for one object of any kind, and one status write at the end.

Reconciling is level-triggered: it starts from the object and its children as they are, never from an event. A kind says
what the facts mean, what to do, what to make and what to report (`swiftop.model.kind`), all of it pure; the engine
does the I/O between: it gathers (`gather`), acts (`act`) and publishes (`publish`). The invariants, each with a test:

- I1 builders are pure and deterministic: same input, same bytes.
- I2 only ``cluster.py`` does API I/O, and only the engine calls it for objects of ours.
- I3 the status has one writer, one call per reconcile, none when equal, and is never input but for facts that cannot be
  derived again.
- I4 ``spec`` and users' metadata are never written.
- I5 children have deterministic names, owner references and fixed labels; a foreign object is never taken over.
- I6 a second reconcile writes nothing.
- I7 conditions follow the API conventions.
- I8 terminal states are sticky.
- I9 at most one operator is active (the Lease); a short double run is harmless: the Job's name and the status'
  resource version decide who was first.
- I10 every wait has a wake-up: a watch, a delayed add, or the resync.
- I11 any order, loss or duplication of events converges to the same objects.
- I12 no secret value appears in any object, event, log, metric, argument or status: none is ever read.
- I16 every surprise becomes a condition of the object that caused it.

The store may lag behind the cluster, so nothing final is concluded from it alone: before an attempt is started, or what
serves is changed, the object and what it refers to are read live; a missing Job is looked up live before the object is
failed for it, and so are pods that ended with the Job; a child that may change is read live before it is applied.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from swiftop import names
from swiftop.engine.act import Actor
from swiftop.engine.adoption import terminating
from swiftop.engine.blocked import BLOCKING, Explanation, explained, failing, mistake
from swiftop.engine.gather import Gatherer, Subject
from swiftop.engine.ports import Cluster, ProgressSource, Store
from swiftop.engine.publish import acknowledged, event_of, merge_patch, settled
from swiftop.engine.references import References
from swiftop.errors import Invalid, NotFound, SwiftopError, Transient
from swiftop.kinds.registry import KINDS
from swiftop.model.conditions import by_type, told
from swiftop.model.facts import Cause
from swiftop.model.kind import Facts, Frame, Key, Kind, Object, Pinned
from swiftop.model.verdict import (
    Action,
    Apply,
    Blocked,
    Create,
    Delete,
    Ensure,
    Failed,
    Finished,
    Make,
    Outlook,
    Phase,
    Serving,
    Verdict,
    Waiting,
    Withdraw,
    patience,
)
from swiftop.observe.jobs import job_facts
from swiftop.reasons import ConditionType, Reason
from swiftop.runner import bundle

log = logging.getLogger(__name__)

_FAILURES = 5  # tries in a row that end alike, before an object says that it cannot be reconciled for now


@dataclass(slots=True)
class _Memory:
    """What is remembered of an active object between two reconciles, by the monotonic clock."""

    written: float = float("-inf")  # when its status was last written
    reason: str = ""  # what the last reconciles found
    since: float = 0.0  # ... and since when
    read: tuple[str, int] = ("", 0)  # UID and generation of what was parsed last
    resource: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """What came of a verdict's actions."""

    outlook: Outlook
    observed: Any
    requeue_after: float | None
    poll: float | None = None
    following: Create | None = None
    pinned: Pinned | None = None
    error: Transient | None = None  # to be tried again, once the status is written


class Reconciler:
    """Reconciles objects, one at a time per key; keeps nothing that a restart could lose."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        store: Store,
        progress: ProgressSource,
        kinds: Mapping[str, Kind] = KINDS,
        operator_namespace: str = names.OPERATOR_NAMESPACE,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock`` is for what is written down and compared with other clocks, ``monotonic`` for pauses."""
        self._cluster = cluster
        self._store = store
        self._kinds = kinds
        self._clock = clock
        self._monotonic = monotonic
        self._gather = Gatherer(
            cluster=cluster,
            store=store,
            progress=progress,
            operator_namespace=operator_namespace,
            runner_config_map=names.runner_config_map_name(bundle.digest()),
            clock=clock,
            monotonic=monotonic,
        )
        self._actor = Actor(cluster=cluster, gather=self._gather)
        self._references = References()
        self._memory: dict[Key, _Memory] = {}

    def referring(self, key: Key) -> tuple[Key, ...]:
        """Objects that wait for this one, and are to be reconciled when it changes."""
        return self._references.referring(key)

    async def reconcile(self, key: Key) -> float | None:
        """Reconcile one object. Returns the seconds after which to do it again, None when a watch will tell."""
        kind = self._kinds[key.kind]
        obj = self._store.get(kind.resource, key.namespace, key.name)
        if obj is None or terminating(obj):
            self._forget(key)
            return None
        try:
            return await self._reconcile(kind, key, obj)
        except NotFound:  # deleted meanwhile
            return None

    async def report_failure(self, key: Key, error: Exception, failures: int) -> None:
        """Say on the object that it cannot be reconciled: a mistake of ours at once, what may pass after some tries."""
        if isinstance(error, SwiftopError) and failures < _FAILURES:
            return
        kind = self._kinds[key.kind]
        obj = self._store.get(kind.resource, key.namespace, key.name)
        if obj is None or terminating(obj) or kind.over(obj.get("status") or {}):
            return
        cause = failing(error, failures)
        try:
            status = self._failing_status(kind, key, obj, Blocked(cause, stalled=False))
            if patch := merge_patch(obj.get("status") or {}, status):
                await self._cluster.patch_status(obj, patch, obj["metadata"]["resourceVersion"])
        except Exception as trouble:  # the status is what cannot be made or is refused: an Event may still get through
            log.warning("%s: the status cannot tell of it: %s", "/".join(key), trouble)
            await self._cluster.event(obj, "Warning", cause.reason, cause.message)

    def _failing_status(self, kind: Kind, key: Key, obj: Object, outlook: Blocked) -> Object:
        """The last status with the trouble in it; a number of tries alone is no news."""
        previous = obj.get("status") or {}
        if not previous.get("conditions"):
            resource, _ = _read(kind, obj)
            observed = kind.observe(self._gather.seen(kind, key, obj))
            return kind.project(
                Frame(
                    obj=obj, resource=resource, outlook=outlook, observed=observed, before=observed, now=self._clock()
                )
            )
        known = by_type(previous).get(ConditionType.RECONCILING, {})
        if known.get("reason") == outlook.cause.reason:
            return dict(previous)
        aspect = told("True", outlook.cause)
        content = {"status": "True", "reason": str(aspect.reason), "message": aspect.message}
        conditions = [
            {**condition, **content} if condition["type"] == ConditionType.RECONCILING else condition
            for condition in previous["conditions"]
        ]
        return {**previous, "conditions": conditions}

    async def _reconcile(self, kind: Kind, key: Key, obj: Object, *, live: bool = False) -> float | None:
        if kind.over(obj.get("status") or {}):
            await self._rest(kind, key, obj)
            return None
        resource, unreadable = self._read(kind, key, obj)
        self._references.set(key, kind.references(resource) if resource is not None else ())
        seen, observed = await self._gather.observe(kind, self._gather.seen(kind, key, obj))
        references = await self._gather.references(kind, resource, live=live)
        subject = Subject(kind=kind, key=key, obj=obj, resource=resource, seen=seen, references=references)
        facts: Facts[Any, Any] = Facts(
            obj=obj,
            resource=resource,
            unreadable=unreadable.outlook if unreadable else None,
            observed=observed,
            references=references,
            now=seen.now,
        )
        verdict = kind.decide(facts)
        if not live and any(_is_live(action) for action in verdict.actions):
            fresh = await self._cluster.get(kind.resource, key.namespace, key.name)
            return None if fresh is None or terminating(fresh) else await self._reconcile(kind, key, fresh, live=True)
        done = await self._act(subject, facts, verdict)
        done = replace(done, pinned=done.pinned or await self._lost_pins(subject))
        requeue_after = await self._report(subject, observed, done)
        if done.error is not None:
            raise done.error
        return requeue_after

    async def _act(self, subject: Subject, facts: Facts[Any, Any], verdict: Verdict) -> _Done:
        """Do what was decided. What keeps it from being done is what the object waits for."""
        done = _Done(
            outlook=verdict.outlook,
            observed=facts.observed,
            requeue_after=verdict.requeue_after,
            poll=verdict.poll,
            following=verdict.following,
        )
        for action in verdict.actions:
            try:
                match action:
                    case Create():
                        done = await self._create(subject, action, done)
                    case Ensure() if subject.resource is not None:
                        replacement = await self._actor.ensure(subject, action)
                        if replacement is not None:  # written down before the Job is deleted, in the next reconcile
                            done = replace(done, following=replacement, requeue_after=0.0)
                    case Delete():
                        if action.unused:
                            await self._actor.confirm(subject)
                        await self._actor.delete(subject.key, action)
                    case Apply() if subject.resource is not None:
                        done = await self._apply(subject, facts, action, done)
                    case Make():
                        await self._actor.make(subject, action)
                    case Withdraw():
                        await self._actor.withdraw(subject, action)
            except BLOCKING as error:
                done = _hindered(done, explained(error), action)
            except Transient as error:
                if isinstance(action, Create):
                    raise
                done = _interrupted(done, error)
        return done

    async def _create(self, subject: Subject, create: Create, done: _Done) -> _Done:
        kind, seen = subject.kind, subject.seen
        job, new, pinned = await self._actor.create(subject, create)
        after = replace(seen, children={**seen.children, names.JOB: [job], names.POD: ()}, answers={})
        # One that an earlier try has made may be over by now, and its watch events past.
        pause = done.requeue_after if new else 1.0
        observed = kind.observe(after)
        return replace(done, observed=observed, pinned=pinned, requeue_after=pause)

    async def _apply(self, subject: Subject, facts: Facts[Any, Any], apply: Apply, done: _Done) -> _Done:
        """What is said is of the children as they are now: before, they were all that an older spec asked for."""
        kind, seen = subject.kind, subject.seen
        changed = await self._actor.apply(subject, apply)
        if not changed:
            return done
        observed = kind.observe(replace(seen, children={**seen.children, **changed}))
        verdict = kind.decide(replace(facts, observed=observed))
        return replace(done, observed=observed, outlook=verdict.outlook, poll=verdict.poll)

    async def _lost_pins(self, subject: Subject) -> Pinned | None:
        """The status write after the start of an attempt may have been lost. The store keeps no pod templates."""
        if names.JOB not in subject.kind.children:
            return None  # it has no attempts
        uid, status = subject.obj["metadata"]["uid"], subject.obj.get("status") or {}
        jobs = [facts for job in subject.seen.children.get(names.JOB, ()) if (facts := job_facts(job)).owner_uid == uid]
        newest, resolved = max(jobs, key=lambda job: job.attempt, default=None), status.get("resolved") or {}
        # Once a container has started they stay; before that they are those of the Job that waits.
        known = bool(resolved) if status.get("startTime") else newest and resolved.get("digest") == newest.digest
        if newest is None or newest.deleting or known:
            return None
        job = await self._cluster.get(names.JOB, subject.key.namespace, newest.name)
        return subject.kind.pinned(job) if job else None

    async def _report(self, subject: Subject, before: Any, done: _Done) -> float | None:
        """One status write if anything changed, then one Event if the state did."""
        kind, obj, now = subject.kind, subject.obj, self._monotonic()
        memory = self._memory.setdefault(subject.key, _Memory())
        previous = obj.get("status") or {}
        frame = Frame(
            obj=obj,
            resource=subject.resource,
            outlook=done.outlook,
            following=done.following,
            observed=done.observed,
            before=before,
            pinned=done.pinned,
            digest=await self._digest(subject, done),
            now=subject.seen.now,
        )
        new, held_back = settled(
            previous, kind.project(frame), volatile=kind.volatile, since_write=now - memory.written
        )
        if patch := merge_patch(previous, new):
            answer = await self._cluster.patch_status(obj, patch, obj["metadata"]["resourceVersion"])
            memory.written = now
            _check_stored(patch, answer.get("status") or {})
            if event := event_of(previous, new, summary=kind.summary):
                await self._cluster.event(obj, *event)
        if isinstance(done.outlook, Finished | Failed):
            return 0.0  # what is left to do with its children comes after its end is written
        return self._requeue_after(memory, done, held_back, now)

    def _requeue_after(self, memory: _Memory, done: _Done, held_back: float | None, now: float) -> float | None:
        reason = done.outlook.cause.reason if not isinstance(done.outlook, Finished) else done.outlook.reason
        if memory.reason != reason:
            memory.reason, memory.since = reason, now
        poll = None if done.poll is None else patience(done.poll, now - memory.since)
        return min((seconds for seconds in (done.requeue_after, poll, held_back) if seconds is not None), default=None)

    async def _digest(self, subject: Subject, done: _Done) -> str:
        """What the spec would give now, for an edit that came in the moment of the start; else empty."""
        starting = isinstance(done.outlook, Waiting) and done.outlook.phase is Phase.RUNNING
        if subject.resource is None or not starting or (subject.obj.get("status") or {}).get("startTime"):
            return ""
        try:
            return subject.kind.digest(subject.resource, await self._gather.world(subject))
        except Invalid:
            return ""

    async def _rest(self, kind: Kind, key: Key, obj: Object) -> None:
        """What is over stays as it is; only a newer generation of its spec is acknowledged, and children cleaned up."""
        self._forget(key)
        meta = obj["metadata"]
        if (obj.get("status") or {}).get("observedGeneration") != meta["generation"]:
            # The store keeps but a part of what is over.
            fresh = await self._cluster.get(kind.resource, key.namespace, key.name)
            if fresh is None or terminating(fresh):
                return
            obj, meta, status = fresh, fresh["metadata"], fresh.get("status") or {}
            if patch := merge_patch(status, acknowledged(status, meta["generation"])):
                await self._cluster.patch_status(obj, patch, meta["resourceVersion"])
        await self._actor.clean_up(kind, key, self._gather.seen(kind, key, obj))

    def _read(self, kind: Kind, key: Key, obj: Object) -> tuple[Any, Explanation | None]:
        """Parsed once per generation: a burst reconciles each object half a dozen times."""
        memory, meta = self._memory.setdefault(key, _Memory()), obj["metadata"]
        version = (meta["uid"], meta["generation"])
        if memory.read == version:
            return memory.resource, None
        resource, unreadable = _read(kind, obj)
        memory.read, memory.resource = (("", 0) if unreadable else version), resource
        return resource, unreadable

    def _forget(self, key: Key) -> None:
        self._memory.pop(key, None)
        self._references.forget(key)
        self._actor.forget(key)


def _check_stored(patch: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """A member that the CRD does not know is dropped in silence, and would be written again and again."""
    if patch.get("nextAttempt") and "nextAttempt" not in stored:
        raise Transient("the status lost nextAttempt: the CRDs are older than the operator, apply crds/ of its version")


def _read(kind: Kind, obj: Object) -> tuple[Any, Explanation | None]:
    """The resource, or why it cannot be read."""
    try:
        return kind.parse(obj), None
    except Invalid as error:
        return None, explained(error)
    except Exception as error:
        log.error("reading %s failed", obj["metadata"].get("name"), exc_info=error)
        return None, mistake(error)


def _is_live(action: Action) -> bool:
    """Whether the object is read live before this is done: what is made by it cannot be unmade."""
    return isinstance(action, Create | Make) or (isinstance(action, Apply) and action.live)


def _interrupted(done: _Done, error: Transient) -> _Done:
    """No reason to keep back what the object waits for; but what was to be changed is not, and must not look done."""
    outlook = done.outlook
    if isinstance(outlook, Serving) and outlook.rollout is None:
        cause = Cause(Reason.ROLLING_OUT, "what the spec asks for is not all written yet, and tried again")
        outlook = replace(outlook, rollout=cause)
    return replace(done, outlook=outlook, error=error)


def _hindered(done: _Done, explanation: Explanation, action: Action) -> _Done:
    """What hinders an action is said in place of what the object waits for, but not of work that goes on."""
    outlook, found = done.outlook, explanation.outlook
    said: Outlook = found
    if isinstance(outlook, Serving):  # what answers goes on
        said = replace(outlook, rollout=found.cause, failing=True, stalled=found.stalled)
        return replace(done, outlook=said, poll=explanation.requeue_after)
    if isinstance(outlook, Waiting) and outlook.phase is Phase.RUNNING:
        log.warning("a child cannot be repaired: %s", found.cause.message)
        return done
    if isinstance(outlook, Waiting) and not isinstance(action, Create) and not found.stalled:
        said = replace(outlook, cause=found.cause)
    elif not isinstance(outlook, Waiting):
        return done  # what is said of a suspended or ended object stands, whatever hinders its clean-up
    return replace(done, outlook=said, requeue_after=None, poll=explanation.requeue_after)
