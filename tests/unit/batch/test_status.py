"""The members of a status that all kinds have that end: what is derived anew, and what is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from swiftop.batch.conditions import COMMON
from swiftop.batch.observe import Observed
from swiftop.batch.situation import Recorded
from swiftop.batch.status import OVERTAKEN, present, recorded, status_of
from swiftop.model.conditions import by_type
from swiftop.model.facts import Cause
from swiftop.model.kind import Frame, Pinned
from swiftop.model.verdict import Blocked, Create, Failed, Finished, Outlook, Phase, Suspended, Waiting
from swiftop.runner.protocol import UploadedDataset
from tests.support.objects import sftrun
from tests.unit.batch.facts import (
    COMPLETE,
    DONE,
    EVICTED,
    FAILED,
    JOB,
    JOB_CREATED,
    LOST,
    NEW,
    PLACED,
    RUNS,
    START,
    at,
    ended,
    interruption,
)

RUNNING = Waiting(Phase.RUNNING, Cause("Running", "it works"))
LOADING = Waiting(Phase.RUNNING, Cause("Loading", "it prepares"))
HELD = Waiting(Phase.PENDING, Cause("JobSuspended", "by a queue"), resuming=True)
STARTING = Waiting(Phase.STARTING, Cause("Starting", "on its way"))
PENDING = Waiting(Phase.PENDING, JOB_CREATED)
RESUMING = replace(PENDING, resuming=True)
BROKEN = Cause("HubUnreachable", "no hub", "use a mirror", "last lines")
RETRYING = Waiting(Phase.PENDING, Cause("HubUnreachable", "no hub; attempt 2 follows"), resuming=True, failed=BROKEN)
STOPPED = Suspended(Cause("Suspended", "by spec.suspend"))
STOPPING = Suspended(Cause("Stopping", "by spec.suspend"))
DONE_WELL = Finished("MaxSteps", "10 of 10")
BROKE = Failed(BROKEN)
INVALID = Blocked(Cause("UnknownFlag", "what is --x"), stalled=True)


def obj_of(previous: dict[str, Any] | None = None) -> dict[str, Any]:
    return {**sftrun(meta={"creationTimestamp": at(0), "generation": 3}), "status": previous or {}}


def status(
    outlook: Outlook,
    observed: Observed | None = None,
    previous: dict[str, Any] | None = None,
    *,
    now: float = 100,
    gpus: int | None = 4,
    reported: bool = False,
    before: Observed | None = None,
    **frame: Any,
) -> dict[str, Any]:
    observed = observed if observed is not None else Observed(JOB, (RUNS,))
    made: Frame[Any, Observed] = Frame(
        obj=obj_of(previous),
        resource=None,
        outlook=outlook,
        observed=observed,
        before=before if before is not None else observed,
        now=START + now,
        **frame,
    )
    return present(status_of(made, types=(), aspects={}, reported=reported, warning="", gpus=gpus))


def but(found: dict[str, Any], *names: str) -> dict[str, Any]:
    """Without these members."""
    return {name: value for name, value in found.items() if name not in names}


def test_a_status_whole() -> None:
    found = status(RUNNING)
    assert but(found, "conditions") == {
        "state": "Running",
        "observedGeneration": 3,
        "attempts": 1,
        "startTime": at(10),
        "gpuSeconds": 4 * 98,
    }
    assert [condition["type"] for condition in found["conditions"]] == list(COMMON)
    assert {condition["observedGeneration"] for condition in found["conditions"]} == {3}
    assert json.loads(json.dumps(found)) == found


def test_a_status_whole_at_the_end() -> None:
    previous = {"attempts": 2, "retries": 1, "startTime": at(5), "gpuSeconds": 1000, "nextAttempt": 2}
    job = replace(FAILED, attempt=2, retries=1)
    found = status(BROKE, Observed(job, (ended(7),)), previous, now=500)
    assert but(found, "conditions") == {
        "state": "Failed",
        "observedGeneration": 3,
        "attempts": 2,
        "retries": 1,
        "startTime": at(5),
        "completionTime": at(100),
        "gpuSeconds": 1000,
        "failure": {
            "reason": "HubUnreachable", "message": "no hub", "suggestion": "use a mirror", "log": "last lines",
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("outlook", "reported", "state"),
    [
        (INVALID, False, "Invalid"),
        (Blocked(Cause("InvalidSpec", "a field"), stalled=True), False, "Invalid"),
        (Blocked(Cause("UnsupportedVersion", "9.9"), stalled=True), False, "Invalid"),
        (Blocked(Cause("ImageMissing", "no image"), stalled=True), False, "Pending"),  # the platform can heal it too
        (Blocked(Cause("InvalidDefaults", "a key"), stalled=True), False, "Pending"),
        (Blocked(Cause("NameConflict", "another"), stalled=False), False, "Pending"),
        (PENDING, False, "Pending"),
        (PENDING, True, "Resuming"),
        (RESUMING, False, "Resuming"),
        (HELD, False, "Suspended"),
        (HELD, True, "Suspended"),
        (STARTING, False, "Preparing"),
        (STARTING, True, "Resuming"),
        (LOADING, False, "Preparing"),
        (LOADING, True, "Resuming"),  # the report is that of an earlier pod
        (replace(LOADING, resuming=True), False, "Resuming"),
        (RUNNING, False, "Running"),  # before the first step, and where nobody can be heard
        (RUNNING, True, "Running"),
        (STOPPED, True, "Suspended"),
        (STOPPING, True, "Stopping"),
        (DONE_WELL, True, "Succeeded"),
        (BROKE, True, "Failed"),
    ],
)
def test_the_printed_word(outlook: Outlook, *, reported: bool, state: str) -> None:
    assert status(outlook, Observed(JOB, (RUNS,)), reported=reported)["state"] == state


# Times


@pytest.mark.parametrize(
    ("observed", "previous", "started"),
    [
        (Observed(JOB), {}, None),  # the Job alone is no start
        (Observed(JOB, (NEW,)), {}, None),
        (Observed(JOB, (PLACED,)), {}, None),
        (Observed(JOB, (RUNS,)), {}, at(10)),
        (Observed(JOB, (ended(1),)), {}, at(10)),  # it was over before it was seen to run
        (Observed(JOB, (replace(RUNS, running_since=at(70)),)), {"startTime": at(10)}, at(10)),
        (Observed(), {"startTime": at(10)}, at(10)),
    ],
)
def test_the_start_is_that_of_the_first_container(
    observed: Observed, previous: dict[str, Any], started: str | None
) -> None:
    assert status(PENDING, observed, previous).get("startTime") == started


@pytest.mark.parametrize(
    ("outlook", "job", "previous", "completed"),
    [
        (RUNNING, JOB, {}, None),
        (STOPPED, JOB, {}, None),
        (DONE_WELL, COMPLETE, {}, at(100)),
        (DONE_WELL, COMPLETE, {"completionTime": at(99)}, at(99)),
        (DONE_WELL, JOB, {}, at(500)),  # a sidecar still keeps the pod
    ],
)
def test_the_end_has_a_time_that_stays(outlook: Outlook, job: Any, previous: Any, completed: str | None) -> None:
    assert status(outlook, Observed(job, (DONE,)), previous, now=500).get("completionTime") == completed


# What cannot be derived again


def test_attempts_and_retries_survive_what_was_not_written_and_what_is_gone() -> None:
    job = replace(JOB, attempt=3, retries=2)
    assert but(status(PENDING, Observed(job)), "conditions") == {
        "state": "Pending", "observedGeneration": 3, "attempts": 3, "retries": 2,
    }  # fmt: skip
    gone = status(RESUMING, Observed(), {"attempts": 3, "retries": 2, "startTime": at(1)})
    assert (gone["attempts"], gone["retries"]) == (3, 2)


@pytest.mark.parametrize(
    ("outlook", "observed", "following", "previous", "expected"),
    [
        (STOPPING, Observed(JOB, (RUNS,)), Create(2), {}, (2, None)),
        (RETRYING, Observed(JOB, (EVICTED,)), Create(2, retries=1), {}, (2, 1)),
        (STOPPING, Observed(replace(JOB, deleting=True)), Create(2), {"nextAttempt": 2}, (2, None)),
        (STOPPED, Observed(), None, {"nextAttempt": 2}, (2, None)),
        (RESUMING, Observed(), None, {"nextAttempt": 2, "retries": 1}, (2, 1)),
        (RESUMING, Observed(replace(JOB, deleting=True)), None, {"nextAttempt": 2}, (2, None)),
        # its successor is there
        (PENDING, Observed(replace(JOB, attempt=2)), None, {"nextAttempt": 2}, (None, None)),
        (BROKE, Observed(), None, {"nextAttempt": 2}, (None, None)),
    ],
)
def test_the_next_attempt_is_written_down_until_it_is_there(
    outlook: Outlook,
    observed: Observed,
    following: Create | None,
    previous: dict[str, Any],
    expected: tuple[int | None, int | None],
) -> None:
    found = status(outlook, observed, previous, following=following)
    assert (found.get("nextAttempt"), found.get("retries")) == expected


def test_what_is_recorded_comes_back() -> None:
    known = interruption("p", step=5, kept=3)
    conditions = [{"type": "Suspended", "status": "False", "lastTransitionTime": at(40)}]
    previous = {
        "attempts": 2, "retries": 1, "nextAttempt": 3, "startTime": at(10), "gpuSeconds": 70,
        "interruptions": [known.to_status()], "conditions": conditions,
    }  # fmt: skip
    assert recorded(obj_of(previous), Observed(), gpus=None, now=START) == Recorded(
        attempts=2,
        retries=1,
        started=at(10),
        following=3,
        waiting_since=at(40),
        gpu_seconds=70,
        interruptions=(known,),
    )
    assert recorded(obj_of(), Observed(), gpus=None, now=START) == Recorded(waiting_since=at(0))


@pytest.mark.parametrize(("reason", "doing"), [("Running", "it works"), ("InsufficientGPU", "")])
def test_what_was_said_last_comes_back(reason: str, doing: str) -> None:
    summary = {"type": "Succeeded", "status": "Unknown", "reason": reason, "message": "it works"}
    stopped = {"type": "Suspended", "status": "True", "lastTransitionTime": at(40)}
    obj = obj_of({"conditions": [summary, stopped], "output": {"claimName": "c", "path": "p"}})
    assert recorded(obj, Observed(), gpus=None, now=START) == Recorded(
        suspended=True, said="it works", doing=doing, waiting_since=at(40), output=True
    )


def test_what_is_recorded_is_brought_up_to_date_with_what_is_observed() -> None:
    """The next attempt is made of it in the same moment, before any status is written."""
    previous = {"attempts": 3, "retries": 1, "startTime": at(5), "gpuSeconds": 70, "checkpoint": {"step": 8}}
    job = replace(FAILED, attempt=4, retries=2, gpu_seconds=60)
    assert recorded(obj_of(previous), Observed(job, (EVICTED,)), gpus=4, now=START + 100) == Recorded(
        attempts=4,
        retries=2,
        started=at(5),
        waiting_since=at(0),
        gpu_seconds=60 + 4 * 88,
        interruptions=(interruption("a", kept=8),),
    )


def test_an_attempt_that_is_followed_at_once_is_not_lost() -> None:
    """What is written after the next Job is made tells of the pods of the one before, too."""
    after = Observed(replace(JOB, attempt=2, uid="j2", gpu_seconds=4 * 88))
    found = status(RESUMING, after, {"attempts": 1, "startTime": at(10)}, before=Observed(FAILED, (EVICTED,)))
    assert (found["attempts"], found["gpuSeconds"]) == (2, 4 * 88)
    assert found["interruptions"] == [{"time": at(90), "cause": "Evicted", "pod": "a"}]


def test_interruptions_are_written_and_not_those_that_suspend_makes() -> None:
    found = status(RESUMING, Observed(JOB, (EVICTED,)), {"checkpoint": {"step": 8}})
    assert found["interruptions"] == [{"time": at(90), "cause": "Evicted", "pod": "a", "checkpointStep": 8}]
    stopped = {"conditions": [{"type": "Suspended", "status": "False", "reason": "NotSuspended", "message": "",
                               "lastTransitionTime": at(60)}]}  # fmt: skip
    assert "interruptions" not in status(RUNNING, Observed(JOB, (RUNS,), previous=(LOST,)), stopped)


# GPU seconds


@pytest.mark.parametrize(
    ("observed", "previous", "expected"),
    [
        (Observed(JOB, (NEW,)), None, None),
        (Observed(JOB, (PLACED,)), None, 4 * 98),  # they are held from the moment that it has a node
        (Observed(COMPLETE, (DONE,)), None, 4 * 88),
        (Observed(JOB, (EVICTED, replace(RUNS, name="b", uid="b", scheduled_at=at(95)))), None, 4 * (88 + 5)),
        (Observed(replace(JOB, gpu_seconds=1000), (RUNS,)), 1000, 1000 + 4 * 98),  # of the attempts before
        (Observed(replace(JOB, gpu_seconds=1000)), 1200, 1200),  # its pods are gone
        (Observed(), 1200, 1200),
        (Observed(JOB, (ended(1, finished=""),)), None, None),  # nobody knows when it ended
    ],
)
def test_gpu_seconds_add_up_over_pods_and_attempts(
    observed: Observed, previous: int | None, expected: int | None
) -> None:
    before = {} if previous is None else {"gpuSeconds": previous}
    assert status(RUNNING, observed, before).get("gpuSeconds") == expected


def test_a_run_without_gpus_holds_none_and_an_unread_spec_tells_what_was_known() -> None:
    assert "gpuSeconds" not in status(RUNNING, gpus=0)
    assert status(RUNNING, previous={"gpuSeconds": 7}, gpus=None)["gpuSeconds"] == 7


# Resolved

MADE = Pinned(
    "image",
    "4.6",
    "python -m x",
    source={"claimName": "c", "path": "p", "uid": "u"},
    datasets=(UploadedDataset("chats", "modelscope", "me/chats", "4f1c"),),
)
RESOLVED = {
    "image": "image",
    "swiftVersion": "4.6",
    "command": "python -m x",
    "source": {"claimName": "c", "path": "p", "uid": "u"},
    "datasets": [{"upload": "chats", "hub": "modelscope", "repo": "me/chats", "revision": "4f1c"}],
}


def test_what_a_job_was_made_with_is_pinned_by_the_start_alone() -> None:
    first = status(PENDING, Observed(JOB), pinned=MADE)
    assert first["resolved"] == RESOLVED
    # An edit has replaced the Job that waited.
    edited = status(PENDING, Observed(JOB), first, pinned=replace(MADE, image="other", source={}, datasets=()))
    assert edited["resolved"] == {"image": "other", "swiftVersion": "4.6", "command": "python -m x"}
    started = {**first, "startTime": at(10)}
    assert status(PENDING, Observed(JOB), started, pinned=replace(MADE, image="other"))["resolved"] == RESOLVED
    assert status(RUNNING, Observed(JOB), started)["resolved"] == RESOLVED


# Failure


def test_a_run_that_waits_for_a_retry_says_why() -> None:
    found = status(RETRYING, Observed(FAILED, (ended(7),)))
    assert found["failure"] == {
        "reason": "HubUnreachable", "message": "no hub", "suggestion": "use a mirror", "log": "last lines",
    }  # fmt: skip
    assert (found["state"], "completionTime" in found) == ("Resuming", False)
    assert "failure" not in status(RUNNING, previous=found)
    assert "failure" not in status(DONE_WELL, previous=found)


def test_the_log_of_a_failure_is_its_end() -> None:
    found = status(Failed(replace(BROKEN, suggestion="", log="x" * 5000 + "end")))
    assert found["failure"].keys() == {"reason", "message", "log"}
    assert (len(found["failure"]["log"]), found["failure"]["log"][-3:]) == (2048, "end")


# An edit in the moment of the start

MADE_FROM = replace(JOB, digest="one", generation=2)


def validated(found: dict[str, Any]) -> str:
    message: str = by_type(found)["Validated"]["message"]
    return message


@pytest.mark.parametrize(
    ("job", "previous", "digest", "told"),
    [
        (MADE_FROM, {}, "two", True),
        (MADE_FROM, {}, "one", False),
        (MADE_FROM, {}, "", False),  # it was not asked for
        (replace(MADE_FROM, generation=3), {}, "two", False),  # the platform's defaults alone have changed
        (replace(MADE_FROM, digest=""), {}, "two", False),  # nobody knows what it was made from
        (MADE_FROM, {"startTime": at(10)}, "two", False),  # the API server refuses an edit by now
    ],
)
def test_an_edit_in_the_moment_of_the_start_is_told(job: Any, previous: Any, digest: str, *, told: bool) -> None:
    found = status(RUNNING, Observed(job, (RUNS,)), previous, digest=digest)
    assert validated(found) == (OVERTAKEN if told else "")
    later = status(RUNNING, Observed(job, (RUNS,)), found)
    assert validated(later) == validated(found)
