"""What is left to do with the children of an object: while it works, and once it is over."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop import names
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.kinds.sftrun.kind import KIND
from swiftop.model.kind import Object
from swiftop.model.verdict import Delete
from tests.support.objects import UID, sftrun


def job(
    number: int = 1, *, owner: str = UID, spec: Object | None = None, meta: Object | None = None, **status: Any
) -> Object:
    return {
        "metadata": {
            "name": f"run-{number}",
            "namespace": "team",
            "uid": f"j{number}",
            "ownerReferences": [{"uid": owner, "controller": True}],
            **(meta or {}),
        },
        "spec": spec or {},
        "status": status,
    }


def over(type_: str = "Complete") -> list[Object]:
    return [{"type": type_, "status": "True"}]


def applied(number: int = 1, **spec: Any) -> Object:
    meta = {"name": f"run-{number}", "namespace": "team"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}


STOP = Delete(names.JOB, "run-1", "j1")


@pytest.mark.parametrize(
    ("jobs", "ttl", "expected"),
    [
        ((), 60, []),
        ((job(),), None, [STOP]),  # it holds GPUs though the run is over
        ((job(),), 60, [STOP]),
        ((job(meta={"deletionTimestamp": "x"}),), 60, []),
        ((job(owner="another"),), 60, []),
        ((job(conditions=over()),), None, []),
        ((job(conditions=over()),), 60, [applied(ttlSecondsAfterFinished=60)]),
        ((job(conditions=over(), spec={"ttlSecondsAfterFinished": 60}),), 60, []),
        (
            (job(conditions=over("Failed")), job(2, conditions=over())),
            60,
            [applied(ttlSecondsAfterFinished=60), applied(2, ttlSecondsAfterFinished=60)],
        ),
    ],
)
def test_the_children_of_what_is_over(jobs: tuple[Object, ...], ttl: int | None, expected: list[Any]) -> None:
    lifecycle = {} if ttl is None else {"ttlSecondsAfterFinished": ttl}
    assert KIND.cleanup(sftrun(lifecycle=lifecycle), {names.JOB: jobs}) == expected


def test_an_object_of_another_version_is_cleaned_up_too() -> None:
    assert KIND.cleanup({"metadata": {"uid": UID}}, {names.JOB: (job(),)}) == [STOP]


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ((job(spec={"activeDeadlineSeconds": 60}),), [applied(activeDeadlineSeconds=3600)]),
        ((job(spec={"activeDeadlineSeconds": 3600}),), []),
        ((job(spec={"activeDeadlineSeconds": 60}, conditions=over()),), []),
        ((job(spec={"activeDeadlineSeconds": 60}, owner="another"),), []),
    ],
)
def test_a_deadline_may_change_while_the_job_works(jobs: tuple[Object, ...], expected: list[Object]) -> None:
    run = SFTRun.from_object(sftrun(lifecycle={"activeDeadlineSeconds": 3600}))
    assert KIND.changes(run, {names.JOB: jobs}) == expected


@pytest.mark.parametrize(("index", "asked"), [("0", True), ("1", False), (None, True)])
def test_rank_0_is_asked_how_far_the_work_is(index: str | None, *, asked: bool) -> None:
    annotations = {} if index is None else {"batch.kubernetes.io/job-completion-index": index}
    assert KIND.reports({"metadata": {"annotations": annotations}}) is asked
