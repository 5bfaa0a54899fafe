"""Facts of one object's newest attempt, out of its Jobs, its pods and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from swiftop import names
from swiftop.model.facts import Cause, JobFacts, PodFacts, Report
from swiftop.model.kind import Ask, Object, Reading, Seen
from swiftop.observe.events import Question, obstacle_of, question_of
from swiftop.observe.jobs import attempt_of, job_facts, owner_uid
from swiftop.observe.pods import pod_facts
from swiftop.runner.protocol import FAILED, FINISHED
from swiftop.runner.report import Accelerated, Member, Previous


@dataclass(frozen=True)  # without slots, for what is computed once
class Observed:
    """All there is to know about the children of one object."""

    job: JobFacts | None = None  # of the newest attempt
    pods: tuple[PodFacts, ...] = ()  # every execution of it that still exists, oldest first
    obstacle: Cause | None = None  # what events tell about a pod that does not come to life
    heard: Report | None = None  # what the pod of rank 0 said while it ran
    previous: tuple[Previous, ...] = ()  # how executions before that pod's ended, the newest last
    acceleration: Accelerated | None = None  # what that pod told of it, while it ran or at its end
    reachable: bool = True  # False when that pod cannot be heard
    claimed: bool = False  # whether the volume that was made for it is there

    @cached_property
    def current(self) -> tuple[PodFacts, ...]:
        """The newest execution of each rank, in order of rank."""
        newest = {pod.index: pod for pod in self.pods}
        return tuple(newest[index] for index in sorted(newest))

    @property
    def leader(self) -> PodFacts | None:
        """The newest pod of rank 0, which writes checkpoints and reports progress."""
        current = self.current
        return current[0] if current else None

    @property
    def report(self) -> Report | None:
        """The newest report: a pod's termination message is newer than what was heard while it ran."""
        leader = self.leader
        outcome = leader.ended.outcome if leader and leader.ended else None
        return (outcome.report if outcome else None) or self.heard

    @property
    def started(self) -> str:
        """When the first container started that is still known of, empty when none has."""
        return min((pod.started for pod in self.pods if pod.started), default="")


def observe(seen: Seen, *, members: tuple[Member, ...]) -> Observed:
    """Facts of the newest attempt. Objects of another owner of the same name (or of nobody) are left out."""
    uid = seen.obj["metadata"]["uid"]
    answered = {ask: found for ask, found in seen.answers.items() if ask.what != "warnings"}
    jobs = _merged(seen.children.get(names.JOB, ()), answered, names.JOB)
    # An older attempt does not stand in for the newest one when that is gone.
    newest = (seen.obj.get("status") or {}).get("attempts") or 0
    own = [facts for job in jobs if (facts := job_facts(job)).owner_uid == uid and facts.attempt >= newest]
    job = max(own, key=lambda facts: facts.attempt, default=None)
    claimed = bool(seen.children.get(names.PVC))
    if job is None:
        return Observed(claimed=claimed)
    pods = _merged(seen.children.get(names.POD, ()), answered, names.POD)
    executions = [pod_facts(pod, members=members) for pod in pods if _belongs(pod, uid, job)]
    observed = Observed(job, tuple(sorted(executions, key=lambda pod: (pod.created, pod.name))), claimed=claimed)
    return _with_warnings(_with_reading(observed, seen.reading), seen)


def asks(observed: Observed, seen: Seen, *, job_name: str, claim_name: str) -> tuple[Ask, ...]:
    """What the store may not know yet, or never knows, and what would decide something."""
    status = seen.obj.get("status") or {}
    if observed.job is None:
        return (Ask("object", names.JOB, job_name),) if status.get("attempts") else ()
    if observed.job.over and not _told(observed, observed.job):
        # The watch of pods may be behind that of Jobs, and a termination message may be all that is ever known.
        return (Ask("children", names.POD, uid=seen.obj["metadata"]["uid"]),)
    question = _question(observed, seen, claim_name)
    return (Ask("warnings", question.resource, question.name, question.uid),) if question else ()


def _told(observed: Observed, job: JobFacts) -> bool:
    """Whether the pods that are known tell the end of the Job: the one that does may not be known yet."""
    ends = [pod.ended if pod.over else None for pod in observed.current]
    said = [end.outcome.outcome if end and end.outcome else "" for end in ends]
    if job.complete:
        return bool(said) and all(outcome == FINISHED for outcome in said)
    return all(said) and FAILED in said


def _question(observed: Observed, seen: Seen, claim_name: str) -> Question | None:
    claims = {claim["metadata"]["name"]: claim for claim in seen.children.get(names.PVC, ())}
    return question_of(observed.job, observed.pods, observed.current, claims.get(claim_name), now=seen.now)


def _with_warnings(observed: Observed, seen: Seen) -> Observed:
    for ask, events in seen.answers.items():
        if ask.what == "warnings":
            return replace(observed, obstacle=obstacle_of(Question(ask.resource, ask.name, ask.uid), events))
    return observed


def _with_reading(observed: Observed, latest: Callable[[str], Reading | None]) -> Observed:
    leader = observed.leader
    ended = leader.ended.outcome if leader and leader.ended else None
    reading = latest(leader.uid) if leader else None
    if leader is None or reading is None:
        return replace(observed, previous=ended.previous, acceleration=ended.acceleration) if ended else observed
    return replace(
        observed,
        heard=reading.report,
        previous=(ended.previous if ended else ()) or reading.previous,
        acceleration=(ended.acceleration if ended else None) or reading.acceleration,
        reachable=reading.reachable or not leader.running_since,
    )


def _merged(
    stored: Iterable[Object], answers: Mapping[Ask, Sequence[Object]], resource: names.Resource
) -> list[Object]:
    """What the store has, overlaid with live answers, which are newer."""
    found = {obj["metadata"]["name"]: obj for obj in stored}
    for ask, objects in answers.items():
        if ask.resource is resource:
            found = {obj["metadata"]["name"]: obj for obj in objects}
    return list(found.values())


def _belongs(pod: Object, uid: str, job: JobFacts) -> bool:
    """By label, and made by the Job: a copy of the pod, as for debugging, carries the same labels."""
    meta = pod["metadata"]
    labels = meta.get("labels") or {}
    return labels.get(names.LABEL_UID) == uid and attempt_of(meta) == job.attempt and owner_uid(pod) == job.uid
