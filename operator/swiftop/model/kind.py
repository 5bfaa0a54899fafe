"""What the engine asks of a kind of resource, and the values that pass between them. All of it is pure.

``R`` is the parsed resource, ``O`` what was observed of its children, ``D`` the platform's defaults. The engine treats
all three as opaque.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from swiftop.errors import Problem
from swiftop.model.facts import Report
from swiftop.model.verdict import Blocked, Create, Delete, Outlook, Verdict
from swiftop.names import Resource
from swiftop.runner.protocol import UploadedDataset
from swiftop.runner.report import Accelerated, Member, Previous

Object = dict[str, Any]
"""An object of the Kubernetes API, as JSON has it. Who reads one never changes it."""

Status = dict[str, Any]

R = TypeVar("R")
O = TypeVar("O")  # noqa: E741 - as in the docstring above
D = TypeVar("D")


class Key(NamedTuple):
    """One object that swiftop works on: what the queue carries, and what a child's labels name."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Reference:
    """Another object that one refers to."""

    resource: Resource
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Ask:
    """A live read, where the silence of the store would decide something.

    ``object``: the one of that name. ``children``: all objects of the resource that carry the UID of their owner in a
    label. ``warnings``: Kubernetes Events of type Warning about the object with that UID.
    """

    what: Literal["object", "children", "warnings"]
    resource: Resource
    name: str = ""
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a pod last said. ``report`` is None when it was never heard; ``reachable`` is False when it cannot be."""

    report: Report | None
    previous: tuple[Previous, ...] = ()  # how executions before that pod's ended, the newest last
    reachable: bool = True
    acceleration: Accelerated | None = None  # of a training, once it is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Raw material of an observation: what the store has, and the answers to what was asked."""

    obj: Object
    now: float
    children: Mapping[Resource, Sequence[Object]]
    reading: Callable[[str], Reading | None] = field(default=lambda _pod_uid: None)  # what a pod said last
    answers: Mapping[Ask, Sequence[Object]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts(Generic[R, O]):
    """All that a verdict depends on. ``resource`` is None when it cannot be read: ``unreadable`` says why."""

    obj: Object
    resource: R | None
    unreadable: Blocked | None
    observed: O
    references: Mapping[Reference, Object | None]
    now: float


@dataclass(frozen=True, slots=True)
class Pinned:
    """What an attempt was really made with, read back from its Job; later attempts are made with the same."""

    image: str
    swift_version: str
    command: str
    digest: str = ""  # of the spec with the defaults
    source: Mapping[str, str] = field(default_factory=dict)  # where the results of a referenced object lie
    datasets: tuple[UploadedDataset, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class World(Generic[D]):
    """What besides the resource goes into its children."""

    defaults: D
    runner_config_map: str
    references: Mapping[Reference, Object | None] = field(default_factory=dict)
    pinned: Pinned | None = None
    previous: Mapping[str, Any] = field(default_factory=dict)  # the last status
    children: Mapping[Resource, Sequence[Object]] = field(default_factory=dict)  # as the store has them


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame(Generic[R, O]):
    """What a new status is made of."""

    obj: Object
    resource: R | None
    outlook: Outlook
    following: Create | None = None  # the attempt that was decided, though not to be created yet
    observed: O
    before: O  # what was decided on; an action may have changed it
    pinned: Pinned | None = None
    digest: str = ""  # of the spec with the defaults as they are now; empty when it was not needed
    now: float

    @property
    def previous(self) -> Mapping[str, Any]:
        """The last status."""
        known: Mapping[str, Any] = self.obj.get("status") or {}
        return known


class Prepared(Protocol):
    """A resource merged with the defaults, checked and rendered: once per attempt."""

    @property
    def digest(self) -> str:
        """Of all that decides what the children are; the same as long as none of it changes."""
        ...


class Kind(Protocol):
    """One kind of resource. ``swiftop.kinds.registry`` lists them all."""

    @property
    def resource(self) -> Resource: ...

    @property
    def summary(self) -> str:
        """Type of the condition that says in one word how an object stands."""
        ...

    @property
    def children(self) -> tuple[Resource, ...]:
        """Child resources that are watched, by label."""
        ...

    @property
    def applied(self) -> tuple[Resource, ...]:
        """Those of them that are brought into line as a whole, and deleted when they are no longer wanted."""
        ...

    @property
    def members(self) -> tuple[Member, ...]:
        """Members of the report of its pods."""
        ...

    @property
    def volatile(self) -> frozenset[str]:
        """Members of the status whose changes are written from time to time only."""
        ...

    def parse(self, obj: Object) -> Any:
        """The resource; raises ``Invalid``."""
        ...

    def references(self, resource: Any) -> tuple[Reference, ...]:
        """Other objects that it refers to: their change is a reason to look at this one."""
        ...

    def observe(self, seen: Seen) -> Any:
        """Facts of its children."""
        ...

    def asks(self, observed: Any, seen: Seen) -> tuple[Ask, ...]:
        """Live reads that are still needed; answered, it is observed again."""
        ...

    def decide(self, facts: Facts[Any, Any]) -> Verdict:
        """What to do and what to say."""
        ...

    def prepare(self, resource: Any, world: World[Any]) -> Prepared:
        """Merge, check and render; raises ``Invalid``."""
        ...

    def build(self, prepared: Any, create: Create) -> list[Object]:
        """Children in the order in which they are made, the Job last."""
        ...

    def objects(self, prepared: Any) -> list[Object]:
        """Children that may change, in the order in which they are made: all but the Jobs of attempts."""
        ...

    def digest(self, resource: Any, world: World[Any]) -> str:
        """``prepare(...).digest``, at a fraction of the cost."""
        ...

    def pinned(self, job: Object) -> Pinned | None:
        """What the children are made with, read back from the one with the pods' template; None where that is not at
        hand."""
        ...

    def project(self, frame: Frame[Any, Any]) -> Status:
        """The whole new status."""
        ...

    def warnings(self, resource: Any) -> tuple[Problem, ...]:
        """What is allowed but has no effect, or not the expected one."""
        ...

    def notes(self, prepared: Any) -> tuple[str, ...]:
        """What is worth knowing of it before it starts, a line each, and is neither wrong nor a warning."""
        ...

    def changes(self, resource: Any, children: Mapping[Resource, Sequence[Object]]) -> list[Object]:
        """What may change in children that run, and is to: objects to apply."""
        ...

    def cleanup(self, obj: Object, children: Mapping[Resource, Sequence[Object]]) -> list[Delete | Object]:
        """What is left to do with the children of an object that is over: to delete, or to apply."""
        ...

    def over(self, status: Mapping[str, Any]) -> bool:
        """Whether it has ended for good."""
        ...

    def reports(self, pod: Object) -> bool:
        """Whether a pod of this kind is asked how far it is."""
        ...
