"""What the status of a deployment has beside what all kinds have that serve: names, address, sources, adapters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftop.api.v1alpha1.modeldeployment import ModelDeployment
from swiftop.kinds.modeldeployment import live, source
from swiftop.kinds.modeldeployment.source import reference_of
from swiftop.model.conditions import Aspect, as_before, by_type, told
from swiftop.model.facts import Cause, Report
from swiftop.model.kind import Frame, Status
from swiftop.model.verdict import Blocked, Outlook, Serving, Waiting
from swiftop.reasons import SOURCE, ConditionType, Reason
from swiftop.serving.kind import Own
from swiftop.serving.observe import Observed, Replica
from swiftop.serving.trouble import adapters_trouble
from swiftop.workload.deployment import selector

VOLATILE = frozenset({"firstTokenSeconds", "tokensPerSecond", "serving", "display"})
_Before = Mapping[str, Mapping[str, Any]]


def own(frame: Frame[ModelDeployment, Observed]) -> Own:
    """Members and conditions of a deployment."""
    before = by_type(frame.previous)
    aspects: dict[str, Aspect] = {
        ConditionType.MODEL_READY: _model_ready(frame.outlook, frame.observed, before),
        ConditionType.ADAPTERS_LOADED: _adapters_loaded(frame, before),
    }
    return Own(members=_members(frame), aspects=aspects)


def _members(frame: Frame[ModelDeployment, Observed]) -> Status:
    deployment, previous = frame.resource, frame.previous
    if deployment is None:
        return {name: previous.get(name) for name in ("url", "servedNames", "selector", "resolved", "display")}
    meta, port = deployment.metadata, deployment.spec.service.port
    return {
        "url": f"http://{meta.name}.{meta.namespace}.svc:{port}/v1",
        "servedNames": list(deployment.served_names),
        "selector": ",".join(f"{key}={value}" for key, value in sorted(selector(deployment).items())),
        "resolved": _resolved(frame),
        "display": _display(deployment, frame.observed),
    }


def _resolved(frame: Frame[ModelDeployment, Observed]) -> Status | None:
    """As the Deployment has it; of one that is gone what was known."""
    made, known = frame.observed.deployment, frame.previous.get("resolved")
    told_ = source.resolved_of(made.resolved) if made else {}
    if not told_:
        return known
    if frame.resource is not None and live.is_live(frame.resource.spec):
        told_ = {**told_, "sources": _with_followed(_sources(told_), frame.observed, known or {})}
    found: Status = {name: told_.get(name) for name in ("image", "swiftVersion", "command", "sources")}
    return {name: value for name, value in found.items() if value}


def _with_followed(sources: list[Any], observed: Observed, known: Status) -> list[Any]:
    """With those of the adapters that the pods follow; without their ConfigMap nothing else tells of them."""
    if observed.adapters is not None:
        return sources + _sources(source.resolved_of(observed.adapters.resolved))
    refs = [one.get("ref") for one in sources if isinstance(one, Mapping)]
    return sources + [one for one in _sources(known) if one["ref"] not in refs]


def _sources(told_: Mapping[str, Any]) -> list[Any]:
    sources = told_.get("sources")
    return sources if isinstance(sources, list) else []


def _display(deployment: ModelDeployment, observed: Observed) -> Status:
    wanted = observed.deployment.wanted if observed.deployment else deployment.spec.replicas
    speeds = [(replica.report or {}).get("tokensPerSecond") for replica in observed.answering]
    known = [speed for speed in speeds if isinstance(speed, int | float)]
    texts = {
        "replicas": f"{len(observed.answering)}/{wanted}",
        "model": _model(deployment),
        "names": ",".join(deployment.served_names),
        "tokensPerSecond": f"{sum(known):.3g}" if known else "",
    }
    return {name: text for name, text in texts.items() if text}


def _model(deployment: ModelDeployment) -> str:
    model = deployment.spec.model
    if ref := reference_of(model):
        return ref.partition("/")[2]
    claim = model.persistent_volume_claim
    return f"{claim.claim_name}/{claim.path}".rstrip("/") if claim else model.id or ""


def _model_ready(outlook: Outlook, observed: Observed, before: _Before) -> Aspect:
    """Whether there is something to serve."""
    cause = _cause(outlook)
    if cause is not None and cause.reason in SOURCE:
        return told("False", cause)
    if isinstance(outlook, Serving) and outlook.told is not None:
        return told("True", outlook.told)
    shut = cause is not None and cause.reason == Reason.GATE_FAILED  # it is there, and not let through
    there = shut or observed.deployment is not None
    return Aspect("True", Reason.READY) if there else as_before(before, ConditionType.MODEL_READY)


def _cause(outlook: Outlook) -> Cause | None:
    match outlook:
        case Serving(rollout=cause):
            return cause
        case Waiting(cause=cause) | Blocked(cause=cause):
            return cause
    return None


def _adapters_loaded(frame: Frame[ModelDeployment, Observed], before: _Before) -> Aspect:
    """Of the newest revision; as long as nothing of it answers, what was known of the one before counts for little.

    Of adapters that come and go while it serves each replica has to say that it has taken them, as the spec has them.
    """
    deployment, observed = frame.resource, frame.observed
    if deployment is None:
        return as_before(before, ConditionType.ADAPTERS_LOADED)
    follows = live.is_live(deployment.spec)
    wanted = frame.outlook.adapters if isinstance(frame.outlook, Serving) else ""
    for replica in observed.newest:
        if follows and replica.answers and (replica.report or {}).get("adapters") != wanted:
            continue  # what it says is of adapters that are not those of the spec any more
        if report := _of_bad_adapter(replica):
            why = report.get("badAdapterWhy") or "its pod tells why"
            text = f"adapter {report['badAdapter']} does not load in pod {replica.pod.name}: {why}"
            return Aspect("False", Reason.ADAPTER_NOT_LOADED, text)
    if not deployment.spec.adapters:
        return Aspect("True", Reason.NO_ADAPTERS)
    if follows and wanted and any(replica.answers for replica in observed.newest):
        missing = adapters_trouble([replica for replica in observed.newest if replica.answers], wanted)
        return told("Unknown", missing.cause) if missing else Aspect("True", Reason.ADAPTERS_LOADED)
    if not follows and any(map(_answers_all, observed.newest)):
        return Aspect("True", Reason.ADAPTERS_LOADED)
    return Aspect("Unknown", Reason.PENDING)


def _of_bad_adapter(replica: Replica) -> Report:
    """What the container says of one, or what the one before it said, until the model is loaded again."""
    last = replica.pod.ended or replica.pod.before
    before = last.outcome.report if last and last.outcome and not (replica.loaded or replica.answers) else {}
    return next((report for report in (replica.report or {}, before) if report.get("badAdapter")), {})


def _answers_all(replica: Replica) -> bool:
    """That a pod is ready says so, too: it is not before each of its names has answered."""
    report = replica.report or {}
    return replica.answers or (bool(report.get("names")) and report.get("names") == report.get("answering"))
