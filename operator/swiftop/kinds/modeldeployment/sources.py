"""All that a deployment serves of other objects: what there is, what is waited for, what has to be done first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from swiftop.api.v1alpha1.modeldeployment import ModelDeployment
from swiftop.kinds.modeldeployment import gate, live, merge, source
from swiftop.kinds.modeldeployment.source import Found, Resolved, Wanted
from swiftop.model.conditions import by_type
from swiftop.model.facts import Cause
from swiftop.model.kind import Facts, Object, Reference
from swiftop.model.verdict import Action, Blocked, Waiting
from swiftop.reasons import ConditionType
from swiftop.runner.serve import declared
from swiftop.serving.decide import Sources
from swiftop.serving.observe import Observed

# Members of the spec that change no pod, nor what is served.
_OUTSIDE = frozenset({"replicas", "autoscaling", "service", "rollout", "merge"})


@dataclass(slots=True)
class All:
    """Filled reference by reference."""

    found: dict[str, Resolved] = field(default_factory=dict)
    held: Cause | None = None  # why a newer result is not served
    told: Cause | None = None  # what is on its way
    actions: list[Action] = field(default_factory=list)
    merging: list[tuple[str, str]] = field(default_factory=list)  # UID and place of adapters that become models


def sources(deployment: ModelDeployment, facts: Facts[ModelDeployment, Observed]) -> Sources:
    """What is to be served, as far as the other objects tell it now."""
    status = facts.obj.get("status") or {}
    # What the last status says of another name, before an edit, is not said of this one.
    said = by_type(status).get(ConditionType.MODEL_READY, {})
    known = said.get("reason", "") if said.get("observedGeneration") == deployment.metadata.generation else ""
    observed, exports = facts.observed.deployment, facts.observed.exports
    told_ = facts.observed.adapters
    pins = source.pinned_by(status, observed.resolved if observed else "", told_.resolved if told_ else None)
    resolved = resolve(deployment, facts.references, pins, exports, known=known)
    missing = next((one for one in resolved.found.values() if isinstance(one, Waiting | Blocked)), None)
    if missing is not None:
        return Sources(missing=missing, actions=tuple(resolved.actions))
    found = {ref: one for ref, one in resolved.found.items() if isinstance(one, Found)}
    if facts.observed.settled:  # else a pod may still serve what an earlier revision was made of
        served = [(pin.uid, pin.made_of) for pin in pins.values()]
        resolved.actions += merge.unused(deployment, exports, [*served, *resolved.merging])
    return Sources(
        revision=revision(deployment, found),
        adapters=_digest(live.text_of(deployment.spec, found)),
        held=resolved.held,
        told=resolved.told or _told(deployment, facts, found),
        actions=tuple(resolved.actions),
    )


def resolve(
    deployment: ModelDeployment,
    references: Mapping[Reference, Object | None],
    pins: Mapping[str, Found],
    exports: Sequence[Object],
    *,
    known: str = "",
) -> All:
    """Each reference of the spec; ``pins`` has what is served already, ``exports`` what was made for it."""
    everything = All()
    for wanted in source.wanted_of(deployment):
        other, pinned = references.get(wanted.reference(deployment.metadata.namespace)), pins.get(wanted.ref)
        now = source.resolve(wanted, other, pinned, follow=deployment.spec.rollout.follow, known=known)
        if isinstance(now, Found):
            now = _let_through(deployment, now, pinned, exports, everything)
        if pinned is not None and not isinstance(now, Found):  # what serves goes on
            if isinstance(now, Blocked):
                everything.held = everything.held or now.cause
            else:
                everything.told = everything.told or now.cause
            now = pinned
        everything.found[wanted.ref] = now
    return everything


def _let_through(
    deployment: ModelDeployment, now: Found, pinned: Found | None, exports: Sequence[Object], everything: All
) -> Resolved:
    """A result that passes the gate, as a model where it is an adapter that is to be one."""
    if (shut := gate.shut(deployment, now, pinned)) is not None:
        return Blocked(shut, stalled=True)
    if not now.unmerged:
        return now
    one = merge.merged(deployment, now, exports)
    everything.actions += one.actions
    everything.merging.append((now.uid, now.place))
    return one.found


def _told(
    deployment: ModelDeployment, facts: Facts[ModelDeployment, Observed], found: Mapping[str, Found]
) -> Cause | None:
    namespace = deployment.metadata.namespace

    def one(wanted: Wanted) -> Cause | None:
        other = facts.references.get(wanted.reference(namespace))
        return source.told(wanted, other, found.get(wanted.ref))

    return next((cause for cause in map(one, source.wanted_of(deployment)) if cause is not None), None)


def _digest(text: str) -> str:
    return declared.digest(text.encode()) if text else ""


def revision(deployment: ModelDeployment, found: Mapping[str, Found]) -> str:
    """Digest of all that decides what a pod is: the same as long as none of it changes. Adapters that the pods follow
    while they serve count with what the start of the engine needs of them.

    The platform's defaults are none of it: what serves stays with those that it was made with. What has its default
    value does not count, so that an upgrade which knows more fields gives the same.
    """
    content = deployment.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    spec = {name: value for name, value in content.items() if name not in _OUTSIDE}
    if deployment.spec.gate_prompts:
        spec["gate"] = content["rollout"]["gate"]["prompts"]  # what is asked in the pods
    if live.is_live(deployment.spec):
        spec["adapters"] = live.of_the_start(deployment.spec, found)
    identities = sorted(one.identity for one in live.of_the_model(deployment.spec, found).values())
    return hashlib.sha256(json.dumps([spec, identities], sort_keys=True).encode()).hexdigest()[:10]
