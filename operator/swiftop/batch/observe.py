"""Facts of one object's newest attempt, out of its Jobs and pods."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from swiftop import names
from swiftop.model.facts import Cause, End, JobFacts, Observed, Outcome, PodFacts, Progress
from swiftop.model.times import seconds_of, text_of
from swiftop.observe.events import Question, obstacle_of, question_of, refusal
from swiftop.observe.jobs import attempt_of, job_facts, owner_uid
from swiftop.observe.pods import pod_facts
from swiftop.observe.report import outcome_of, progress_of, tail

__all__ = [
    "Cause",
    "End",
    "JobFacts",
    "Observed",
    "Outcome",
    "PodFacts",
    "Progress",
    "Question",
    "attempt_of",
    "job_facts",
    "observe",
    "obstacle_of",
    "outcome_of",
    "owner_uid",
    "pod_facts",
    "progress_of",
    "question_of",
    "refusal",
    "seconds_of",
    "tail",
    "text_of",
]


def observe(
    *, uid: str, jobs: Iterable[dict[str, Any]], pods: Iterable[dict[str, Any]], gpu_resource: str = "nvidia.com/gpu"
) -> Observed:
    """Facts of the run's newest attempt. Objects of another run of the same name (or of nobody) are left out."""
    own = [facts for job in jobs if (facts := job_facts(job)).owner_uid == uid]
    job = max(own, key=lambda facts: facts.attempt, default=None)
    if job is None:
        return Observed()
    executions = [pod_facts(pod, gpu_resource=gpu_resource) for pod in pods if _belongs(pod, uid, job)]
    return Observed(job, tuple(sorted(executions, key=lambda pod: (pod.created, pod.name))))


def _belongs(pod: dict[str, Any], uid: str, job: JobFacts) -> bool:
    """By label, and made by the Job: a copy of the pod, as for debugging, carries the same labels."""
    meta = pod["metadata"]
    labels = meta.get("labels") or {}
    return labels.get(names.LABEL_UID) == uid and attempt_of(meta) == job.attempt and owner_uid(pod) == job.uid
