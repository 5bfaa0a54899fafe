"""A kind that serves and never ends, as the engine sees it: out of a few callables that say what is its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from swiftop import names
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.workload import ServingResource
from swiftop.errors import Problem
from swiftop.model.conditions import Aspects
from swiftop.model.kind import Ask, Facts, Frame, Object, Pinned, Prepared, Reference, Seen, Status, World
from swiftop.model.verdict import Create, Delete, Verdict
from swiftop.names import Resource
from swiftop.runner.report import Member
from swiftop.serving import observe as observing
from swiftop.serving.decide import Situation, Sources, decide
from swiftop.serving.observe import Observed
from swiftop.serving.status import pruned, status_of
from swiftop.workload.deployment import pinned_of

R = TypeVar("R", bound=ServingResource)
P = TypeVar("P", bound=Prepared)

APPLIED = (names.SERVICE, names.PDB, names.HPA, names.CONFIG_MAP, names.DEPLOYMENT)
"""Children that may change."""


class Own(NamedTuple):
    """What the status of a kind has beside the common members."""

    members: Status
    aspects: Aspects
    warning: str = ""  # what is allowed but has no effect


def _nothing(_prepared: Any) -> list[Object]:
    return []


def _no_warnings(_resource: Any) -> tuple[Problem, ...]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingKind(Generic[R, P]):
    """Implements `swiftop.model.kind.Kind`."""

    model: type[R]
    members: tuple[Member, ...]  # of its program's report
    volatile: frozenset[str] = frozenset()
    references_of: Callable[[R], tuple[Reference, ...]]
    sources: Callable[[R, Facts[R, Observed]], Sources]
    prepare_with: Callable[[R, World[Defaults]], P]
    objects_of: Callable[[P], list[Object]]  # the Deployment last
    before_of: Callable[[P], list[Object]] = _nothing  # what has to end well before these are made
    own: Callable[[Frame[R, Observed]], Own]
    warnings_of: Callable[[R], tuple[Problem, ...]] = _no_warnings

    @property
    def resource(self) -> Resource:
        return self.model.DEFINITION.resource

    @property
    def summary(self) -> str:
        return self.model.DEFINITION.summary

    @property
    def children(self) -> tuple[Resource, ...]:
        return (*APPLIED, names.POD, names.MODELEXPORT)

    @property
    def applied(self) -> tuple[Resource, ...]:
        return APPLIED

    def parse(self, obj: Object) -> R:
        return self.model.from_object(obj)

    def references(self, resource: R) -> tuple[Reference, ...]:
        return self.references_of(resource)

    def observe(self, seen: Seen) -> Observed:
        return observing.observe(seen, members=self.members)

    def asks(self, observed: Observed, seen: Seen) -> tuple[Ask, ...]:
        return observing.asks(observed, seen)

    def decide(self, facts: Facts[R, Observed]) -> Verdict:
        resource = facts.resource
        sources = self.sources(resource, facts) if resource is not None else None
        return decide(Situation(unreadable=facts.unreadable, sources=sources, observed=facts.observed))

    def prepare(self, resource: R, world: World[Defaults]) -> P:
        return self.prepare_with(resource, world)

    def digest(self, resource: R, world: World[Defaults]) -> str:
        return self.prepare_with(resource, world).digest

    def build(self, prepared: P, create: Create) -> list[Object]:
        """There are no attempts: the same whatever is asked for."""
        return [*self.before_of(prepared), *self.objects_of(prepared)]

    def objects(self, prepared: P) -> list[Object]:
        return self.objects_of(prepared)

    def pinned(self, job: Object) -> Pinned | None:
        return pinned_of(job)

    def project(self, frame: Frame[R, Observed]) -> Status:
        own = self.own(frame)
        common = status_of(frame, types=self.model.DEFINITION.conditions, aspects=own.aspects, warning=own.warning)
        return pruned({**common, **own.members})

    def over(self, status: Mapping[str, Any]) -> bool:
        return False

    def reports(self, pod: Object) -> bool:
        """Each replica answers for itself."""
        return True

    def warnings(self, resource: R) -> tuple[Problem, ...]:
        return self.warnings_of(resource)

    def notes(self, prepared: P) -> tuple[str, ...]:
        return ()

    def changes(self, resource: R, children: Mapping[Resource, Sequence[Object]]) -> list[Object]:
        """What may change is applied as a whole."""
        return []

    def cleanup(self, obj: Object, children: Mapping[Resource, Sequence[Object]]) -> list[Delete | Object]:
        return []
