"""A kind that ends, as the engine sees it: out of a few callables that say what is its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from swiftop import names
from swiftop.api.v1alpha1.base import CustomResource
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.workload import BatchResource, BatchSpec
from swiftop.batch import observe as observing
from swiftop.batch.conditions import ended
from swiftop.batch.decide import decide
from swiftop.batch.observe import Observed
from swiftop.batch.situation import Policy, Situation, Words
from swiftop.batch.status import present, recorded, status_of
from swiftop.errors import Problem
from swiftop.model.conditions import Aspects
from swiftop.model.kind import Ask, Facts, Frame, Object, Pinned, Reference, Seen, Status, World
from swiftop.model.verdict import Blocked, Create, Delete, Verdict, Waiting
from swiftop.names import Resource
from swiftop.observe.jobs import job_facts, owner_uid
from swiftop.observe.pods import index_of
from swiftop.runner.report import Member
from swiftop.runner.typed_json import BadJSON
from swiftop.workload.claim import beside
from swiftop.workload.job import attempt_job, changes, expiry, pinned_of, plan_of
from swiftop.workload.pods import Pod
from swiftop.workload.resolve import digest_of, resolved

References = Mapping[Reference, Object | None]

R = TypeVar("R", bound=BatchResource)
P = TypeVar("P", bound="Prepared")


class Own(NamedTuple):
    """What the status of a kind has beside the common members."""

    members: Status
    aspects: Aspects
    warning: str = ""  # what is allowed but has no effect
    reported: bool = False  # whether there was ever a report of the work


class Prepared(Protocol):
    """A `swiftop.model.kind.Prepared` of a kind that ends."""

    @property
    def spec(self) -> BatchSpec:
        """With the defaults in it."""
        ...

    @property
    def digest(self) -> str:
        """``digest_of`` the spec with the defaults in it."""
        ...


def _no_references(_resource: Any) -> tuple[Reference, ...]:
    return ()


def _no_source(_resource: Any, _references: References, _previous: Mapping[str, Any]) -> None:
    return None


def _no_warnings(_resource: Any) -> tuple[Problem, ...]:
    return ()


def _as_seen(frame: Frame[Any, Observed]) -> Frame[Any, Observed]:
    return frame


def _no_notes(_prepared: Any) -> tuple[str, ...]:
    return ()


def _as_it_is(pinned: Pinned, _settings: Mapping[str, Any]) -> Pinned:
    return pinned


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchKind(Generic[R, P]):
    """Implements `swiftop.model.kind.Kind`. What is not given here follows from ``spec``, which is a ``BatchSpec``."""

    model: type[R]
    words: Words
    members: tuple[Member, ...]  # of its program's report
    volatile: frozenset[str] = frozenset()
    references_of: Callable[[R], tuple[Reference, ...]] = _no_references
    source: Callable[[R, References, Mapping[str, Any]], Waiting | Blocked | None] = _no_source  # with the last status
    prepare_with: Callable[[R, World[Defaults]], P]
    pod: Callable[[P, int], Pod]  # of an attempt
    own: Callable[[Frame[R, Observed]], Own]
    explained: Callable[[Frame[R, Observed]], Frame[R, Observed]] = _as_seen  # with what the kind knows of an end
    warnings_of: Callable[[R], tuple[Problem, ...]] = _no_warnings
    notes_of: Callable[[P], tuple[str, ...]] = _no_notes
    pinned_with: Callable[[Pinned, Mapping[str, Any]], Pinned] = _as_it_is  # what the settings of the plan add

    @property
    def resource(self) -> Resource:
        return self.model.DEFINITION.resource

    @property
    def summary(self) -> str:
        return self.model.DEFINITION.summary

    @property
    def children(self) -> tuple[Resource, ...]:
        return (names.JOB, names.POD, names.PVC)

    @property
    def applied(self) -> tuple[Resource, ...]:
        return ()

    def parse(self, obj: Object) -> R:
        return self.model.from_object(obj)

    def references(self, resource: R) -> tuple[Reference, ...]:
        return self.references_of(resource)

    def observe(self, seen: Seen) -> Observed:
        return observing.observe(seen, members=self.members)

    def asks(self, observed: Observed, seen: Seen) -> tuple[Ask, ...]:
        name, attempts = seen.obj["metadata"]["name"], (seen.obj.get("status") or {}).get("attempts") or 0
        job, claim = names.job_name(self.resource, name, attempts), names.output_claim_name(self.resource, name)
        return observing.asks(observed, seen, job_name=job, claim_name=claim)

    def decide(self, facts: Facts[R, Observed]) -> Verdict:
        resource = facts.resource
        policy = Policy.of(resource.spec) if resource is not None else None
        known = recorded(facts.obj, facts.observed, gpus=policy.gpus if policy else None, now=facts.now)
        return decide(
            Situation(
                policy=policy,
                unreadable=facts.unreadable,
                # What has started has it pinned: it may be gone by now.
                source=self._source(resource, facts) if resource is not None and not known.started else None,
                recorded=known,
                observed=facts.observed,
                words=self.words,
                now=facts.now,
            )
        )

    def _source(self, resource: R, facts: Facts[R, Observed]) -> Waiting | Blocked | None:
        return self.source(resource, facts.references, facts.obj.get("status") or {})

    def prepare(self, resource: R, world: World[Defaults]) -> P:
        return self.prepare_with(resource, world)

    def digest(self, resource: R, world: World[Defaults]) -> str:
        return digest_of(resolved(resource.spec, world))

    def build(self, prepared: P, create: Create) -> list[Object]:
        pod, spec = self.pod(prepared, create.attempt), prepared.spec
        job = attempt_job(pod, create, lifecycle=spec.lifecycle, digest=prepared.digest)
        return [*beside(pod.owner, spec), job]

    def objects(self, prepared: P) -> list[Object]:
        return self.build(prepared, Create(1))[:-1]

    def pinned(self, job: Object) -> Pinned | None:
        plan = plan_of(job)
        found = pinned_of(job, plan)
        if found is None or plan is None:
            return found
        try:
            return self.pinned_with(found, plan.settings)
        except BadJSON:  # settings of another version
            return found

    def project(self, frame: Frame[R, Observed]) -> Status:
        frame = self.explained(frame)
        own = self.own(frame)
        common = status_of(
            frame,
            types=self.model.DEFINITION.conditions,
            aspects=own.aspects,
            reported=own.reported,
            warning=own.warning,
            gpus=frame.resource.spec.resources.gpus if frame.resource is not None else None,
        )
        return present({**common, **own.members})

    def over(self, status: Mapping[str, Any]) -> bool:
        return ended(status)

    def reports(self, pod: Object) -> bool:
        """Rank 0 alone writes checkpoints and knows how far the work is."""
        return index_of(pod["metadata"]) == 0

    def warnings(self, resource: R) -> tuple[Problem, ...]:
        return self.warnings_of(resource)

    def notes(self, prepared: P) -> tuple[str, ...]:
        return self.notes_of(prepared)

    def changes(self, resource: R, children: Mapping[Resource, Sequence[Object]]) -> list[Object]:
        """The deadline is the one part of a Job that may change while it runs."""
        running = [job for job in children.get(names.JOB, ()) if not job_facts(job).over and _belongs(job, resource)]
        return [change for job in running if (change := changes(job, resource.spec.lifecycle)) is not None]

    def cleanup(self, obj: Object, children: Mapping[Resource, Sequence[Object]]) -> list[Delete | Object]:
        """A Job that still holds GPUs is deleted, a finished one gets its time to live."""
        uid = obj["metadata"]["uid"]
        ttl = ((obj.get("spec") or {}).get("lifecycle") or {}).get("ttlSecondsAfterFinished")
        found: list[Delete | Object] = []
        for job in children.get(names.JOB, ()):
            facts = job_facts(job)
            if facts.owner_uid != uid or facts.deleting:
                continue
            if not facts.over:
                found.append(Delete(names.JOB, facts.name, facts.uid))
            elif change := expiry(job, ttl):
                found.append(change)
        return found


def _belongs(job: Object, resource: CustomResource) -> bool:
    return owner_uid(job) == resource.metadata.uid
