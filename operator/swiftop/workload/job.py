"""The Job of one attempt, the little of it that may change, and what it was made with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.workload import Lifecycle
from swiftop.model.kind import Pinned
from swiftop.model.verdict import Create
from swiftop.runner.causes import DOCUMENTED_EXIT_CODES
from swiftop.runner.protocol import PLAN_VARIABLE, Plan
from swiftop.workload.meta import child_labels, owner_references
from swiftop.workload.pods import Pod, decoded, pod_template

Object = dict[str, Any]

NO_DEADLINE = 2_147_483_647
"""A deadline that was taken back after the start: a field of a Job can be raised by apply, not removed."""


def attempt_job(pod: Pod, create: Create, *, lifecycle: Lifecycle, digest: str) -> Object:
    """Job of one attempt: one reservation of GPUs, in which a pod is one execution.

    Only exit codes that the runner documents say that the work itself has failed.
    """
    owner, ranks = pod.owner, pod.spec.resources.nodes
    spec: Object = {
        "backoffLimit": 0,
        "completions": ranks,
        "parallelism": ranks,
        "completionMode": "Indexed" if ranks > 1 else "NonIndexed",
        # A pod that still stands may still write: its successor waits for its end.
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": _failure_rules(pod)},
        "template": pod_template(pod),
    }
    if lifecycle.active_deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = lifecycle.active_deadline_seconds
    metadata: Object = {
        "name": names.job_name(owner.DEFINITION.resource, owner.metadata.name, create.attempt),
        "namespace": owner.metadata.namespace,
        "labels": {**child_labels(owner), names.LABEL_ATTEMPT: str(create.attempt)},
        "annotations": _annotations(owner.metadata.generation, create, digest),
        "ownerReferences": owner_references(owner),
    }
    return {"apiVersion": names.JOB.api_version, "kind": names.JOB.kind, "metadata": metadata, "spec": spec}


def _failure_rules(pod: Pod) -> list[Object]:
    """A pod that is taken away (drain, preemption) is replaced in the same Job, which so keeps its place in a queue.

    Of several ranks the end of one is that of the attempt.
    """
    replace_pods = pod.replaceable and pod.spec.resources.nodes == 1
    disrupted = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    codes = {"containerName": names.CONTAINER, "operator": "In", "values": sorted(DOCUMENTED_EXIT_CODES)}
    return [*([disrupted] if replace_pods else []), {"action": "FailJob", "onExitCodes": codes}]


def _annotations(generation: int, create: Create, digest: str) -> dict[str, str]:
    """What cannot be derived again, where no lost status write can lose it. A file that is only previewed has none."""
    numbers = {
        names.ANNOTATION_GENERATION: generation,
        names.ANNOTATION_RETRIES: create.retries,
        names.ANNOTATION_GPU_SECONDS: create.gpu_seconds,
    }
    told = {name: str(number) for name, number in numbers.items() if number}
    retry = {names.ANNOTATION_RETRY_OF: create.retry_of} if create.retry_of else {}
    return {names.ANNOTATION_DIGEST: digest, **told, **retry}


def changes(job: Mapping[str, Any], lifecycle: Lifecycle) -> Object | None:
    """What may change after a Job's creation and is to, as an object to apply; None when there is nothing."""
    known, wanted = job["spec"], lifecycle.active_deadline_seconds
    deadline = NO_DEADLINE if wanted is None else wanted
    if known.get("activeDeadlineSeconds", NO_DEADLINE) == deadline:
        return None
    return _applied(job, {"activeDeadlineSeconds": deadline})


def expiry(job: Mapping[str, Any], ttl_seconds: int | None) -> Object | None:
    """The time to live of a Job whose result is recorded, as an object to apply; None when it has it, or none is asked.

    Never before: Kubernetes would delete a Job whose end nobody has seen.
    """
    if ttl_seconds is None or job["spec"].get("ttlSecondsAfterFinished") == ttl_seconds:
        return None
    # What an earlier apply set and this one leaves out would be removed.
    deadline = {name: job["spec"][name] for name in ("activeDeadlineSeconds",) if name in job["spec"]}
    return _applied(job, {"ttlSecondsAfterFinished": ttl_seconds, **deadline})


def _applied(job: Mapping[str, Any], spec: Object) -> Object:
    meta = job["metadata"]
    return {
        "apiVersion": names.JOB.api_version,
        "kind": names.JOB.kind,
        "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
        "spec": spec,
    }


def pinned_of(job: Mapping[str, Any], plan: Plan | None) -> Pinned | None:
    """What a Job was made with, ``plan`` being its `plan_of`; None for a Job whose template is not at hand."""
    main = _main_container(job)
    if main is None:
        return None
    return Pinned(
        image=main.get("image", ""),
        swift_version=(plan.swift_version or "") if plan else "",
        command=shlex.join(plan.command) if plan else "",
        digest=(job["metadata"].get("annotations") or {}).get(names.ANNOTATION_DIGEST, ""),
    )


def plan_of(job: Mapping[str, Any]) -> Plan | None:
    """The runner's plan in a Job; None for a Job whose template is not at hand."""
    main = _main_container(job)
    if main is None:
        return None
    return decoded(next((env.get("value", "") for env in main.get("env", ()) if env["name"] == PLAN_VARIABLE), ""))


def _main_container(job: Mapping[str, Any]) -> Mapping[str, Any] | None:
    containers = job["spec"].get("template", {}).get("spec", {}).get("containers", ())
    return next((container for container in containers if container["name"] == names.CONTAINER), None)
