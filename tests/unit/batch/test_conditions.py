"""What each outlook means for each condition: every type is there, and kstatus reads the summary right."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop.batch.conditions import COMMON, aspects_of, ended
from swiftop.batch.observe import Observed
from swiftop.model.conditions import Aspect, acknowledged, by_type, told, written
from swiftop.model.facts import Cause
from swiftop.model.verdict import Blocked, Failed, Finished, Outlook, Phase, Suspended, Waiting
from tests.unit.batch.facts import JOB, PLACED, RUNS, at

RUNNING = Waiting(Phase.RUNNING, Cause("Running", "it works"))
STARTING = Waiting(Phase.STARTING, Cause("Starting", "on its way"))
PULL = Waiting(Phase.STARTING, Cause("ImagePullFailed", "no image"))
PENDING = Waiting(Phase.PENDING, Cause("InsufficientGPU", "no GPU", "wait"))
VOLUME = Waiting(Phase.PENDING, Cause("VolumePending", "no volume"))
INVALID = Blocked(Cause("UnknownFlag", "what is --x"), stalled=True)
CONFLICT = Blocked(Cause("NameConflict", "taken"), stalled=False)
QUOTA = Blocked(Cause("QuotaExceeded", "no room"), stalled=False)
SUSPENDED = Suspended(Cause("Suspended", "suspended"))
STOPPING = Suspended(Cause("Stopping", "it stops"))
DONE = Finished("MaxSteps", "10 of 10")
FAILED = Failed(Cause("DiskFull", "no space", "more space"))
OUTLOOKS: tuple[Outlook, ...] = (
    *(RUNNING, STARTING, PULL, PENDING, VOLUME, INVALID, CONFLICT, QUOTA, SUSPENDED, STOPPING, DONE, FAILED),
)
WAS_RUNNING = by_type(
    {
        "conditions": [
            {"type": name, "status": "True", "reason": reason, "message": ""}
            for name, reason in (("DependenciesReady", "Ready"), ("Scheduled", "Scheduled"), ("Running", "Running"))
        ]
    }
)


def of(outlook: Outlook, observed: Observed | None = None, before: Any = None, warning: str = "") -> dict[str, Aspect]:
    return aspects_of(outlook, observed=observed or Observed(), before=before or {}, warning=warning)


@pytest.mark.parametrize(
    ("outlook", "letters", "reasons"),
    [
        # Succeeded, Reconciling, Stalled, Validated, DependenciesReady, Scheduled, Running, Suspended
        (RUNNING, "UTFTTTTF", "Running Running Valid Valid Ready Scheduled Running NotSuspended"),
        (STARTING, "UTFTUTFF", "Starting Starting Valid Valid Pending Scheduled Starting NotSuspended"),
        (
            PULL,
            "UTFTFTFF",
            "ImagePullFailed ImagePullFailed Valid Valid ImagePullFailed Scheduled ImagePullFailed NotSuspended",
        ),
        (
            PENDING,
            "UTFTUFFF",
            "InsufficientGPU InsufficientGPU Valid Valid Pending InsufficientGPU InsufficientGPU NotSuspended",
        ),
        (
            VOLUME,
            "UTFTFFFF",
            "VolumePending VolumePending Valid Valid VolumePending VolumePending VolumePending NotSuspended",
        ),
        (INVALID, "UFTFUFFF", "UnknownFlag UnknownFlag UnknownFlag UnknownFlag Pending Pending Pending NotSuspended"),
        (CONFLICT, "UTFTFFFF", "NameConflict NameConflict Valid Valid NameConflict Pending Pending NotSuspended"),
        (QUOTA, "UTFTUFFF", "QuotaExceeded QuotaExceeded Valid Valid Pending Pending Pending NotSuspended"),
        (SUSPENDED, "UFFTTFFT", "Suspended Suspended Valid Valid Ready Suspended Suspended Suspended"),
        (STOPPING, "UTFTTTTT", "Stopping Stopping Valid Valid Ready Scheduled Running Stopping"),
        (DONE, "TFFTTTFF", "MaxSteps Finished Valid Valid Ready Scheduled Finished NotSuspended"),
        (FAILED, "FFTTTTFF", "DiskFull Failed DiskFull Valid Ready Scheduled Failed NotSuspended"),
    ],
)
def test_what_is_said_of_a_run_that_had_been_running(outlook: Outlook, letters: str, reasons: str) -> None:
    found = of(outlook, before=WAS_RUNNING)
    assert found.keys() == set(COMMON)
    assert "".join(found[name].status[0] for name in COMMON) == letters
    assert " ".join(found[name].reason for name in COMMON) == reasons


def test_a_message_says_what_to_do_too() -> None:
    assert of(PENDING)["Succeeded"] == Aspect("Unknown", "InsufficientGPU", "no GPU: wait")
    assert of(FAILED)["Stalled"] == Aspect("True", "DiskFull", "no space: more space")
    assert len(told("True", Cause("Unknown", "x" * 9000)).message) == 4096


def test_a_warning_stands_beside_what_is_valid_and_only_there() -> None:
    assert of(RUNNING, warning="no effect")["Validated"] == Aspect("True", "Valid", "no effect")
    assert of(INVALID, warning="no effect")["Validated"] == Aspect("False", "UnknownFlag", "what is --x")


@pytest.mark.parametrize(
    ("observed", "ready", "scheduled"),
    [
        (Observed(JOB), Aspect("Unknown", "Pending"), Aspect("Unknown", "Pending")),
        (Observed(JOB, (PLACED,)), Aspect("Unknown", "Pending"), Aspect("True", "Scheduled")),
        (Observed(JOB, (RUNS,)), Aspect("True", "Ready"), Aspect("True", "Scheduled")),
    ],
)
def test_how_far_a_failed_run_had_come_stays_visible(observed: Observed, ready: Aspect, scheduled: Aspect) -> None:
    found = of(FAILED, observed)
    assert (found["DependenciesReady"], found["Scheduled"]) == (ready, scheduled)


def conditions(outlook: Outlook, before: Any = None, now: str = at(0)) -> list[dict[str, Any]]:
    return written(of(outlook, before=before), COMMON, before=before or {}, generation=3, now=now)


@pytest.mark.parametrize("outlook", OUTLOOKS, ids=lambda outlook: getattr(outlook, "cause", DONE).reason)
def test_every_list_follows_the_api_conventions(outlook: Outlook) -> None:
    found = conditions(outlook)
    assert [condition["type"] for condition in found] == list(COMMON)
    for condition in found:
        assert condition["reason"].isalnum()
        assert condition["status"] in ("True", "False", "Unknown")
        assert (condition["observedGeneration"], condition["lastTransitionTime"]) == (3, at(0))
        assert {type(value) for value in condition.values()} <= {str, int}  # as JSON and YAML write it


@pytest.mark.parametrize("first", OUTLOOKS)
@pytest.mark.parametrize("second", OUTLOOKS)
def test_a_transition_time_moves_with_the_status_and_only_then(first: Outlook, second: Outlook) -> None:
    old = by_type({"conditions": conditions(first)})
    new = by_type({"conditions": conditions(second, old, at(500))})
    for type_, condition in new.items():
        moved = condition["lastTransitionTime"] == at(500)
        assert moved == (condition["status"] != old[type_]["status"])


def test_a_newer_generation_is_acknowledged() -> None:
    old = conditions(DONE)
    assert acknowledged(old, 4) == [{**condition, "observedGeneration": 4} for condition in old]


def test_over_is_what_the_summary_says_and_nothing_else() -> None:
    assert {outlook: ended({"conditions": conditions(outlook)}) for outlook in OUTLOOKS} == {
        outlook: outlook in (DONE, FAILED) for outlook in OUTLOOKS
    }
    assert not ended({})
    assert not ended({"state": "Succeeded"})
