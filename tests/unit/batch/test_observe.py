"""Facts of the newest attempt out of the store and live answers, and what is still to be asked."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop import names
from swiftop.batch.observe import Observed, asks, observe
from swiftop.model.kind import Ask, Object, Reading, Seen
from swiftop.runner.report import TRAINING, Accelerated
from tests.support.objects import UID, sftrun
from tests.unit.batch.facts import LOST, START, at


def job(attempt: int = 1, *, owner: str = UID, uid: str = "", **status: Any) -> Object:
    return {
        "metadata": {
            "name": f"run-{attempt}",
            "uid": uid or f"j{attempt}",
            "labels": {names.LABEL_ATTEMPT: str(attempt)},
            "ownerReferences": [{"uid": owner, "controller": True}],
        },
        "status": status,
    }


def pod(name: str, attempt: int = 1, *, made_by: str = "", seconds: float = 0, index: int = 0, **status: Any) -> Object:
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "creationTimestamp": at(seconds),
            "labels": {names.LABEL_UID: UID, names.LABEL_ATTEMPT: str(attempt)},
            "annotations": {"batch.kubernetes.io/job-completion-index": str(index)},
            "ownerReferences": [{"uid": made_by or f"j{attempt}", "controller": True}],
        },
        "status": status,
    }


def seen(
    *, jobs: tuple[Object, ...] = (), pods: tuple[Object, ...] = (), status: Object | None = None, **more: Any
) -> Seen:
    obj = {**sftrun(), "status": status or {}}
    return Seen(obj=obj, now=START + 100, children={names.JOB: jobs, names.POD: pods}, **more)


def of(what: Seen) -> Observed:
    return observe(what, members=TRAINING)


def test_the_newest_attempt_counts_and_only_what_is_its_own() -> None:
    copied = pod("copy", 2)
    del copied["metadata"]["ownerReferences"]  # as kubectl debug makes it
    pods = (pod("old", 1), pod("b", 2, seconds=9), pod("a", 2), pod("other", 2, made_by="j9"), copied)
    found = of(seen(jobs=(job(1), job(2), job(3, owner="somebody")), pods=pods))
    assert found.job is not None
    assert (found.job.name, [pod.name for pod in found.pods]) == ("run-2", ["a", "b"])
    assert found.leader is not None
    assert found.leader.name == "b"  # the newest of its rank
    assert of(seen(jobs=(job(1, owner="somebody"),), pods=pods)) == Observed()


def test_an_older_attempt_does_not_stand_in_for_one_that_is_gone() -> None:
    jobs = (job(1, **OVER), job(2, **OVER))
    older = of(seen(jobs=jobs, pods=(pod("a", 2),), status={"attempts": 3}))
    assert older == Observed()
    newest = of(seen(jobs=(*jobs, job(3)), status={"attempts": 3}))
    unwritten = of(seen(jobs=(*jobs, job(3)), status={"attempts": 2}))
    assert newest.job is not None
    assert (newest.job.name, unwritten) == ("run-3", newest)


def test_the_first_container_that_is_known_of_says_when_it_started() -> None:
    ran: dict[str, Any] = {
        "containerStatuses": [{"name": "swift", "state": {"terminated": {"startedAt": at(5), "exitCode": 1}}}]
    }
    runs: dict[str, Any] = {"containerStatuses": [{"name": "swift", "state": {"running": {"startedAt": at(50)}}}]}
    both = seen(jobs=(job(),), pods=(pod("a", **ran), pod("b", seconds=40, **runs)))
    assert of(both).started == at(5)
    assert of(seen(jobs=(job(),), pods=(pod("a"),))).started == ""


RUNNING: dict[str, Any] = {"containerStatuses": [{"name": "swift", "state": {"running": {"startedAt": at(50)}}}]}


def test_what_the_pod_of_rank_0_said() -> None:
    pods = (pod("a", **RUNNING), pod("z", index=1, **RUNNING))
    readings = {"a": Reading({"step": 3}, previous=(LOST,)), "z": Reading({"step": 9})}
    found = of(seen(jobs=(job(),), pods=pods, reading=readings.get))
    assert (found.heard, found.report, found.previous, found.reachable) == ({"step": 3}, {"step": 3}, (LOST,), True)
    deaf = of(seen(jobs=(job(),), pods=pods, reading={"a": Reading(None, reachable=False)}.get))
    assert (deaf.heard, deaf.reachable) == (None, False)
    not_started = of(seen(jobs=(job(),), pods=(pod("a"),), reading={"a": Reading(None, reachable=False)}.get))
    assert not_started.reachable


def test_a_termination_message_is_newer_than_the_last_pull() -> None:
    message = (
        '{"outcome": "finished", "reason": "MaxSteps", "progress": {"step": 10, "previous": '
        '[{"pod": "gone", "time": 1800000050, "reason": "Lost"}]}}'
    )
    state = {"terminated": {"exitCode": 0, "message": message}}
    ended = pod("a", phase="Succeeded", containerStatuses=[{"name": "swift", "state": state}])
    found = of(seen(jobs=(job(),), pods=(ended,), reading={"a": Reading({"step": 9})}.get))
    assert (found.report, found.heard) == ({"step": 10}, {"step": 9})
    assert [one.pod for one in found.previous] == ["gone"]


def test_what_the_pod_told_of_its_acceleration() -> None:
    active, not_active = Accelerated(active=True), Accelerated(active=False)
    runs, heard = pod("a", **RUNNING), {"a": Reading({"step": 9}, acceleration=active)}
    assert of(seen(jobs=(job(),), pods=(runs,), reading=heard.get)).acceleration == active
    assert of(seen(jobs=(job(),), pods=(runs,))).acceleration is None

    def ended(progress: str) -> dict[str, Any]:
        message = f'{{"outcome": "finished", "reason": "MaxSteps", "progress": {progress}}}'
        state = {"terminated": {"exitCode": 0, "message": message}}
        return pod("a", phase="Succeeded", containerStatuses=[{"name": "swift", "state": state}])

    told = ended('{"acceleration": {"active": false}}')
    assert of(seen(jobs=(job(),), pods=(told,), reading=heard.get)).acceleration == not_active
    assert of(seen(jobs=(job(),), pods=(told,))).acceleration == not_active
    assert of(seen(jobs=(job(),), pods=(ended("{}"),), reading=heard.get)).acceleration == active


def questions(what: Seen) -> tuple[Ask, ...]:
    return asks(of(what), what, job_name="run-2", claim_name="run-output")


TOLD = [{"name": "swift", "state": {"terminated": {"exitCode": 1, "message": '{"outcome": "failed"}'}}}]
MUTE = [{"name": "swift", "state": {"terminated": {"exitCode": 1}}}]
OVER: dict[str, Any] = {"conditions": [{"type": "Failed", "status": "True"}]}
POD_ASK = Ask("children", names.POD, uid=UID)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (seen(), ()),
        (seen(status={"attempts": 2}), (Ask("object", names.JOB, "run-2"),)),  # the store may be behind
        (seen(jobs=(job(**OVER),)), (POD_ASK,)),
        (seen(jobs=(job(**OVER),), pods=(pod("a", phase="Running"),)), (POD_ASK,)),
        (seen(jobs=(job(**OVER),), pods=(pod("a", phase="Failed", containerStatuses=MUTE),)), (POD_ASK,)),
        (seen(jobs=(job(**OVER),), pods=(pod("a", phase="Failed", containerStatuses=TOLD),)), ()),
        (seen(jobs=(job(startTime=at(1)),)), (Ask("warnings", names.JOB, "run-1", "j1"),)),
        (seen(jobs=(job(startTime=at(1), active=1),), pods=(pod("a"),)), ()),
    ],
)
def test_what_is_asked_live(what: Seen, expected: tuple[Ask, ...]) -> None:
    assert questions(what) == expected


def test_live_answers_are_newer_than_the_store() -> None:
    lookup = Ask("object", names.JOB, "run-2")
    assert of(seen(status={"attempts": 2}, answers={lookup: ()})) == Observed()
    there = of(seen(status={"attempts": 2}, answers={lookup: (job(2),)}))
    assert there.job is not None
    assert there.job.name == "run-2"
    fresh = pod("a", phase="Failed", containerStatuses=TOLD)
    found = of(seen(jobs=(job(**OVER),), pods=(pod("a", phase="Running"),), answers={POD_ASK: (fresh,)}))
    assert [one.phase for one in found.pods] == ["Failed"]


def test_events_explain_what_the_status_does_not() -> None:
    ask = Ask("warnings", names.JOB, "run-1", "j1")
    event = {"reason": "FailedCreate", "message": "Error creating: exceeded quota: gpus", "lastTimestamp": at(5)}
    found = of(seen(jobs=(job(startTime=at(1)),), answers={ask: (event,)}))
    assert found.obstacle is not None
    assert found.obstacle.reason == "QuotaExceeded"
