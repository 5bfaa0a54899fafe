"""Children of an SFTRun: its volume, its headless Service and the Job of an attempt."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.data import OutputVolume
from swiftop.api.v1alpha1.sftrun import SFTRun, SFTRunSpec
from swiftop.build.defaults import Defaults, image_missing, merged
from swiftop.build.meta import child_labels, owner, run_labels
from swiftop.build.plan import decoded
from swiftop.build.pods import pod_template
from swiftop.errors import Invalid
from swiftop.runner.protocol import PLAN_VARIABLE

Object = dict[str, Any]

NO_DEADLINE = 2_147_483_647
"""A deadline that was taken back after the start: a field of a Job can be raised by apply, not removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What besides the run goes into its children."""

    runner_config_map: str
    defaults: Defaults = field(default_factory=Defaults)
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What an attempt was really made with, read back from its Job."""

    image: str
    swift_version: str
    command: str
    generation: int = 0  # of the spec; 0 when it is not known


def build(run: SFTRun, context: Context) -> list[Object]:
    """Children in the order in which they are made, the Job last. Raises ``Invalid`` for what cannot be made."""
    spec = merged(run.spec, context.defaults)
    if spec.runtime.image is None:
        raise Invalid((image_missing(spec.runtime.swift_version or ""),))
    children = []
    if spec.output.volume is not None:
        children.append(_claim(run, spec.output.volume))
    if spec.resources.nodes > 1:
        children.append(_service(run))
    return [*children, _job(run, spec, context)]


def _claim(run: SFTRun, volume: OutputVolume) -> Object:
    """A retained volume has no owner, so that it outlives the run, and a later run of the name finds it by label."""
    metadata: Object = {
        "name": names.output_claim_name(run.metadata.name),
        "namespace": run.metadata.namespace,
        "labels": run_labels(run),
    }
    if volume.retain == "Delete":
        metadata["ownerReferences"] = owner(run)
    spec: Object = {"accessModes": [volume.access_mode], "resources": {"requests": {"storage": volume.size}}}
    if volume.storage_class_name:
        spec["storageClassName"] = volume.storage_class_name
    return {"apiVersion": names.PVC.api_version, "kind": names.PVC.kind, "metadata": metadata, "spec": spec}


def _service(run: SFTRun) -> Object:
    return {
        "apiVersion": names.SERVICE.api_version,
        "kind": names.SERVICE.kind,
        "metadata": {
            "name": names.service_name(run.metadata.name),
            "namespace": run.metadata.namespace,
            "labels": child_labels(run),
            "ownerReferences": owner(run),
        },
        "spec": {
            "clusterIP": "None",
            # Ranks must find rank 0 before any of them can be ready.
            "publishNotReadyAddresses": True,
            "selector": {names.LABEL_NAME: run.metadata.name, names.LABEL_UID: run.metadata.uid},
        },
    }


def _job(run: SFTRun, spec: SFTRunSpec, context: Context) -> Object:
    nodes, attempt = spec.resources.nodes, context.attempt
    job: Object = {
        "backoffLimit": 0,
        "completions": nodes,
        "parallelism": nodes,
        "completionMode": "Indexed" if nodes > 1 else "NonIndexed",
        # A pod that still stands may still write: its successor waits for its end.
        "podReplacementPolicy": "Failed",
        "template": pod_template(run, spec, attempt=attempt, runner_config_map=context.runner_config_map),
    }
    if spec.lifecycle.active_deadline_seconds is not None:
        job["activeDeadlineSeconds"] = spec.lifecycle.active_deadline_seconds
    if nodes == 1 and spec.checkpoints.resume == "Auto":
        # A pod that is taken away (drain, preemption) is replaced in the same Job and goes on from its checkpoint.
        disrupted = [{"type": "DisruptionTarget", "status": "True"}]
        job["podFailurePolicy"] = {"rules": [{"action": "Ignore", "onPodConditions": disrupted}]}
    metadata: Object = {
        "name": names.job_name(run.metadata.name, attempt),
        "namespace": run.metadata.namespace,
        "labels": {**child_labels(run), names.LABEL_ATTEMPT: str(attempt)},
        "ownerReferences": owner(run),
    }
    if run.metadata.generation:  # a file that is only previewed has none
        metadata["annotations"] = {names.ANNOTATION_GENERATION: str(run.metadata.generation)}
    return {"apiVersion": names.JOB.api_version, "kind": names.JOB.kind, "metadata": metadata, "spec": job}


def deadline(job: Mapping[str, Any], seconds: int | None) -> Object | None:
    """The one change that a Job may need after its creation, as an object to apply; None when it has it already."""
    wanted = NO_DEADLINE if seconds is None else seconds
    if job["spec"].get("activeDeadlineSeconds", NO_DEADLINE) == wanted:
        return None
    meta = job["metadata"]
    return {
        "apiVersion": names.JOB.api_version,
        "kind": names.JOB.kind,
        "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
        "spec": {"activeDeadlineSeconds": wanted},
    }


def resolved_of(job: Mapping[str, Any]) -> Resolved | None:
    """What a Job was made with; None for a Job whose template is not at hand."""
    containers = job["spec"].get("template", {}).get("spec", {}).get("containers", ())
    trainer = next((c for c in containers if c["name"] == names.CONTAINER), None)
    if trainer is None:
        return None
    value = next((env.get("value", "") for env in trainer.get("env", ()) if env["name"] == PLAN_VARIABLE), "")
    plan = decoded(value)
    generation = (job["metadata"].get("annotations") or {}).get(names.ANNOTATION_GENERATION, "")
    return Resolved(
        image=trainer.get("image", ""),
        swift_version=(plan.swift_version or "") if plan else "",
        command=shlex.join(plan.command) if plan else "",
        generation=int(generation) if generation.isdecimal() else 0,
    )
