"""What of a Job may change while it is there, and what it carries where no lost status write can lose it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from swiftop.api.v1alpha1.workload import Lifecycle
from swiftop.model.kind import Object
from swiftop.model.verdict import Create
from swiftop.observe.jobs import job_facts
from swiftop.workload.job import NO_DEADLINE, changes, expiry, pinned_of, plan_of
from tests.support.objects import ON_CPU, children_of, run_of


def job_of(deadline: int | None = None, *, create: Create | None = None, **meta: Any) -> Object:
    lifecycle = {} if deadline is None else {"activeDeadlineSeconds": deadline}
    return children_of(run_of({**ON_CPU, "lifecycle": lifecycle}, **meta), create=create)[-1]


def applied(**spec: Any) -> Object:
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "run-1", "namespace": "team"}, "spec": spec}


@pytest.mark.parametrize(
    ("known", "wanted", "change"),
    [
        (None, None, None),
        (3600, 3600, None),
        (3600, 60, 60),
        (None, 60, 60),
        (3600, None, NO_DEADLINE),  # apply can raise a field of a Job, not remove it
        (NO_DEADLINE, None, None),
    ],
)
def test_only_a_changed_deadline_is_applied(known: int | None, wanted: int | None, change: int | None) -> None:
    found = changes(job_of(known), Lifecycle(active_deadline_seconds=wanted))
    assert found == (None if change is None else applied(activeDeadlineSeconds=change))


@pytest.mark.parametrize(
    ("deadline", "known", "ttl", "expected"),
    [
        (None, None, None, None),
        (None, None, 600, {"ttlSecondsAfterFinished": 600}),
        (None, 600, 600, None),
        (None, 600, 60, {"ttlSecondsAfterFinished": 60}),
        (None, None, 0, {"ttlSecondsAfterFinished": 0}),
        # What an earlier apply set and a later one leaves out would be removed.
        (3600, None, 600, {"ttlSecondsAfterFinished": 600, "activeDeadlineSeconds": 3600}),
    ],
)
def test_the_time_to_live_of_a_job(
    deadline: int | None, known: int | None, ttl: int | None, expected: dict[str, int] | None
) -> None:
    job = copy.deepcopy(job_of(deadline))
    if known is not None:
        job["spec"]["ttlSecondsAfterFinished"] = known
    assert expiry(job, ttl) == (None if expected is None else applied(**expected))


def test_a_job_is_never_made_with_a_time_to_live() -> None:
    """Kubernetes would delete it before its end was seen."""
    job = children_of(run_of({**ON_CPU, "lifecycle": {"ttlSecondsAfterFinished": 0}}))[-1]
    assert "ttlSecondsAfterFinished" not in job["spec"]


def test_what_cannot_be_derived_again_stands_in_the_annotations_and_is_read_back() -> None:
    job = job_of(create=Create(4, retries=2, gpu_seconds=7200, retry_of="a-uid"), generation=7)
    digest = job["metadata"]["annotations"]["swiftop.dev/spec-digest"]
    assert job["metadata"]["annotations"] == {
        "swiftop.dev/spec-digest": digest,
        "swiftop.dev/generation": "7",
        "swiftop.dev/retries": "2",
        "swiftop.dev/gpu-seconds-before": "7200",
        "swiftop.dev/retry-of": "a-uid",
    }
    facts = job_facts(job)
    assert (facts.attempt, facts.digest, facts.generation) == (4, digest, 7)
    assert (facts.retries, facts.gpu_seconds, facts.retry_of) == (2, 7200, "a-uid")
    assert job_facts(job_of(create=Create(4))).retry_of == ""
    pinned = pinned_of(job, plan_of(job))
    assert pinned is not None
    assert pinned.digest == digest


def test_a_file_that_is_only_previewed_has_no_generation() -> None:
    assert list(job_of()["metadata"]["annotations"]) == ["swiftop.dev/spec-digest"]


@pytest.mark.parametrize("text", ["", "-1", "1.5", "many", "٣", "9" * 20])
def test_an_annotation_that_is_no_number_counts_as_absent(text: str) -> None:
    job = job_of()
    job["metadata"]["annotations"] |= {"swiftop.dev/retries": text, "swiftop.dev/gpu-seconds-before": text}
    facts = job_facts(job)
    assert (facts.retries, facts.gpu_seconds) == (0, 0)
