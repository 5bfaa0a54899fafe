"""Facts of a Deployment. Read from what the store keeps: metadata, numbers and status, never the pod template."""

from __future__ import annotations

import json
from typing import Any

from swiftop import names
from swiftop.model.facts import DeploymentFacts, Withdrawn
from swiftop.model.text import printable
from swiftop.observe.jobs import owner_uid

_OVERDUE, _ROLLED_OUT = "ProgressDeadlineExceeded", "NewReplicaSetAvailable"


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
        withdrawn=_withdrawn(annotations.get(names.ANNOTATION_WITHDRAWN, "")),
        deleting=bool(meta.get("deletionTimestamp")),
        seen=seen,
        rolled_out=seen and progressing.get("reason") == _ROLLED_OUT,
        wanted=spec.get("replicas", 1),
        replicas=status.get("replicas") or 0,
        refused=(refused.get("message") or "") if refused.get("status") == "True" else "",
        overdue=seen and progressing.get("status") == "False" and progressing.get("reason") == _OVERDUE,
    )


def _withdrawn(text: str) -> Withdrawn | None:
    """None for what is none: anybody may write it."""
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return None
    told = [found.get(name) for name in ("revision", "message")] if isinstance(found, dict) else [None]
    revision, message = told if len(told) == 2 else (None, None)
    if not isinstance(revision, str) or not isinstance(message, str):
        return None
    return Withdrawn(revision, printable(message))
