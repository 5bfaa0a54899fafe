"""A deployment merged with the platform's defaults, checked as a whole and rendered."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from swiftop import names
from swiftop.api.parse import parse
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.modeldeployment import FIELD_OF_FLAG, ModelDeployment, ModelDeploymentSpec
from swiftop.api.validate import problems
from swiftop.errors import Invalid, Problem
from swiftop.kinds.modeldeployment import engine_args, gate, live, merge, own_server, source
from swiftop.kinds.modeldeployment.command import command, flags
from swiftop.kinds.modeldeployment.source import Found
from swiftop.kinds.modeldeployment.sources import resolve, revision
from swiftop.model.facts import DeploymentFacts
from swiftop.model.kind import Object, World
from swiftop.observe.deployments import deployment_facts
from swiftop.runner.protocol import NATIVE, SWIFT
from swiftop.serving.observe import made_for
from swiftop.swift import check
from swiftop.swift.releases import table
from swiftop.workload.resolve import merged, missing_images


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that the children are made of."""

    deployment: ModelDeployment
    spec: ModelDeploymentSpec  # with the defaults in it
    found: Mapping[str, Found]
    command: tuple[str, ...]
    native: tuple[str, ...]  # that of the engine's own server; empty when it is not to be started
    swift_only: str  # why Auto takes ms-swift's all the same, as a word
    runner_config_map: str
    resolved: Mapping[str, Any]  # what stays until the digest changes
    replicas: int
    digest: str
    files: Mapping[str, str] = field(default_factory=dict)  # of the adapters that the pods follow
    before: tuple[Object, ...] = ()  # what has to be merged first, for a preview
    made: DeploymentFacts | None = None  # what is there in place of the revision that is asked for


def prepare(deployment: ModelDeployment, world: World[Defaults]) -> Prepared:
    """Merge, check and render; raises ``Invalid`` with all mistakes at once."""
    known = [deployment_facts(one) for one in world.children.get(names.DEPLOYMENT, ())]
    made = next((one for one in known if one.owner_uid == deployment.metadata.uid), None)
    told = live.facts_of(world.children, deployment.metadata.uid)
    pins = source.pinned_by(world.previous, made.resolved if made else "", told.resolved if told else None)
    found = _found(deployment, world, pins)
    before = _merged_first(deployment, found)
    digest = revision(deployment, found)
    kept = _kept(made.resolved) if made and made.digest == digest else None
    defaults, runner = kept or (world.defaults, world.runner_config_map)
    spec = merged(deployment.spec, defaults)
    rendered = _checked(deployment, spec, found)
    return Prepared(
        deployment=deployment,
        spec=spec,
        found=found,
        command=rendered.command,
        native=rendered.native,
        swift_only=rendered.swift_only,
        runner_config_map=runner,
        resolved={
            "image": spec.runtime.image,
            "swiftVersion": spec.runtime.swift_version,
            "command": shlex.join(rendered.native if spec.server == NATIVE else rendered.command),
            "runner": runner,
            "defaults": defaults.model_dump(mode="json", by_alias=True, exclude_defaults=True),
            "sources": [one.recorded() for one in live.of_the_model(deployment.spec, found).values()],
        },
        replicas=_replicas(spec, made.wanted if made else None),
        digest=digest,
        files=live.files(live.text_of(deployment.spec, found), digest, told, live.running(deployment, world.children)),
        before=before,
        made=made if made and made.withdrawn and made.withdrawn.revision == digest else None,
    )


def _found(deployment: ModelDeployment, world: World[Defaults], pins: Mapping[str, Found]) -> dict[str, Found]:
    exports = made_for(deployment.metadata.uid, world.children)
    resolved = resolve(deployment, world.references, pins, exports).found
    namespace = deployment.metadata.namespace
    found = {}
    for wanted in source.wanted_of(deployment):
        one = resolved[wanted.ref]
        other = world.references.get(wanted.reference(namespace))
        found[wanted.ref] = one if isinstance(one, Found) else source.presumed(wanted, other)
    return found


def _merged_first(deployment: ModelDeployment, found: dict[str, Found]) -> tuple[Object, ...]:
    """For a preview alone: what has to be merged, with ``found`` as it is after that."""
    adapters = {ref: one for ref, one in found.items() if one.unmerged}
    found.update({ref: merge.presumed(deployment, one) for ref, one in adapters.items()})
    return tuple(merge.child(deployment, one) for one in adapters.values())


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


@dataclass(frozen=True, slots=True)
class _Rendered:
    command: tuple[str, ...]
    native: tuple[str, ...] = ()
    swift_only: str = ""


def _checked(deployment: ModelDeployment, spec: ModelDeploymentSpec, found: Mapping[str, Found]) -> _Rendered:
    """The commands, once nothing is wrong with the spec."""
    wrong: list[Problem] = list(problems(deployment))
    try:
        known = table(spec.runtime.swift_version or "", "deploy")
    except Invalid as error:
        raise Invalid((*wrong, *error.problems)) from None
    wrong += missing_images(spec, known.version)
    typed = flags(
        spec, name=deployment.served_name, table=known, found=found, adapters=not live.is_live(deployment.spec)
    )
    wrong += check.rendered(typed, known, field_of=FIELD_OF_FLAG)
    written = {name: words for name, words in typed.items() if name != "model_type" or spec.model.type}
    wrong += check.registered(written, spec.engine_args, known, field_of=FIELD_OF_FLAG, path="spec.engineArgs")
    wrong += engine_args.problems(spec, known)
    ids = {"spec.model.id": spec.model.id}
    ids |= {f"spec.adapters[{index}].id": adapter.id for index, adapter in enumerate(spec.adapters)}
    wrong += check.owned(ids, spec.model.hub, hub_field="model.hub")
    if wrong:
        raise Invalid(tuple(dict.fromkeys(wrong)))
    words = command(typed, spec)
    if spec.server == SWIFT:
        return _Rendered(words)
    if spec.engine == "transformers":
        return _Rendered(words, swift_only=own_server.NO_OWN_SERVER)
    if engine_args.of_swift_alone(spec):
        return _Rendered(words, swift_only=own_server.SWIFT_FLAGS)
    return _Rendered(words, own_server.own_command(spec, name=deployment.served_name, table=known, found=found))


def warnings(deployment: ModelDeployment) -> tuple[Problem, ...]:
    """What is allowed, and may not be what was meant."""
    spec = deployment.spec
    found = [*gate.warnings(deployment), *_parallel(spec), *_merged(spec)]
    if spec.api_key is None and spec.service.type != "ClusterIP":
        text = "whoever reaches the Service may ask: there is no key"
        found.append(Problem("spec.apiKey", text, "name a key of a Secret in spec.apiKey"))
    if spec.engine == "vllm" and not spec.resources.gpus and spec.runtime.image is None:
        text = "without a GPU vLLM needs an image of its own, server-vllm-cpu, and none is named"
        found.append(
            Problem("spec.runtime.image", text, "name it here (images/README.md), unless it is the platform's own")
        )
    return tuple(found)


def _parallel(spec: ModelDeploymentSpec) -> Iterator[Problem]:
    """GPUs that nothing uses, or that cannot share the layers of a usual model."""
    gpus = spec.resources.gpus
    wanted = gpus if spec.tensor_parallel_size is None else spec.tensor_parallel_size
    if spec.engine == "transformers" or gpus < 2 or any("parallel" in arg.name for arg in spec.engine_args):
        return
    if wanted < gpus:
        text = f"each replica takes {gpus} GPUs and uses {wanted} of them"
        yield Problem("spec.tensorParallelSize", text, "set resources.gpus to as many, or remove tensorParallelSize")
    if wanted & (wanted - 1):
        text = f"few models have attention heads that can be shared among {wanted} GPUs, and the engine refuses others"
        yield Problem("spec.tensorParallelSize", text, "use 2, 4 or 8 GPUs unless you know that yours can")


def _merged(spec: ModelDeploymentSpec) -> Iterator[Problem]:
    """A volume for the merged model that the replicas of one node alone can mount."""
    volume = spec.merge.output.volume if spec.merge and spec.merge.output else None
    if volume is None or volume.access_mode == "ReadWriteMany":
        return
    if max(spec.replicas, spec.autoscaling.max if spec.autoscaling else 0) > 1:
        text = f"a {volume.access_mode} volume is mounted on one node: replicas on others wait for it for ever"
        advice = "use ReadWriteMany where the storage class can, or one replica"
        yield Problem("spec.merge.output.volume.accessMode", text, advice)
