"""The next step of something that serves: facts in, one verdict out. It never ends, so there is no end to decide on.

Pure and level-triggered. What answers goes on answering whatever is wrong with what is to replace it: nothing here ever
takes a child away but a deletion of the object itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from swiftop.model.facts import Cause
from swiftop.model.verdict import Apply, Blocked, Phase, Serving, Verdict, Waiting
from swiftop.reasons import Reason
from swiftop.serving.observe import Observed, Replica
from swiftop.serving.trouble import trouble_of

_EVENTS_SECONDS = 10.0  # Events are not watched
_LOADING = Cause(Reason.LOADING, "the model is downloaded and loaded")
_PHASES: Mapping[object, Cause] = {  # of a report
    3: Cause(
        Reason.NOT_ANSWERING,
        "a replica has loaded the model and does not answer",
        "the engine is asked again and restarted if it hangs; kubectl logs tells more",
    ),
    4: Cause(Reason.DRAINING, "a replica finishes its answers before it goes"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What is served, of other objects' results.

    ``revision`` is a digest of spec and sources: what the newest pods are to be made from. ``missing`` is what is
    waited for; ``told`` what is to be said of a source that is used as it was found.
    """

    revision: str = ""
    missing: Waiting | Blocked | None = None
    told: Cause | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a verdict depends on. ``sources`` is None for a spec that cannot be read: ``unreadable`` says why."""

    unreadable: Blocked | None = None
    sources: Sources | None = None
    observed: Observed


def decide(s: Situation) -> Verdict:
    """What to do and what to say."""
    deployment = s.observed.deployment
    if s.unreadable is not None or s.sources is None:
        unreadable = s.unreadable or Blocked(Cause(Reason.INVALID_SPEC, "the spec cannot be read"), stalled=True)
        return Verdict(_hindered(s, unreadable) if deployment else unreadable)
    if s.sources.missing is not None:
        return Verdict(_hindered(s, s.sources.missing) if deployment else s.sources.missing)
    if deployment is None or deployment.deleting:
        return Verdict(Waiting(Phase.PENDING, _created()), (Apply(s.sources.revision, live=True),))
    apply = Apply(s.sources.revision, live=deployment.digest != s.sources.revision)
    outlook = replace(serving(s.observed), told=s.sources.told)
    return Verdict(outlook, (apply,), poll=None if outlook.rollout is None else _EVENTS_SECONDS)


def _created() -> Cause:
    return Cause(Reason.DEPLOYMENT_CREATED, "the Deployment is created, its pods not yet")


def serving(observed: Observed) -> Serving:
    """What is said of replicas."""
    deployment = observed.deployment
    assert deployment is not None  # noqa: S101 - for the type checker
    wanted, answering = deployment.wanted, len(observed.answering)
    trouble = trouble_of(observed)
    complete = _complete(observed)
    rollout = None if complete else (trouble.cause if trouble else _on_its_way(observed))
    if deployment.overdue and not complete:
        assert rollout is not None  # noqa: S101 - for the type checker
        advice = rollout.suggestion or "look at the pods: kubectl describe pods, kubectl logs"
        rollout = replace(rollout, message=f"no headway for too long: {rollout.message}", suggestion=advice)
        if trouble is None:
            rollout = replace(rollout, reason=Reason.ROLLOUT_OVERDUE)
    if answering:
        ready = Cause(Reason.ANSWERING, f"{answering} of {wanted} replicas answer")
    elif not wanted:
        ready = Cause(Reason.SCALED_TO_ZERO, "no replica is asked for", "raise spec.replicas")
    else:
        ready = rollout or Cause(Reason.NOT_ANSWERING, "no replica answers")
    lasting = trouble is not None and trouble.lasting
    return Serving(
        ready=answering > 0,
        cause=ready,
        rollout=rollout,
        failing=not complete and (lasting or deployment.overdue),
        stalled=not complete and (deployment.overdue or (trouble is not None and trouble.dead)),
    )


def _complete(observed: Observed) -> bool:
    """Whether all replicas are of the newest revision, and answer."""
    deployment = observed.deployment
    assert deployment is not None  # noqa: S101 - for the type checker
    answering = sum(replica.answers for replica in observed.newest)
    return deployment.seen and not observed.older and answering == len(observed.newest) == deployment.wanted


def _on_its_way(observed: Observed) -> Cause:
    """What the first of the newest pods that does not answer is about to do."""
    deployment = observed.deployment
    assert deployment is not None  # noqa: S101 - for the type checker
    if deployment.wanted and not observed.replicas:
        return _created()
    late = [replica for replica in observed.newest if not replica.answers]
    if not late:
        answering = len(observed.newest)
        what = "of the newest revision" if observed.older else "there"
        return Cause(Reason.ROLLING_OUT, f"{answering} of {deployment.wanted} replicas are {what} and answer")
    return _of_late(late[0])


def _of_late(replica: Replica) -> Cause:
    if not replica.pod.scheduled:
        return Cause(Reason.DEPLOYMENT_CREATED, "a pod waits for a node")
    if not replica.pod.running_since:
        return Cause(Reason.STARTING, "pulling the image, mounting the volumes")
    return _PHASES.get((replica.report or {}).get("phase"), _LOADING)


def _hindered(s: Situation, by: Waiting | Blocked) -> Serving:
    """What serves goes on; what the spec asks for now cannot be made."""
    stalled = isinstance(by, Blocked) and by.stalled
    told = s.sources.told if s.sources else None
    return replace(serving(s.observed), rollout=by.cause, failing=isinstance(by, Blocked), stalled=stalled, told=told)
