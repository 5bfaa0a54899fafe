"""A deployment merged with the platform's defaults, checked as a whole and rendered."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from swiftop import names
from swiftop.api.parse import parse
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.modeldeployment import FIELD_OF_FLAG, ModelDeployment, ModelDeploymentSpec
from swiftop.api.validate import problems
from swiftop.errors import Invalid, Problem
from swiftop.kinds.modeldeployment import gate, source
from swiftop.kinds.modeldeployment.command import command, flags
from swiftop.kinds.modeldeployment.source import Found, Resolved
from swiftop.model.conditions import by_type
from swiftop.model.facts import Cause, DeploymentFacts
from swiftop.model.kind import Facts, World
from swiftop.model.verdict import Blocked, Waiting
from swiftop.observe.deployments import deployment_facts
from swiftop.reasons import ConditionType
from swiftop.serving.decide import Sources
from swiftop.serving.observe import Observed
from swiftop.swift import check
from swiftop.swift.releases import table
from swiftop.workload.resolve import image_missing, merged

# Members of the spec that change no pod.
_OUTSIDE = frozenset({"replicas", "autoscaling", "service", "rollout"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that the children are made of."""

    deployment: ModelDeployment
    spec: ModelDeploymentSpec  # with the defaults in it
    found: Mapping[str, Found]
    command: tuple[str, ...]
    runner_config_map: str
    resolved: Mapping[str, Any]  # what stays until the digest changes
    replicas: int
    digest: str
    made: DeploymentFacts | None = None  # what is there in place of the revision that is asked for


def sources(deployment: ModelDeployment, facts: Facts[ModelDeployment, Observed]) -> Sources:
    """What is to be served, as far as the other objects tell it now."""
    status = facts.obj.get("status") or {}
    # What the last status says of another name, before an edit, is not said of this one.
    said = by_type(status).get(ConditionType.MODEL_READY, {})
    known = said.get("reason", "") if said.get("observedGeneration") == deployment.metadata.generation else ""
    observed = facts.observed.deployment
    pins = source.pinned_by(status, observed.resolved if observed else "")
    resolved = _resolved(deployment, facts.references, pins, known=known)
    missing = next((one for one in resolved.found.values() if isinstance(one, Waiting | Blocked)), None)
    if missing is not None:
        return Sources(missing=missing)
    found = {ref: one for ref, one in resolved.found.items() if isinstance(one, Found)}
    told = _told(deployment, facts, found)
    return Sources(revision=revision(deployment, found), held=resolved.held, told=told)


def _told(deployment: ModelDeployment, facts: Facts[ModelDeployment, Observed], found: Mapping[str, Found]) -> Any:
    namespace = deployment.metadata.namespace
    told = (
        source.told(wanted, facts.references.get(wanted.reference(namespace)), found.get(wanted.ref))
        for wanted in source.wanted_of(deployment)
    )
    return next((one for one in told if one is not None), None)


class _All(NamedTuple):
    """All that the spec refers to, and why some of it is still what it was."""

    found: dict[str, Resolved]
    held: Cause | None


def _resolved(
    deployment: ModelDeployment, references: Mapping[Any, Any], pins: Mapping[str, Found], *, known: str = ""
) -> _All:
    namespace, follow = deployment.metadata.namespace, deployment.spec.rollout.follow
    found: dict[str, Resolved] = {}
    held: Cause | None = None
    for wanted in source.wanted_of(deployment):
        other, pinned = references.get(wanted.reference(namespace)), pins.get(wanted.ref)
        now = source.resolve(wanted, other, pinned, follow=follow, known=known)
        if isinstance(now, Found) and (shut := gate.shut(deployment, now, pinned)) is not None:
            held = held or (shut if pinned else None)
            now = pinned or Blocked(shut, stalled=True)
        found[wanted.ref] = now
    return _All(found, held)


def revision(deployment: ModelDeployment, found: Mapping[str, Found]) -> str:
    """Digest of all that decides what a pod is: the same as long as none of it changes.

    The platform's defaults are none of it: what serves stays with those that it was made with. What has its default
    value does not count, so that an upgrade which knows more fields gives the same.
    """
    content = deployment.spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    spec = {name: value for name, value in content.items() if name not in _OUTSIDE}
    if deployment.spec.gate_prompts:
        spec["gate"] = content["rollout"]["gate"]["prompts"]  # what is asked in the pods
    identities = sorted(one.identity for one in found.values())
    return hashlib.sha256(json.dumps([spec, identities], sort_keys=True).encode()).hexdigest()[:10]


def prepare(deployment: ModelDeployment, world: World[Defaults]) -> Prepared:
    """Merge, check and render; raises ``Invalid`` with all mistakes at once."""
    known = [deployment_facts(one) for one in world.children.get(names.DEPLOYMENT, ())]
    made = next((one for one in known if one.owner_uid == deployment.metadata.uid), None)
    found = _found(deployment, world, source.pinned_by(world.previous, made.resolved if made else ""))
    digest = revision(deployment, found)
    kept = _kept(made.resolved) if made and made.digest == digest else None
    defaults, runner = kept or (world.defaults, world.runner_config_map)
    spec = merged(deployment.spec, defaults)
    words = _checked(deployment, spec, found)
    return Prepared(
        deployment=deployment,
        spec=spec,
        found=found,
        command=words,
        runner_config_map=runner,
        resolved={
            "image": spec.runtime.image,
            "swiftVersion": spec.runtime.swift_version,
            "command": shlex.join(words),
            "runner": runner,
            "defaults": defaults.model_dump(mode="json", by_alias=True, exclude_defaults=True),
            "sources": [one.recorded() for one in found.values()],
        },
        replicas=_replicas(spec, made.wanted if made else None),
        digest=digest,
        made=made if made and made.withdrawn and made.withdrawn.revision == digest else None,
    )


def _found(deployment: ModelDeployment, world: World[Defaults], pins: Mapping[str, Found]) -> dict[str, Found]:
    resolved, namespace = _resolved(deployment, world.references, pins).found, deployment.metadata.namespace
    found = {}
    for wanted in source.wanted_of(deployment):
        one = resolved[wanted.ref]
        other = world.references.get(wanted.reference(namespace))
        found[wanted.ref] = one if isinstance(one, Found) else source.presumed(wanted, other)
    return found


def _kept(resolved: str) -> tuple[Defaults, str] | None:
    """Defaults and runner that the pods were made with; None when it cannot be read: anybody may write it."""
    told = source.resolved_of(resolved)
    runner = told.get("runner")
    try:
        defaults = parse(Defaults, told.get("defaults") or {})
    except Invalid:
        return None
    return (defaults, runner) if isinstance(runner, str) and runner else None


def _replicas(spec: ModelDeploymentSpec, running: int | None) -> int:
    """With an autoscaler it is its business, once the Deployment is there."""
    scaling = spec.autoscaling
    if scaling is None:
        return spec.replicas
    return min(max(spec.replicas if running is None else running, scaling.min), scaling.max)


def _checked(deployment: ModelDeployment, spec: ModelDeploymentSpec, found: Mapping[str, Found]) -> tuple[str, ...]:
    """The command, once nothing is wrong with the spec."""
    wrong: list[Problem] = list(problems(deployment))
    try:
        known = table(spec.runtime.swift_version or "", "deploy")
    except Invalid as error:
        raise Invalid((*wrong, *error.problems)) from None
    if spec.runtime.image is None:
        wrong.append(image_missing(known.version))
    typed = flags(spec, name=deployment.served_name, table=known, found=found)
    wrong += check.rendered(typed, known, field_of=FIELD_OF_FLAG)
    wrong += check.extra_args(spec.engine_args, known, "spec.engineArgs")
    if wrong:
        raise Invalid(tuple(dict.fromkeys(wrong)))
    return command(typed, spec)


def warnings(deployment: ModelDeployment) -> tuple[Problem, ...]:
    """What is allowed, and may not be what was meant."""
    spec, found = deployment.spec, gate.warnings(deployment)
    if spec.api_key is None and spec.service.type != "ClusterIP":
        text = "whoever reaches the Service may ask: there is no key"
        found.append(Problem("spec.apiKey", text, "name a key of a Secret in spec.apiKey"))
    return tuple(found)
