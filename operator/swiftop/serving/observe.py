"""Facts of what serves, out of its Deployment, its pods and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from swiftop import names
from swiftop.model.facts import Cause, DeploymentFacts, PodFacts, Report
from swiftop.model.kind import Ask, Object, Seen
from swiftop.model.times import seconds_of
from swiftop.names import Resource
from swiftop.observe.adapters import AdaptersFacts, adapters_facts
from swiftop.observe.deployments import deployment_facts
from swiftop.observe.events import MOUNT_PATIENCE_SECONDS, Question, not_started, obstacle_of
from swiftop.observe.jobs import owner_uid
from swiftop.observe.pods import pod_facts
from swiftop.runner.report import DRAINING, NOT_READY, READY, Member


@dataclass(frozen=True, slots=True)
class Replica:
    """One pod that serves, and what it last said."""

    pod: PodFacts
    report: Report | None = None

    @property
    def answers(self) -> bool:
        """Whether clients are sent to it."""
        return self.pod.ready and not self.pod.deleting

    @property
    def loaded(self) -> bool:
        """Whether its container, as it runs now, has loaded the model."""
        return bool(self.pod.running_since) and (self.report or {}).get("phase") in (READY, NOT_READY, DRAINING)


@dataclass(frozen=True)  # without slots, for what is computed once
class Observed:
    """All there is to know about the children of one object."""

    deployment: DeploymentFacts | None = None
    replicas: tuple[Replica, ...] = ()  # that are not over, oldest first
    obstacle: Cause | None = None  # what events tell about a pod that does not come to life
    adapters: AdaptersFacts | None = None  # that its pods follow
    exports: tuple[Object, ...] = ()  # ModelExports that were made for it

    @cached_property
    def answering(self) -> tuple[Replica, ...]:
        """Replicas that clients are sent to."""
        return tuple(replica for replica in self.replicas if replica.answers)

    @cached_property
    def newest(self) -> tuple[Replica, ...]:
        """Replicas of the newest revision that are to stay."""
        revision = self.deployment.digest if self.deployment else ""
        return tuple(r for r in self.replicas if r.pod.revision == revision and not r.pod.deleting)

    @cached_property
    def older(self) -> tuple[Replica, ...]:
        """Replicas of earlier revisions that are not told to go yet."""
        revision = self.deployment.digest if self.deployment else ""
        return tuple(r for r in self.replicas if r.pod.revision != revision and not r.pod.deleting)

    @property
    def settled(self) -> bool:
        """Whether no pod is left but those of the newest revision."""
        return len(self.newest) == len(self.replicas)


def observe(seen: Seen, *, members: tuple[Member, ...]) -> Observed:
    """Facts of the children. Objects of another owner of the same name (or of nobody) are left out."""
    uid = seen.obj["metadata"]["uid"]
    told = seen.children.get(names.CONFIG_MAP, ())
    found = [deployment_facts(deployment) for deployment in seen.children.get(names.DEPLOYMENT, ())]
    pods = [
        pod_facts(pod, members=members)
        for pod in seen.children.get(names.POD, ())
        if (pod["metadata"].get("labels") or {}).get(names.LABEL_UID) == uid
    ]
    # A container that died is started again: such a pod is not over, as one of a Job would be.
    replicas = [_replica(pod, seen) for pod in pods if pod.phase not in ("Succeeded", "Failed")]
    observed = Observed(
        next((facts for facts in found if facts.owner_uid == uid), None),
        tuple(sorted(replicas, key=lambda replica: (replica.pod.created, replica.pod.name))),
        adapters=next((adapters_facts(one) for one in told if owner_uid(one) == uid), None),
        exports=made_for(uid, seen.children),
    )
    for ask, events in seen.answers.items():
        obstacle = obstacle_of(Question(ask.resource, ask.name, ask.uid), events)
        observed = replace(observed, obstacle=obstacle)
    return observed


def made_for(uid: str, children: Mapping[Resource, Sequence[Object]]) -> tuple[Object, ...]:
    """The ModelExports among the children of the object of this UID."""
    return tuple(export for export in children.get(names.MODELEXPORT, ()) if owner_uid(export) == uid)


def asks(observed: Observed, seen: Seen) -> tuple[Ask, ...]:
    """Events of the first of the newest pods whose own status does not say why its container does not start."""
    for replica in observed.newest:
        pod = replica.pod
        if not_started(pod) and seen.now - seconds_of(pod.scheduled_at or pod.created) >= MOUNT_PATIENCE_SECONDS:
            return (Ask("warnings", names.POD, pod.name, pod.uid),)
    return ()


def _replica(pod: PodFacts, seen: Seen) -> Replica:
    """What it says while it runs, or what it said as it died."""
    last = pod.ended or pod.before
    if pod.running_since:
        reading = seen.reading(pod.uid)
        return Replica(pod, reading.report if reading else None)
    return Replica(pod, last.outcome.report if last and last.outcome else None)
