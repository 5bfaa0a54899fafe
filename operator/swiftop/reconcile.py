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

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.build import Context, Defaults, Resolved, deadline, defaults_of, resolved_of, runner_config_map
from swiftop.decide import Blocked, Facts, Fail, Finish, StartAttempt, Verdict, Wait, decide
from swiftop.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound, Refused
from swiftop.kinds import KINDS, Handler
from swiftop.names import Reason
from swiftop.observe import (
    Cause,
    Observed,
    observe,
    obstacle_of,
    owner_uid,
    progress_of,
    question_of,
    refusal,
)
from swiftop.ports import Cluster, Key, Object, ProgressSource, Store
from swiftop.runner import bundle
from swiftop.status import acknowledged, event_of, merge_patch, settled, status_of
from swiftop.status.conditions import ended

_DEFAULTS_SECONDS = 10.0  # how long swiftop-defaults is taken as read: a burst of runs reads it once
_LOOK_AGAIN = 30.0  # for what no watch tells: a quota that has room again, a foreign object that is gone
_LEFTOVER_SECONDS = 2.0  # a child of an earlier run of the same name is about to be deleted


class _Stop(Exception):
    """An attempt cannot be started now; carries the verdict."""

    def __init__(self, verdict: Blocked) -> None:
        super().__init__(verdict.cause.message)
        self.verdict = verdict


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
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._progress = progress
        self._operator_namespace = operator_namespace
        self._clock = clock
        self._runner_name = names.runner_config_map_name(bundle.digest())
        self._with_runner: set[str] = set()  # namespaces that are known to have the runner
        self._defaults: dict[str, tuple[float, Defaults]] = {}  # namespace -> read when, content
        self._written: dict[Key, float] = {}  # when the status of an active run was last written

    async def reconcile(self, key: Key) -> float | None:
        """Look at one run. Returns the seconds after which to look again, None when a watch will tell."""
        run = self._store.get(KINDS[key.kind].kind, key.namespace, key.name)
        if run is None or _leaving(run):
            self._written.pop(key, None)
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
        run, refused = _parse(handler, obj)
        observed = await self._observe(obj, run)
        attempts = status.get("attempts") or 0
        verdict = decide(Facts(attempts=attempts, observed=observed))
        resolved = None
        if isinstance(verdict, StartAttempt):
            if not live:
                fresh = await self._cluster.get(handler.kind, key.namespace, key.name)
                return None if fresh is None or _leaving(fresh) else await self._look(key, fresh, live=True)
            verdict, observed, resolved = await self._start(handler, run, refused, verdict)
        elif run is not None and isinstance(verdict, Wait):
            await self._mend(handler, run, verdict, observed)
        if observed.job is not None and not resolved and not status.get("resolved"):
            # The status write after the start was lost. The store keeps no pod templates.
            job = await self._cluster.get(names.JOB, key.namespace, observed.job.name)
            resolved = resolved_of(job) if job else None
        return await self._report(key, obj, run, verdict=verdict, observed=observed, resolved=resolved)

    # Reading

    async def _observe(self, obj: Object, run: SFTRun | None) -> Observed:
        """All facts: from the store, and live where an absence in the store would decide something."""
        meta = obj["metadata"]
        namespace, name, uid = meta["namespace"], meta["name"], meta["uid"]
        gpu_resource = run.spec.resources.gpu_resource if run else "nvidia.com/gpu"
        jobs = self._store.children(names.JOB, namespace, name)
        pods = self._store.children(names.POD, namespace, name)
        observed = observe(uid=uid, jobs=jobs, pods=pods, gpu_resource=gpu_resource)
        attempts = (obj.get("status") or {}).get("attempts") or 0
        if observed.job is None and attempts:
            job = await self._cluster.get(names.JOB, namespace, names.job_name(name, attempts))
            jobs = [job] if job else []
            observed = observe(uid=uid, jobs=jobs, pods=pods, gpu_resource=gpu_resource)
        job_over = observed.job is not None and (observed.job.complete or observed.job.failed)
        heard = bool(observed.pods) and all(pod.over and pod.end and pod.end.outcome for pod in observed.current)
        if job_over and not heard:
            # The watch of pods may be behind that of Jobs, and a pod's last words may be all that is ever known.
            labels = {names.LABEL_NAME: name, names.LABEL_UID: uid}
            pods = await self._cluster.list(names.POD, namespace, labels)
            observed = observe(uid=uid, jobs=jobs, pods=pods, gpu_resource=gpu_resource)
        return await self._with_events(self._with_progress(observed), namespace, name)

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
        events = await self._cluster.events_for(question.kind, namespace, question.name, question.uid)
        return replace(observed, obstacle=obstacle_of(question, events))

    # Acting

    async def _start(
        self, handler: Handler, run: SFTRun | None, refused: Blocked | None, start: StartAttempt
    ) -> tuple[Verdict, Observed, Resolved | None]:
        """Make the children, the Job last. What keeps it from being made becomes the verdict."""
        try:
            if run is None:
                raise _Stop(refused or Blocked(Cause(Reason.INVALID_SPEC, "the spec cannot be read"), stalled=True))
            job = await self._make_children(handler, run, start.attempt)
        except _Stop as stop:
            return stop.verdict, Observed(), None
        except Invalid as error:
            return _invalid(error), Observed(), None
        except Forbidden as error:
            return Blocked(refusal(_server_words(error, 403)), stalled=False, wake=_LOOK_AGAIN), Observed(), None
        except Refused as error:
            text = f"the API server refuses what the spec asks for: {_server_words(error, 422)}"
            return Blocked(Cause(Reason.INVALID_SPEC, text), stalled=True), Observed(), None
        observed = observe(uid=run.metadata.uid, jobs=[job], pods=())
        verdict = decide(Facts(attempts=start.attempt, observed=observed))
        return verdict, observed, resolved_of(job)

    async def _make_children(self, handler: Handler, run: SFTRun, attempt: int) -> Object:
        context = Context(
            runner_config_map=self._runner_name,
            defaults=await self._read_defaults(run.metadata.namespace),
            attempt=attempt,
        )
        *others, job = handler.build(run, context)
        await self._ensure_runner(run.metadata.namespace)
        for child in others:
            await self._ensure(child, run.metadata.uid)
        return await self._create_once(job, run.metadata.uid)

    async def _mend(self, handler: Handler, run: SFTRun, wait: Wait, observed: Observed) -> None:
        """Put right what may be put right after the start: a deadline that was changed, a child that was deleted."""
        meta = run.metadata
        job = self._store.get(names.JOB, meta.namespace, observed.job.name) if observed.job else None
        if job is not None and (change := deadline(job, run.spec.lifecycle.active_deadline_seconds)):
            await self._cluster.apply(change)
        if wait.cause.reason == Reason.CONFIG_MAP_MISSING and self._runner_name in wait.cause.message:
            self._with_runner.discard(meta.namespace)
            await self._ensure_runner(meta.namespace)
        if wait.cause.reason == Reason.CLAIM_MISSING and names.output_claim_name(meta.name) in wait.cause.message:
            defaults = await self._read_defaults(meta.namespace)
            for child in handler.build(run, Context(runner_config_map=self._runner_name, defaults=defaults))[:-1]:
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
                raise _Stop(_taken(known)) from None
            return known

    async def _ensure(self, child: Object, uid: str) -> None:
        """Server-side apply of a child that may change, when it is missing or not as it should be."""
        meta = child["metadata"]
        known = await self._cluster.get(names.KINDS[child["kind"]], meta["namespace"], meta["name"])
        if known is None:
            await self._cluster.apply(child)
            return
        if _leaving(known) or not _ours(known, child, uid):
            raise _Stop(_taken(known))
        if child["kind"] == names.PVC.kind:
            # What was claimed cannot be changed: a volume of an earlier run is taken as it is.
            child = {**child, "spec": {key: known["spec"][key] for key in child["spec"] if key in known["spec"]}}
        if not _contains(known, child) or _owners(known) != _owners(child):
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
                raise _Stop(_taken(known or config_map)) from None
        self._with_runner.add(namespace)

    async def _read_defaults(self, namespace: str) -> Defaults:
        read, known = self._defaults.get(namespace, (float("-inf"), None))
        now = self._clock()
        if known is not None and 0 <= now - read < _DEFAULTS_SECONDS:
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
        run: SFTRun | None,
        *,
        verdict: Verdict,
        observed: Observed,
        resolved: Resolved | None,
    ) -> float | None:
        """One status write if anything changed, then one Event if the state did."""
        previous, now = obj.get("status") or {}, self._clock()
        new = status_of(
            view=KINDS[key.kind].view(run) if run else None,
            generation=obj["metadata"]["generation"],
            previous=previous,
            verdict=verdict,
            observed=observed,
            resolved=resolved,
            now=now,
        )
        since_write = now - self._written.get(key, float("-inf"))
        new, held_back = settled(previous, new, since_write=since_write)
        if patch := merge_patch(previous, new):
            await self._cluster.patch_status(obj, patch, obj["metadata"]["resourceVersion"])
            self._written[key] = now
            if event := event_of(previous, new):
                await self._cluster.event(obj, *event)
        if isinstance(verdict, Finish | Fail | StartAttempt):
            self._written.pop(key, None)
            return None
        wakes = [wake for wake in (verdict.wake, held_back) if wake is not None]
        return min(wakes, default=None)

    async def _rest(self, key: Key, obj: Object, status: Mapping[str, Any]) -> None:
        """A run that is over stays as it is; only a newer generation of its spec is acknowledged."""
        meta = obj["metadata"]
        self._written.pop(key, None)
        if status.get("observedGeneration") != meta["generation"]:
            patch = merge_patch(status, acknowledged(status, meta["generation"]))
            await self._cluster.patch_status(obj, patch, meta["resourceVersion"])


def _parse(handler: Handler, obj: Object) -> tuple[SFTRun | None, Blocked | None]:
    try:
        return handler.parse(obj), None
    except Invalid as error:
        return None, _invalid(error)


def _invalid(error: Invalid) -> Blocked:
    """All problems in one message, each with its place and what to do. Defaults are not watched, hence the wake-up."""
    cause = Cause(error.problems[0].reason, str(error))
    return Blocked(cause, stalled=True, wake=_LOOK_AGAIN if cause.reason == Reason.INVALID_DEFAULTS else None)


def _taken(known: Object) -> Blocked:
    """The name of a child is in use: by an earlier run of this name that is being deleted, or by somebody else."""
    meta = known["metadata"]
    what = f"{known.get('kind', 'object')} {meta['name']}"
    if _leaving(known) or (meta.get("labels") or {}).get(names.LABEL_MANAGED_BY) == names.MANAGED_BY:
        cause = Cause(
            Reason.NAME_CONFLICT, f"{what} of an earlier run of this name still exists", "delete it if it stays"
        )
        return Blocked(cause, stalled=False, wake=_LEFTOVER_SECONDS)
    cause = Cause(
        Reason.NAME_CONFLICT, f"{what} exists and is not swiftop's", "delete it, or give the run another name"
    )
    return Blocked(cause, stalled=True, wake=_LOOK_AGAIN)


def _leaving(obj: Object) -> bool:
    return bool(obj["metadata"].get("deletionTimestamp"))


def _ours(known: Object, child: Object, uid: str) -> bool:
    """By label, and not some other object's child. A retained volume has no owner and passes to the next run."""
    labels = known["metadata"].get("labels") or {}
    wanted = child["metadata"]["labels"]
    keys = (names.LABEL_MANAGED_BY, names.LABEL_KIND, names.LABEL_NAME)
    return all(labels.get(key) == wanted[key] for key in keys) and owner_uid(known) in ("", uid)


def _owners(obj: Object) -> list[str]:
    return [reference["uid"] for reference in obj["metadata"].get("ownerReferences") or ()]


def _contains(known: Any, wanted: Any) -> bool:
    """Whether all that we want is there; what others added does not count."""
    if isinstance(wanted, Mapping):
        return isinstance(known, Mapping) and all(key in known and _contains(known[key], wanted[key]) for key in wanted)
    return bool(known == wanted)


def _server_words(error: Exception, code: int) -> str:
    """The API server's own words out of an error that also names the request."""
    text = str(error)
    return text.partition(f": {code} ")[2] or text
