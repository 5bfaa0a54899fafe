"""Which object is asked for its events, and what they tell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from swiftop import names
from swiftop.batch.observe import Observed
from swiftop.model.facts import Cause, JobFacts, PodFacts
from swiftop.model.times import seconds_of
from swiftop.observe.events import Question, obstacle_of, question_of, refusal

NOW = seconds_of("2027-01-15T08:10:00Z")
JOB = JobFacts(name="run-1", uid="j", owner_uid="r", attempt=1, started=True)
POD = PodFacts(
    name="p", uid="p", index=0, created="2027-01-15T08:00:00Z", phase="Pending", scheduled=True,
    scheduled_at="2027-01-15T08:00:01Z",
)  # fmt: skip
CLAIM = {"metadata": {"name": "run-output", "uid": "c"}}
VOLUME_PENDING = Cause("VolumePending", "waiting for a volume")


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        (Observed(), None),
        (Observed(replace(JOB, started=False)), None),  # its controller has not come to it yet
        (Observed(replace(JOB, active=1)), None),  # the pod exists, its watch event is under way
        (Observed(JOB), "j"),
        (Observed(replace(JOB, failed=True)), None),
        (Observed(replace(JOB, deleting=True)), None),
        (Observed(JOB, (POD,)), "p"),
        (Observed(JOB, (replace(POD, scheduled_at="2027-01-15T08:09:55Z"),)), None),  # mounting takes its time
        (Observed(JOB, (replace(POD, running_since="2027-01-15T08:00:05Z"),)), None),
        (Observed(JOB, (replace(POD, waiting=VOLUME_PENDING),)), None),  # the kubelet has told already
        (Observed(JOB, (replace(POD, scheduled=False, unschedulable=VOLUME_PENDING),)), "c"),
    ],
)
def test_events_are_asked_for_only_where_a_question_is_open(observed: Observed, expected: str | None) -> None:
    question = question_of(observed.job, observed.pods, observed.current, CLAIM, now=NOW)
    assert (question.uid if question else None) == expected


def told(kind: names.Resource, *events: tuple[str, str, str]) -> Cause | None:
    known: list[dict[str, Any]] = [
        {"reason": reason, "message": message, "lastTimestamp": time} for reason, message, time in events
    ]
    return obstacle_of(Question(kind, "x", "u"), known)


def test_the_newest_known_event_counts() -> None:
    cause = told(
        names.JOB,
        ("FailedCreate", "Error creating: exceeded quota: old", "2027-01-15T08:00:00Z"),
        ("FailedCreate", "Error creating: exceeded quota: new", "2027-01-15T08:05:00Z"),
        ("SuccessfulCreate", "Created pod", "2027-01-15T08:06:00Z"),
    )
    assert cause is not None
    assert cause.message == "Error creating: exceeded quota: new".removeprefix("Error creating: ")
    assert told(names.JOB, ("SuccessfulCreate", "Created pod", "")) is None


def test_a_series_counts_by_its_last_time() -> None:
    old = {"reason": "FailedCreate", "message": "exceeded quota: a", "eventTime": "2027-01-15T08:00:00Z"}
    series = {**old, "message": "exceeded quota: b", "series": {"lastObservedTime": "2027-01-15T09:00:00.123456Z"}}
    middle = {**old, "message": "exceeded quota: c", "eventTime": "2027-01-15T08:30:00Z", "lastTimestamp": None}
    cause = obstacle_of(Question(names.JOB, "x", "u"), [series, middle, old])
    assert cause is not None
    assert cause.message.endswith("b")


@pytest.mark.parametrize(
    ("message", "reason", "quoted"),
    [
        (
            'MountVolume.SetUp failed for volume "v" : configmap "c" not found',
            "ConfigMapMissing",
            "ConfigMap c does not",
        ),
        (
            'MountVolume.SetUp failed for volume "v" : configmap references non-existent config key: k.json',
            "ConfigMapMissing",
            "no key k.json",
        ),
        ("Unable to attach or mount volumes: timed out", "VolumeMountFailed", "timed out"),
    ],
)
def test_a_volume_that_is_not_mounted(message: str, reason: str, quoted: str) -> None:
    cause = told(names.POD, ("FailedMount", message, "2027-01-15T08:00:00Z"))
    assert cause is not None
    assert cause.reason == reason
    assert quoted in cause.message


VAGUE = "Unable to attach or mount volumes: timed out"
MISSING = 'configmap "c" not found'


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([(MISSING, "08:00"), (VAGUE, "08:02")], "ConfigMapMissing"),
        ([(VAGUE, "08:02"), (MISSING, "08:00"), ('secret "s" not found', "08:01")], "SecretMissing"),
        ([(MISSING, "08:00"), (VAGUE, "08:30")], "VolumeMountFailed"),  # long made, or it would have been repeated
    ],
)
def test_what_is_missing_counts_more_than_a_vague_word(events: list[tuple[str, str]], reason: str) -> None:
    cause = told(names.POD, *(("FailedMount", said, f"2027-01-15T{time}:00Z") for said, time in events))
    assert cause is not None
    assert cause.reason == reason


@pytest.mark.parametrize(
    ("said", "reason", "advice"),
    [
        ('jobs.batch is forbidden: User "u" cannot create resource "jobs"', "MissingPermission", "manifests/base"),
        ("unable to create new content in namespace team because it is being terminated", "PodRefused", "namespace"),
        ("maximum memory usage per Container is 1Gi", "PodRefused", "limitrange"),
    ],
)
def test_each_refusal_has_its_own_advice(said: str, reason: str, advice: str) -> None:
    cause = refusal(said)
    assert cause.reason == reason
    assert advice in cause.suggestion
