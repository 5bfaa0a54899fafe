"""Adapters that the pods follow while they serve: in a ConfigMap, and no part of the revision.

vLLM's own server loads an adapter while it answers. So of the adapters only what its start needs makes a revision, and
the rest stands in a file that the pods look at. Each revision has a file of its own: as long as a newer one takes over,
or has failed its gate, the pods of the older one keep what they were made with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.modeldeployment import ModelDeployment, ModelDeploymentSpec
from swiftop.kinds.modeldeployment.command import adapter_path, known_rank, mounted_claims, rank_of
from swiftop.kinds.modeldeployment.source import Found, reference_of
from swiftop.model.kind import Object
from swiftop.names import Resource
from swiftop.observe.adapters import FILE, AdaptersFacts, adapters_facts
from swiftop.observe.jobs import owner_uid
from swiftop.runner.protocol import NATIVE, ServedAdapter
from swiftop.runner.serve import declared
from swiftop.swift import paths

_LEAST_SLOTS = 4
_DEFAULT_RANK = 16  # vLLM's own


def is_live(spec: ModelDeploymentSpec) -> bool:
    """Whether adapters come and go without a restart. Without any vLLM starts without the means for them."""
    return spec.server == NATIVE and spec.engine == "vllm" and bool(spec.adapters)


def slots(spec: ModelDeploymentSpec) -> int:
    """Adapters that one batch may have. Each takes memory of the GPU, used or not; some are left for what comes."""
    found = _LEAST_SLOTS
    while found < len(spec.adapters):
        found *= 2
    return found


def largest_rank(spec: ModelDeploymentSpec, found: Mapping[str, Found]) -> int:
    """The least limit of vLLM that takes all ranks that are known here; the pod raises it for the others."""
    return max(_DEFAULT_RANK, declared.rank_limit(known_rank(spec.adapters, found)))


def of_the_start(spec: ModelDeploymentSpec, found: Mapping[str, Found]) -> Object:
    """What a change of the adapters cannot change in a pod that runs."""
    return {
        "claims": sorted({one.claim_name for one in found.values()}),
        "ids": sorted(adapter.id for adapter in spec.adapters if adapter.id),
        "mounted": sorted(mounted_claims(spec)),
        "rank": largest_rank(spec, found),
        "slots": slots(spec),
    }


def of_the_model(spec: ModelDeploymentSpec, found: Mapping[str, Found]) -> dict[str, Found]:
    """Results that make a revision: all of them, or that of the model alone."""
    model = reference_of(spec.model)
    return {ref: one for ref, one in found.items() if ref == model or not is_live(spec)}


def text_of(spec: ModelDeploymentSpec, found: Mapping[str, Found]) -> str:
    """The file that the pods look at; empty where they follow none."""
    if not is_live(spec):
        return ""
    return declared.text_of(declared_by(spec, found))


def declared_by(spec: ModelDeploymentSpec, found: Mapping[str, Found]) -> tuple[ServedAdapter, ...]:
    """The adapters as the pods are told of them."""
    return tuple(
        ServedAdapter(one.name, adapter_path(one, found), rank_of(one, found), _version(found.get(reference_of(one))))
        for one in spec.adapters
    )


def _version(source: Found | None) -> str | None:
    """Tells results apart that lie in the same folder one after the other."""
    return source.uid if source else None


def file_of(revision: str) -> str:
    """Path of the file of a revision in its pods."""
    return f"{paths.ADAPTERS_DIR}/{FILE.format(revision)}"


def facts_of(children: Mapping[Resource, Sequence[Object]], uid: str) -> AdaptersFacts | None:
    """The ConfigMap that is there."""
    own = [one for one in children.get(names.CONFIG_MAP, ()) if owner_uid(one) == uid]
    return adapters_facts(own[0]) if own else None


def files(text: str, revision: str, there: AdaptersFacts | None, running: Iterable[str]) -> dict[str, str]:
    """What the ConfigMap is to hold: the file of the revision that is asked for, and those of others with pods."""
    kept = {one: there.files[one] for one in sorted(set(running)) if there and one in there.files and one != revision}
    wanted = {**kept, **({revision: text} if text else {})}
    return {FILE.format(one): content for one, content in wanted.items()}


def running(deployment: ModelDeployment, children: Mapping[Resource, Sequence[Object]]) -> list[str]:
    """Revisions of the Deployment and of its pods."""
    uid = deployment.metadata.uid
    made = [
        one["metadata"].get("annotations") or {} for one in children.get(names.DEPLOYMENT, ()) if owner_uid(one) == uid
    ]
    pods: list[Any] = [pod["metadata"].get("labels") or {} for pod in children.get(names.POD, ())]
    own = [labels.get(names.LABEL_REVISION, "") for labels in pods if labels.get(names.LABEL_UID) == uid]
    return [*own, *(annotations.get(names.ANNOTATION_DIGEST, "") for annotations in made)]
