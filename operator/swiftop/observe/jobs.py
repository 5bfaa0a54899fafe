"""Facts of a Job. Read from what the store keeps: metadata and status, never the pod template."""

from __future__ import annotations

from typing import Any

from swiftop import names
from swiftop.model.facts import JobFacts


def job_facts(job: dict[str, Any]) -> JobFacts:
    """Facts of one Job."""
    meta, status = job["metadata"], job.get("status") or {}
    annotations = meta.get("annotations") or {}
    held = {c["type"]: c for c in status.get("conditions") or () if c.get("status") == "True"}
    failure, success = held.get("Failed"), held.get("Complete")
    return JobFacts(
        name=meta["name"],
        uid=meta.get("uid", ""),
        owner_uid=owner_uid(job),
        attempt=attempt_of(meta),
        created=meta.get("creationTimestamp", ""),
        digest=annotations.get(names.ANNOTATION_DIGEST, ""),
        generation=_number(annotations.get(names.ANNOTATION_GENERATION, "")),
        retries=_number(annotations.get(names.ANNOTATION_RETRIES, "")),
        gpu_seconds=_number(annotations.get(names.ANNOTATION_GPU_SECONDS, "")),
        retry_of=annotations.get(names.ANNOTATION_RETRY_OF, ""),
        started=bool(status.get("startTime")),
        active=status.get("active") or 0,
        deleting=bool(meta.get("deletionTimestamp")),
        suspended=(job.get("spec") or {}).get("suspend") is True,
        complete=success is not None,
        failed=failure is not None,
        failure_reason=failure.get("reason", "") if failure else "",
        failure_message=failure.get("message", "") if failure else "",
        finished=(failure or success or {}).get("lastTransitionTime", ""),
    )


def owner_uid(obj: dict[str, Any]) -> str:
    """UID of the controller of an object, empty when it has none."""
    owners = obj["metadata"].get("ownerReferences") or ()
    return next((owner["uid"] for owner in owners if owner.get("controller")), "")


def attempt_of(meta: dict[str, Any]) -> int:
    """Number of the attempt in the labels of a Job or Pod, 0 when there is none."""
    return _number((meta.get("labels") or {}).get(names.LABEL_ATTEMPT, ""))


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 0
