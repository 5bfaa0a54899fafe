"""The next step of something that serves: facts in, one verdict out. It never ends, so there is no end to decide on.

Pure and level-triggered. What answers goes on answering whatever is wrong with what is to replace it. Only what is made
for the sources goes, once nothing serves it, and a first revision that does not pass its gate gives its pods back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from swiftop.model.facts import Cause, DeploymentFacts
from swiftop.model.verdict import Action, Apply, Blocked, Phase, Serving, Verdict, Waiting, Withdraw
from swiftop.reasons import Reason
from swiftop.runner.report import DRAINING, NOT_READY
from swiftop.runner.serve.causes import GATE_FAILED
from swiftop.serving.observe import Observed, Replica
from swiftop.serving.trouble import Trouble, adapters_trouble, gate_failure, trouble_of

_EVENTS_SECONDS = 10.0  # Events are not watched
_LOADING = Cause(Reason.LOADING, "the model is downloaded and loaded")
_PHASES: Mapping[object, Cause] = {  # of a report
    NOT_READY: Cause(
        Reason.NOT_ANSWERING,
        "a replica has loaded the model and does not answer",
        "the engine is asked again and restarted if it hangs; kubectl logs tells more",
    ),
    DRAINING: Cause(Reason.DRAINING, "a replica finishes its answers before it goes"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What is served, of other objects' results.

    ``revision`` is a digest of spec and sources: what the newest pods are to be made from; ``adapters`` one of what
    these are to follow while they serve, empty for none. ``missing`` is what is waited for; ``held`` why a newer result
    is not let through; ``told`` what is to be said of a source that is used as it was found; ``actions`` what has to be
    done for the sources themselves.
    """

    revision: str = ""
    adapters: str = ""
    missing: Waiting | Blocked | None = None
    held: Cause | None = None
    told: Cause | None = None
    actions: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a verdict depends on. ``sources`` is None for a spec that cannot be read: ``unreadable`` says why."""

    unreadable: Blocked | None = None
    sources: Sources | None = None
    observed: Observed


def decide(s: Situation) -> Verdict:
    """What to do and what to say."""
    made, sources = s.observed.deployment, s.sources
    if s.unreadable is not None or sources is None:
        unreadable = s.unreadable or Blocked(Cause(Reason.INVALID_SPEC, "the spec cannot be read"), stalled=True)
        return Verdict(_hindered(made, s, unreadable) if made else unreadable)
    if sources.missing is not None:
        return Verdict(_hindered(made, s, sources.missing) if made else sources.missing, sources.actions)
    if made is None or made.deleting:
        return Verdict(Waiting(Phase.PENDING, _created()), (_apply(s.observed, sources, live=True), *sources.actions))
    lacks = trouble_of(s.observed)
    repair = lacks is not None and lacks.cause.reason == Reason.CONFIG_MAP_MISSING
    outlook = replace(serving(made, s.observed, adapters=sources.adapters), told=sources.told)
    withdrawn = made.withdrawn if made.withdrawn and made.withdrawn.revision == sources.revision else None
    failure = gate_failure(made, s.observed) if made.digest == sources.revision and withdrawn is None else None
    if failure is not None:
        to = _earlier(s.observed)
        return Verdict(_held(outlook, failure), (Withdraw(made.name, made.digest, to, failure.message),))
    told = s.observed.adapters.digest(sources.revision) if s.observed.adapters else ""
    news = told != sources.adapters or (made.digest != sources.revision and withdrawn is None)
    apply = _apply(s.observed, sources, live=news, repair=repair)
    held = Cause(Reason.GATE_FAILED, withdrawn.message, GATE_FAILED.suggestion) if withdrawn else sources.held
    poll = None if outlook.rollout is None else _EVENTS_SECONDS
    return Verdict(_held(outlook, held) if held else outlook, (apply, *sources.actions), poll=poll)


def _apply(observed: Observed, sources: Sources, *, live: bool, repair: bool = False) -> Apply:
    """What pods of earlier revisions follow stays as long as there are any."""
    others = observed.adapters.files.keys() - {sources.revision} if observed.adapters else ()
    kept = sorted({replica.pod.revision for replica in observed.replicas}.intersection(others))
    key = " ".join(filter(None, (sources.revision, sources.adapters, *kept)))
    return Apply(key, live=live, repair=repair)


def _earlier(observed: Observed) -> str:
    """Revision to go back to: one that answers, else one that still has pods."""
    ranked = sorted(observed.older, key=lambda replica: replica.answers, reverse=True)
    return ranked[0].pod.revision if ranked else ""


def _held(outlook: Serving, cause: Cause) -> Serving:
    """What is asked for does not pass the gate; what answered goes on."""
    why = outlook.cause if outlook.ready else cause
    return replace(outlook, cause=why, rollout=cause, failing=True, stalled=True)


def _hindered(made: DeploymentFacts, s: Situation, by: Waiting | Blocked) -> Serving:
    """What serves goes on; what the spec asks for now cannot be made."""
    blocked, told = isinstance(by, Blocked), s.sources.told if s.sources else None
    stalled = isinstance(by, Blocked) and by.stalled
    return replace(serving(made, s.observed), rollout=by.cause, failing=blocked, stalled=stalled, told=told)


def _created() -> Cause:
    return Cause(Reason.DEPLOYMENT_CREATED, "the Deployment is created, its pods not yet")


def serving(deployment: DeploymentFacts, observed: Observed, *, adapters: str = "") -> Serving:
    """What is said of replicas."""
    answering, trouble = len(observed.answering), trouble_of(observed)
    rollout = _rollout(deployment, observed, trouble)
    if rollout is None and adapters:
        trouble = adapters_trouble(observed.newest, adapters)
        rollout = trouble.cause if trouble else None
    lasting, dead = trouble is not None and trouble.lasting, trouble is not None and trouble.dead
    return Serving(
        ready=answering > 0,
        cause=_readiness(deployment, answering, rollout),
        rollout=rollout,
        failing=rollout is not None and (lasting or deployment.overdue),
        stalled=rollout is not None and (dead or deployment.overdue),
        adapters=adapters,
    )


def _readiness(deployment: DeploymentFacts, answering: int, rollout: Cause | None) -> Cause:
    if answering:
        return Cause(Reason.ANSWERING, f"{answering} of {deployment.wanted} replicas answer")
    if not deployment.wanted:
        return Cause(Reason.SCALED_TO_ZERO, "no replica is asked for", "raise spec.replicas")
    return rollout or Cause(Reason.NOT_ANSWERING, "no replica answers")


def _rollout(deployment: DeploymentFacts, observed: Observed, trouble: Trouble | None) -> Cause | None:
    """Why not all replicas are of the newest revision, and answer; None when they are."""
    answering = sum(replica.answers for replica in observed.newest)
    if deployment.seen and not observed.older and answering == len(observed.newest) == deployment.wanted:
        return None
    cause = trouble.cause if trouble else _on_its_way(deployment, observed)
    if not deployment.overdue:
        return cause
    return Cause(
        cause.reason if trouble else Reason.ROLLOUT_OVERDUE,
        f"no headway for too long: {cause.message}",
        cause.suggestion or "look at the pods: kubectl describe pods, kubectl logs",
    )


def _on_its_way(deployment: DeploymentFacts, observed: Observed) -> Cause:
    """What the first of the newest pods that does not answer is about to do."""
    if deployment.wanted and not observed.replicas:
        return _created()
    late = [replica for replica in observed.newest if not replica.answers]
    if late:
        return _of_late(late[0])
    what = "of the newest revision" if observed.older else "there"
    text = f"{len(observed.newest)} of {deployment.wanted} replicas are {what} and answer"
    return Cause(Reason.ROLLING_OUT, text)


def _of_late(replica: Replica) -> Cause:
    if not replica.pod.scheduled:
        return Cause(Reason.DEPLOYMENT_CREATED, "a pod waits for a node")
    if not replica.pod.running_since:
        return Cause(Reason.STARTING, "pulling the image, mounting the volumes")
    return _PHASES.get((replica.report or {}).get("phase"), _LOADING)
