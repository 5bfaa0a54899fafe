"""The members of a status that all kinds have that serve; a kind adds its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftop.model.conditions import Aspects, by_type, written
from swiftop.model.kind import Frame, Status
from swiftop.model.times import text_of
from swiftop.model.verdict import Blocked, Outlook, Serving
from swiftop.reasons import FAULTY, Reason, State
from swiftop.serving.conditions import COMMON, aspects_of
from swiftop.serving.observe import Observed, Replica


def status_of(frame: Frame[Any, Observed], *, types: Sequence[str], aspects: Aspects, warning: str) -> Status:
    """Common members; ``aspects`` are those of the kind's own conditions ``types``."""
    observed, deployment = frame.observed, frame.observed.deployment
    before, generation = by_type(frame.previous), frame.obj["metadata"]["generation"]
    revision = deployment.digest if deployment else ""
    common = aspects_of(frame.outlook, before=before, revision=revision, warning=warning)
    return {
        "conditions": written(
            {**common, **aspects}, (*COMMON, *types), before=before, generation=generation, now=text_of(frame.now)
        ),
        "state": str(_state(frame.outlook, observed)),
        "observedGeneration": generation,
        "replicas": deployment.replicas if deployment else 0,
        "readyReplicas": len(observed.answering),
        "firstTokenSeconds": _rounded(max(_told(observed.answering, "firstTokenSeconds"), default=None)),
        "tokensPerSecond": _rounded(_sum(_told(observed.answering, "tokensPerSecond"))),
        "serving": _serving(observed),
    }


def _serving(observed: Observed) -> Status | None:
    if not observed.answering:
        return None
    newest = observed.deployment.digest if observed.deployment else ""
    answering = [replica.pod.revision for replica in observed.answering]
    found: Status = {"revision": newest if newest in answering and not observed.older else answering[0]}
    if found["revision"] != newest:
        found["nextRevision"] = newest
    if told := _told(observed.answering, "inFlight"):
        found["inFlight"] = int(sum(told))
    return {**found, **_server(observed)}


def _server(observed: Observed) -> Status:
    """Whose server answers: of the newest revision that does, where pods may differ."""
    told = [replica.report or {} for replica in observed.answering if (replica.report or {}).get("server")]
    if not told:
        return {}
    server, why = told[-1]["server"], told[-1].get("serverWhy", "")
    return {"server": server, "serverReason": why, "serverMessage": SERVER_WHY.get(str(why), "its log tells why")}


SERVER_WHY = {
    "Asked": "the spec asks for it",
    "NoOwnServer": "the engine has no server of its own",
    "FlagsOfSwift": "spec.engineArgs has flags that only ms-swift's server knows",
    "TemplateEqual": "the model's chat template gives the prompts of the training",
    "TemplateMadeEqual": "a chat template was made that gives the prompts of the training",
    "TemplateDiffers": "the engine's own server would give other prompts than the training; the pod's log says where "
    "they part",
    "TemplateUnknown": "whether the engine's own server would give the prompts of the training cannot be told; the "
    "pod's log says why",
}


def _told(replicas: Sequence[Replica], member: str) -> list[float]:
    """What replicas say of a number."""
    said = [(replica.report or {}).get(member) for replica in replicas]
    return [value for value in said if isinstance(value, int | float)]


def _sum(numbers: Sequence[float]) -> float | None:
    return sum(numbers) if numbers else None


def _rounded(number: float | None) -> float | None:
    """To three digits: what changes in the fourth is not worth a write."""
    return None if number is None else float(f"{number:.3g}")


def _state(outlook: Outlook, observed: Observed) -> State:
    if not isinstance(outlook, Serving):
        faulty = isinstance(outlook, Blocked) and outlook.cause.reason in FAULTY
        return State.INVALID if faulty else State.PENDING
    if outlook.ready:
        return State.READY
    if not any(replica.pod.scheduled for replica in observed.replicas):
        return State.PENDING
    return State.PREPARING if outlook.cause.reason in (Reason.LOADING, Reason.STARTING) else State.NOT_READY


def pruned(status: Mapping[str, Any]) -> Status:
    """``status`` without what is not there: absent members are left out, not null."""
    return {name: value for name, value in status.items() if value not in (None, {}, "", [])}
