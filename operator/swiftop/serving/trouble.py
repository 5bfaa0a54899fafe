"""Why a replica does not answer, by the same diagnosis as that of a pod that works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from swiftop.model.facts import Cause, DeploymentFacts, PodFacts, Report
from swiftop.observe.ending import pod_cause, suited
from swiftop.observe.events import refusal
from swiftop.reasons import DEPENDENCIES, Reason
from swiftop.runner.advice import SERVE
from swiftop.serving.observe import Observed, Replica

# Somebody has to make or fix what is missing; a volume is mostly made a moment later.
_LACKING = (DEPENDENCIES | {Reason.CONTAINER_CONFIG_ERROR, Reason.INIT_CONTAINER_FAILED}) - {Reason.VOLUME_PENDING}
_CRASHES = 3  # restarts after which it will not come to life by itself


def gate_failure(deployment: DeploymentFacts, observed: Observed) -> Cause | None:
    """How the newest revision answered wrongly, as long as none of it was ever ready; None when it did not.

    What was let through once stays, whatever a pod that is started again makes of the same question.
    """
    if deployment.rolled_out or any(replica.answers for replica in observed.newest):
        return None
    crashes = [_crash(replica.pod) for replica in observed.newest]
    return next((cause for cause in crashes if cause is not None and cause.reason == Reason.GATE_FAILED), None)


@dataclass(frozen=True, slots=True)
class Trouble:
    """``lasting``: somebody has to do something. ``dead``: nothing that is waited for will help."""

    cause: Cause
    lasting: bool = False
    dead: bool = False


def trouble_of(observed: Observed) -> Trouble | None:
    """What keeps the newest revision from answering in all replicas; None when nothing does, or it is on its way."""
    found = [trouble for replica in observed.newest if (trouble := _of_replica(replica, observed)) is not None]
    refused = observed.deployment.refused if observed.deployment else ""
    if refused:
        found.append(Trouble(refusal(refused)))
    return max(found, key=lambda trouble: (trouble.dead, trouble.lasting), default=None)


def _of_replica(replica: Replica, observed: Observed) -> Trouble | None:
    """None for one that answers, or is on its way without a hitch."""
    pod, report = replica.pod, replica.report or {}
    crash = None if replica.loaded or not pod.scheduled else _crash(pod)
    if pod.ready:
        return None
    if crash is not None and not pod.waiting:  # what keeps it from being started again is the newer of the two
        return Trouble(crash, lasting=True, dead=pod.restarts >= _CRASHES)
    if pod.running_since:
        return _bad_adapter(report)
    cause = pod.waiting or observed.obstacle if pod.scheduled else pod.unschedulable
    return Trouble(cause, lasting=cause.reason in _LACKING) if cause else None


def _bad_adapter(report: Report) -> Trouble | None:
    name = report.get("badAdapter")
    if not name:
        return None
    text = f"adapter {name} does not load ({report.get('badAdapterWhy') or 'see the log of the pod'})"
    advice = "check what it was trained on and its files, and fix or remove it in spec.adapters"
    return Trouble(Cause(Reason.ADAPTER_NOT_LOADED, text, advice), lasting=True)


def adapters_trouble(replicas: Sequence[Replica], wanted: str) -> Trouble | None:
    """What keeps replicas that answer from serving the adapters that they are to follow; None when all of them do.

    Only what a replica says of this very set of adapters counts.
    """
    there = [replica for replica in replicas if (replica.report or {}).get("adapters") == wanted]
    bad = [trouble for replica in there if (trouble := _bad_adapter(replica.report or {})) is not None]
    if bad:
        return bad[0]
    if len(there) == len(replicas):
        return None
    return Trouble(Cause(Reason.ROLLING_OUT, f"{len(there)} of {len(replicas)} replicas have the adapters of the spec"))


def _crash(pod: PodFacts) -> Cause | None:
    """How the container ended, while it waits to be started again or is not loaded again yet."""
    if pod.before is None and pod.ended is None:
        return None
    cause = pod_cause(replace(pod, ended=pod.ended or pod.before))
    if cause is None:
        return None
    cause = suited(cause, SERVE)
    times = f" (restarted {pod.restarts} times)" if pod.restarts > 1 else ""
    return replace(cause, message=cause.message + times)
