"""The engine: one look at one run, from what is there to what should be, and one status write at the end.

Each look is level-triggered: it starts from the object and its children as they are, never from an event. The pure
layers say what the facts mean (`observe`), what to do (`decide`), what to make (`build`) and what to report (`status`);
this module does the I/O between them. The invariants, each with a test:

- I1 builders are pure and deterministic: same input, same bytes.
- I2 only ``cluster.py`` does API I/O, and only this module calls it for runs.
- I3 the status has one writer, one call per look, none when equal, and is never input but for facts that cannot be
  derived again.
- I4 ``spec`` and users' metadata are never written.
- I5 children have deterministic names, owner references and fixed labels; a foreign object is never taken over.
- I6 a second look writes nothing.
- I7 conditions follow the API conventions.
- I8 terminal states are sticky.
- I9 at most one operator is active (the Lease); a short double run is harmless: the Job's name and the status'
  resource version decide who was first.
- I10 every wait has a wake-up: a watch, a delayed add, or the resync.
- I11 any order, loss or duplication of events converges to the same objects.
- I12 no secret value appears in any object, event, log, metric, argument or status: none is ever read.

The store may lag behind the cluster, so nothing final is concluded from it alone: before an attempt is started the run
is read live, a missing Job is looked up live before the run is failed for it, and so are pods that ended with the Job.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.batch.conditions import ended
from swiftop.batch.decide import Facts, decide
from swiftop.batch.observe import observe
from swiftop.engine.adoption import as_wanted, leaving, ours, taken
from swiftop.engine.blocked import HINDRANCES, Stop, hindrance, mistake
from swiftop.engine.ports import Cluster, Key, Object, ProgressSource, Store
from swiftop.engine.publish import acknowledged, event_of, merge_patch, settled
from swiftop.errors import AlreadyExists, Conflict, Invalid, NotFound, Transient
from swiftop.kinds.registry import KINDS, Handler
from swiftop.kinds.sftrun.build import Context, Resolved, deadline, resolved_of
from swiftop.kinds.sftrun.status import RunView, status_of
from swiftop.model.facts import Cause, Observed
from swiftop.model.verdict import Blocked, Phase, StartAttempt, Verdict, Wait, patience
from swiftop.observe.events import Question, obstacle_of, question_of
from swiftop.observe.jobs import owner_uid
from swiftop.observe.report import progress_of
from swiftop.reasons import Reason
from swiftop.runner import bundle
from swiftop.workload.resolve import Defaults, defaults_of
from swiftop.workload.runner import runner_config_map

log = logging.getLogger(__name__)

_DEFAULTS_SECONDS = 10.0  # how long swiftop-defaults is taken as read: a burst of runs reads it once
# How long the events of a namespace are taken as read: shorter for a run whose own event is not among them.
_EVENTS_SECONDS = 10.0
_NO_EVENT_SECONDS = 2.0


@dataclass(slots=True)
class _Memory:
    """What is remembered of an active run between two looks, by the monotonic clock."""

    written: float = float("-inf")  # when its status was last written
    reason: str = ""  # what the last looks found
    since: float = 0.0  # ... and since when


class Reconciler:
    """Looks at runs, one at a time per key; keeps nothing that a restart could lose."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        store: Store,
        progress: ProgressSource,
        operator_namespace: str = names.OPERATOR_NAMESPACE,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._progress = progress
        self._operator_namespace = operator_namespace
        self._clock = clock  # for what is written down and compared with other clocks
        self._monotonic = monotonic  # for pauses: a wall clock may jump
        self._runner_name = names.runner_config_map_name(bundle.digest())
        self._with_runner: set[str] = set()  # namespaces that are known to have the runner
        self._defaults: dict[str, tuple[float, Defaults]] = {}  # namespace -> read when, content
        self._events: dict[tuple[str, str], tuple[float, dict[str, list[Object]]]] = {}  # kind, namespace -> by UID
        self._one_list = asyncio.Lock()  # of events at a time: who waits for it finds its answer there
        self._memory: dict[Key, _Memory] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Look at one run. Returns the seconds after which to look again, None when a watch will tell."""
        run = self._store.get(KINDS[key.kind].resource, key.namespace, key.name)
        if run is None or leaving(run):
            self._memory.pop(key, None)
            return None
        try:
            return await self._look(key, run)
        except NotFound:  # deleted meanwhile
            return None

    async def _look(self, key: Key, obj: Object, *, live: bool = False) -> float | None:
        status, handler = obj.get("status") or {}, KINDS[key.kind]
        if ended(status):
            await self._rest(key, obj, status)
            return None
        run, view, refused = _read(handler, obj)
        observed = await self._observe(obj, run)
        attempts = status.get("attempts") or 0
        verdict = decide(Facts(attempts=attempts, observed=observed))
        resolved, failure = None, None
        if isinstance(verdict, StartAttempt):
            if not live:
                fresh = await self._cluster.get(handler.resource, key.namespace, key.name)
                return None if fresh is None or leaving(fresh) else await self._look(key, fresh, live=True)
            verdict, observed, resolved = await self._start(handler, obj, run, refused, verdict)
        elif run is not None and isinstance(verdict, Wait):
            try:
                verdict = await self._mend(handler, run, verdict, observed)
            except Transient as error:  # no reason to keep back what the run waits for
                failure = error
        if observed.job is not None and not resolved and not status.get("resolved"):
            # The status write after the start was lost. The store keeps no pod templates.
            job = await self._cluster.get(names.JOB, key.namespace, observed.job.name)
            resolved = resolved_of(job) if job else None
        wake = await self._report(key, obj, view, verdict=verdict, observed=observed, resolved=resolved)
        if failure is not None:
            raise failure
        return wake

    # Reading

    async def _observe(self, obj: Object, run: SFTRun | None) -> Observed:
        """All facts: from the store, and live where an absence in the store would decide something."""
        meta = obj["metadata"]
        namespace, name, uid = meta["namespace"], meta["name"], meta["uid"]
        gpu_resource = run.spec.resources.gpu_resource if run else "nvidia.com/gpu"
        jobs = self._store.children(names.JOB, Key(obj["kind"], namespace, name))
        pods = self._store.children(names.POD, Key(obj["kind"], namespace, name))
        observed = observe(uid=uid, jobs=jobs, pods=pods, gpu_resource=gpu_resource)
        attempts = (obj.get("status") or {}).get("attempts") or 0
        if observed.job is None and attempts:
            job = await self._cluster.get(names.JOB, namespace, names.job_name(name, attempts))
            jobs = [job] if job else []
            observed = observe(uid=uid, jobs=jobs, pods=pods, gpu_resource=gpu_resource)
        observed = await self._with_last_words(observed, jobs, obj, gpu_resource)
        return await self._with_events(self._with_progress(observed), namespace, name)

    async def _with_last_words(
        self, observed: Observed, jobs: Sequence[Object], obj: Object, gpu_resource: str
    ) -> Observed:
        """The watch of pods may be behind that of Jobs, and a pod's last words may be all that is ever known."""
        job_over = observed.job is not None and (observed.job.complete or observed.job.failed)
        heard = bool(observed.pods) and all(pod.over and pod.end and pod.end.outcome for pod in observed.current)
        if not job_over or heard:
            return observed
        meta = obj["metadata"]
        labels = {names.LABEL_NAME: meta["name"], names.LABEL_UID: meta["uid"]}
        pods = await self._cluster.list(names.POD, meta["namespace"], labels)
        return observe(uid=meta["uid"], jobs=jobs, pods=pods, gpu_resource=gpu_resource)

    def _with_progress(self, observed: Observed) -> Observed:
        leader = observed.leader
        said = self._progress.latest(leader.uid) if leader else None
        if leader is None or said is None:
            return observed
        reachable = said.source != "none" or not leader.running_since
        return replace(observed, progress=progress_of(said.numbers), reachable=reachable)

    async def _with_events(self, observed: Observed, namespace: str, name: str) -> Observed:
        claim = self._store.get(names.PVC, namespace, names.output_claim_name(name))
        question = question_of(observed, claim, now=self._clock())
        if question is None:
            return observed
        async with self._one_list:
            events = await self._events_about(question, namespace)
        return replace(observed, obstacle=obstacle_of(question, events))

    async def _events_about(self, question: Question, namespace: str) -> Sequence[Object]:
        """One LIST serves all runs of a namespace for some seconds: any LIST of events reads them all on the server."""
        place, now = (question.kind.kind, namespace), self._monotonic()
        read, known = self._events.get(place, (float("-inf"), {}))
        if now - read < (_EVENTS_SECONDS if question.uid in known else _NO_EVENT_SECONDS):
            return known.get(question.uid, ())
        by_uid: dict[str, list[Object]] = {}
        for event in await self._cluster.warnings(question.kind, namespace):
            by_uid.setdefault((event.get("involvedObject") or {}).get("uid", ""), []).append(event)
        self._events = {at: seen for at, seen in self._events.items() if now - seen[0] < _EVENTS_SECONDS}
        self._events[place] = (now, by_uid)
        return by_uid.get(question.uid, ())

    # Acting

    async def _start(
        self, handler: Handler, obj: Object, run: SFTRun | None, refused: Blocked | None, start: StartAttempt
    ) -> tuple[Verdict, Observed, Resolved | None]:
        """Make the children, the Job last. What keeps it from being made becomes the verdict."""
        if run is None:
            unread = Blocked(Cause(Reason.INVALID_SPEC, "the spec cannot be read"), stalled=True)
            return refused or unread, Observed(), None
        try:
            job = await self._make_children(handler, run, start.attempt)
        except HINDRANCES as error:
            return hindrance(error), Observed(), None
        gpu_resource = run.spec.resources.gpu_resource
        observed = observe(uid=run.metadata.uid, jobs=[job], pods=(), gpu_resource=gpu_resource)
        # Usually the Job is new; one that an earlier try has made may be over by now.
        observed = await self._with_last_words(observed, [job], obj, gpu_resource)
        verdict = decide(Facts(attempts=start.attempt, observed=observed))
        return verdict, observed, resolved_of(job)

    async def _make_children(self, handler: Handler, run: SFTRun, attempt: int) -> Object:
        context = Context(
            runner_config_map=self._runner_name,
            defaults=await self._read_defaults(run.metadata.namespace),
            attempt=attempt,
        )
        *others, job = _built(handler, run, context)
        await self._ensure_runner(run.metadata.namespace)
        for child in others:
            await self._ensure(child, run.metadata.uid)
        return await self._create_once(job, run.metadata.uid)

    async def _mend(self, handler: Handler, run: SFTRun, wait: Wait, observed: Observed) -> Wait:
        """Put right what may be put right after the start. What keeps it from that is what the run waits for."""
        try:
            await self._mend_children(handler, run, wait, observed)
        except HINDRANCES as error:
            log.warning("%s/%s cannot be mended: %s", run.metadata.namespace, run.metadata.name, error)
            if wait.phase is not Phase.RUNNING:
                blocked = hindrance(error)
                return replace(wait, cause=blocked.cause, wake=blocked.wake)
        return wait

    async def _mend_children(self, handler: Handler, run: SFTRun, wait: Wait, observed: Observed) -> None:
        """A deadline that was changed, a child that was deleted."""
        meta, reason, told = run.metadata, wait.cause.reason, wait.cause.message
        job = self._store.get(names.JOB, meta.namespace, observed.job.name) if observed.job else None
        if job is not None and (change := deadline(job, run.spec.lifecycle.active_deadline_seconds)):
            await self._cluster.apply(change)
        if reason == Reason.CONFIG_MAP_MISSING and self._runner_name in told:
            self._with_runner.discard(meta.namespace)
            await self._ensure_runner(meta.namespace)
        unclaimed = reason == Reason.CLAIM_MISSING and names.output_claim_name(meta.name) in told
        # Services are not watched; the ranks of a training that has not begun may be looking for one that is gone.
        apart = run.spec.resources.nodes > 1 and observed.pods and observed.progress is None
        if unclaimed or apart:
            defaults = await self._read_defaults(meta.namespace)
            context = Context(runner_config_map=self._runner_name, defaults=defaults)
            for child in _built(handler, run, context)[:-1]:
                await self._ensure(child, meta.uid)

    async def _create_once(self, job: Object, uid: str) -> Object:
        """POST under the deterministic name: of two tries, or two operators, one gets through."""
        try:
            return await self._cluster.create(job)
        except AlreadyExists:
            meta = job["metadata"]
            known = await self._cluster.get(names.JOB, meta["namespace"], meta["name"])
            if known is None:
                raise Conflict(f"Job {meta['name']} was there and is gone") from None
            if owner_uid(known) != uid:
                raise Stop(taken(known)) from None
            return known

    async def _ensure(self, child: Object, uid: str) -> None:
        """Server-side apply of a child that may change, when it is missing or not as it should be."""
        meta = child["metadata"]
        known = await self._cluster.get(names.RESOURCES[child["kind"]], meta["namespace"], meta["name"])
        if known is None:
            await self._cluster.apply(child)
            return
        if leaving(known) or not ours(known, child, uid):
            raise Stop(taken(known))
        if child["kind"] == names.PVC.kind:
            # What was claimed cannot be changed: a volume of an earlier run is taken as it is.
            child = {**child, "spec": {key: known["spec"][key] for key in child["spec"] if key in known["spec"]}}
        if not as_wanted(known, child):
            await self._cluster.apply(child)

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
                raise Stop(taken(known or config_map)) from None
        self._with_runner.add(namespace)

    async def _read_defaults(self, namespace: str) -> Defaults:
        read, known = self._defaults.get(namespace, (float("-inf"), None))
        now = self._monotonic()
        if known is not None and now - read < _DEFAULTS_SECONDS:
            return known
        places = dict.fromkeys((self._operator_namespace, namespace))
        found = [await self._cluster.get(names.CONFIG_MAP, place, names.DEFAULTS_CONFIG_MAP) for place in places]
        defaults = defaults_of(*found)
        self._defaults[namespace] = (now, defaults)
        return defaults

    # Reporting

    async def _report(
        self,
        key: Key,
        obj: Object,
        view: RunView | None,
        *,
        verdict: Verdict,
        observed: Observed,
        resolved: Resolved | None,
    ) -> float | None:
        """One status write if anything changed, then one Event if the state did."""
        previous, now, memory = obj.get("status") or {}, self._monotonic(), self._memory.setdefault(key, _Memory())
        new = status_of(
            view=view,
            generation=obj["metadata"]["generation"],
            previous=previous,
            verdict=verdict,
            observed=observed,
            resolved=resolved,
            now=self._clock(),
        )
        new, held_back = settled(previous, new, since_write=now - memory.written)
        if patch := merge_patch(previous, new):
            await self._cluster.patch_status(obj, patch, obj["metadata"]["resourceVersion"])
            memory.written = now
            if event := event_of(previous, new):
                await self._cluster.event(obj, *event)
        if not isinstance(verdict, Wait | Blocked):
            self._memory.pop(key, None)
            return None
        if memory.reason != verdict.cause.reason:
            memory.reason, memory.since = verdict.cause.reason, now
        wake = patience(verdict.wake, now - memory.since) if verdict.wake is not None else None
        return min((pause for pause in (wake, held_back) if pause is not None), default=None)

    async def _rest(self, key: Key, obj: Object, status: Mapping[str, Any]) -> None:
        """A run that is over stays as it is; only a newer generation of its spec is acknowledged."""
        self._memory.pop(key, None)
        if status.get("observedGeneration") == obj["metadata"]["generation"]:
            return
        fresh = await self._cluster.get(KINDS[key.kind].resource, key.namespace, key.name)  # the store keeps a part
        if fresh is not None and ended(fresh.get("status") or {}):
            meta, status = fresh["metadata"], fresh["status"]
            patch = merge_patch(status, acknowledged(status, meta["generation"]))
            await self._cluster.patch_status(fresh, patch, meta["resourceVersion"])

    async def report_failure(self, key: Key, error: Exception, failures: int) -> None:
        """Told after each failed try, with the number of such errors in a row."""


def _read(handler: Handler, obj: Object) -> tuple[SFTRun | None, RunView | None, Blocked | None]:
    """The run and what its status needs of it, or why neither can be had."""
    try:
        run = handler.parse(obj)
        return run, handler.view(run), None
    except Invalid as error:
        return None, None, replace(hindrance(error), wake=None)  # an edit of the spec alone can help, and is watched
    except Exception as error:
        return None, None, mistake(error)


def _built(handler: Handler, run: SFTRun, context: Context) -> list[Object]:
    try:
        return handler.build(run, context)
    except Invalid:
        raise
    except Exception as error:
        raise Stop(mistake(error)) from error
