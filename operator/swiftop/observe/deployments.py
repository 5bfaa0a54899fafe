"""Facts of a Deployment. Read from what the store keeps: metadata, numbers and status, never the pod template."""

from __future__ import annotations

from typing import Any

from swiftop import names
from swiftop.model.facts import DeploymentFacts
from swiftop.observe.jobs import owner_uid

_OVERDUE = "ProgressDeadlineExceeded"


def deployment_facts(deployment: dict[str, Any]) -> DeploymentFacts:
    """Facts of one Deployment."""
    meta, spec, status = deployment["metadata"], deployment.get("spec") or {}, deployment.get("status") or {}
    annotations = meta.get("annotations") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    refused, progressing = conditions.get("ReplicaFailure", {}), conditions.get("Progressing", {})
    seen = (status.get("observedGeneration") or 0) >= (meta.get("generation") or 0)
    return DeploymentFacts(
        name=meta["name"],
        uid=meta.get("uid", ""),
        owner_uid=owner_uid(deployment),
        digest=annotations.get(names.ANNOTATION_DIGEST, ""),
        resolved=annotations.get(names.ANNOTATION_RESOLVED, ""),
        deleting=bool(meta.get("deletionTimestamp")),
        seen=seen,
        wanted=spec.get("replicas", 1),
        replicas=status.get("replicas") or 0,
        updated=status.get("updatedReplicas") or 0,
        ready=status.get("readyReplicas") or 0,
        available=status.get("availableReplicas") or 0,
        refused=(refused.get("message") or "") if refused.get("status") == "True" else "",
        overdue=seen and progressing.get("status") == "False" and progressing.get("reason") == _OVERDUE,
    )
