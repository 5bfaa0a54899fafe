"""What is written of a new status: when, as which patch, and with which Event."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swiftop.batch.conditions import COMMON, aspects_of
from swiftop.batch.observe import Observed
from swiftop.engine.publish import acknowledged, event_of, merge_patch, settled
from swiftop.model.conditions import by_type, written
from swiftop.model.facts import Cause
from swiftop.model.verdict import Blocked, Failed, Finished, Outlook, Phase, Suspended, Waiting
from tests.engine.fakecluster import merge_patched

VOLATILE = frozenset({"progress"})
RUNNING = Waiting(Phase.RUNNING, Cause("Running", "the training runs"))
LOADING = Waiting(Phase.RUNNING, Cause("Loading", "the model is loaded"))
DONE = Finished("MaxSteps", "finished at step 10 of 10")
BROKE = Failed(Cause("DiskFull", "no space"))
INVALID = Blocked(Cause("UnknownFlag", "what is --x"), stalled=True)
STOPPED = Suspended(Cause("Suspended", "suspended by spec.suspend"))
TIME = "2027-01-15T09:00:00Z"


def pending(reason: str, message: str = "x") -> Waiting:
    return Waiting(Phase.PENDING, Cause(reason, message))


def starting(reason: str, message: str = "x") -> Waiting:
    return Waiting(Phase.STARTING, Cause(reason, message))


_STATES = {Finished: "Succeeded", Failed: "Failed", Suspended: "Suspended", Blocked: "Invalid"}


def status(outlook: Outlook, previous: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    """As much of a status as publishing looks at."""
    before = by_type(previous or {})
    aspects = aspects_of(outlook, observed=Observed(), before=before)
    word = _STATES.get(type(outlook))
    if isinstance(outlook, Waiting):
        phases = {Phase.PENDING: "Pending", Phase.STARTING: "Preparing", Phase.RUNNING: "Running"}
        word = "Preparing" if outlook == LOADING else phases[outlook.phase]
    listed = written(aspects, COMMON, before=before, generation=3, now=TIME)
    return {"conditions": listed, "state": word, "observedGeneration": 3, **members}


def held_back(old: dict[str, Any], new: dict[str, Any], since_write: float) -> tuple[dict[str, Any], float | None]:
    return settled(old, new, volatile=VOLATILE, since_write=since_write)


def test_progress_is_held_back_for_15_seconds_and_a_change_of_state_never() -> None:
    old = status(RUNNING, progress={"step": 5})
    newer = status(RUNNING, old, progress={"step": 6})
    assert held_back(old, newer, 5.0) == (old, 10.0)
    assert held_back(old, newer, 15.0) == (newer, None)
    over = status(DONE, old)
    assert held_back(old, over, 0.0) == (over, None)


def test_a_message_alone_waits_and_numbers_alone_wait_longer() -> None:
    old = status(pending("Unschedulable", "0/3 nodes fit"))
    numbers = status(pending("Unschedulable", "0/4 nodes fit"), old)
    words_too = status(pending("Unschedulable", "0/4 nodes fit, 1 is tainted"), old)
    assert held_back(old, numbers, 20.0) == (old, 40.0)
    assert held_back(old, numbers, 60.0) == (numbers, None)
    assert held_back(old, words_too, 10.0) == (old, 5.0)
    assert held_back(old, words_too, 15.0) == (words_too, None)
    other = status(pending("InsufficientGPU", "0/4 nodes fit"), old)
    assert held_back(old, other, 0.0) == (other, None)


def test_time_alone_is_no_news() -> None:
    old, later = status(RUNNING, gpuSeconds=5), status(RUNNING, gpuSeconds=5000)
    assert held_back(old, later, 3600.0) == (old, None)
    with_news = {**later, "attempts": 2}
    assert held_back(old, with_news, 0.0) == (with_news, None)


def test_a_newer_generation_of_a_finished_run_is_acknowledged() -> None:
    old = status(DONE)
    new = acknowledged(old, 4)
    assert new == {
        **old,
        "observedGeneration": 4,
        "conditions": [{**condition, "observedGeneration": 4} for condition in old["conditions"]],
    }
    assert merge_patch(new, acknowledged(new, 4)) == {}


@pytest.mark.parametrize(
    ("before", "after", "event"),
    [
        (None, pending("InsufficientGPU"), ("Normal", "InsufficientGPU")),
        (pending("InsufficientGPU"), pending("Unschedulable"), None),
        (starting("Starting"), starting("ImagePullFailed"), ("Warning", "ImagePullFailed")),
        (starting("ImagePullFailed"), starting("ImagePullFailed", "y"), None),
        (pending("JobCreated"), pending("QuotaExceeded"), ("Warning", "QuotaExceeded")),
        (RUNNING, pending("NodeLost"), ("Warning", "NodeLost")),
        (starting("Starting"), starting("InitContainerFailed"), ("Warning", "InitContainerFailed")),
        # What is mostly there a moment later is no warning.
        (pending("JobCreated"), pending("VolumePending"), None),
        (None, pending("VolumePending"), ("Normal", "VolumePending")),
        (pending("JobCreated"), pending("SourcePending"), None),
        (pending("JobCreated"), pending("SourceMissing"), ("Warning", "SourceMissing")),
        (starting("Starting"), RUNNING, ("Normal", "Running")),
        (pending("JobCreated"), LOADING, ("Normal", "Loading")),
        (starting("Starting"), LOADING, None),
        (LOADING, RUNNING, ("Normal", "Running")),
        (RUNNING, STOPPED, ("Normal", "Suspended")),
        (RUNNING, DONE, ("Normal", "MaxSteps")),
        (RUNNING, BROKE, ("Warning", "DiskFull")),
        (None, INVALID, ("Warning", "UnknownFlag")),
        (pending("InsufficientGPU"), INVALID, ("Warning", "UnknownFlag")),
    ],
)
def test_one_event_per_change_of_state(before: Outlook | None, after: Outlook, event: tuple[str, str] | None) -> None:
    old = status(before) if before else {}
    found = event_of(old, status(after, old), summary="Succeeded")
    assert (found[:2] if found else None) == event


def test_an_event_says_what_the_summary_says() -> None:
    assert event_of(status(RUNNING), status(BROKE), summary="Succeeded") == ("Warning", "DiskFull", "no space")
    done = status(Finished("MaxSteps", ""))
    assert event_of(status(RUNNING), done, summary="Succeeded") == ("Normal", "MaxSteps", "Succeeded")


_values = st.recursive(
    st.integers() | st.text(max_size=3) | st.booleans() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
_objects = st.dictionaries(st.sampled_from("abcd"), _values, max_size=4)


@settings(deadline=None)  # the first example warms the strategies up
@given(old=_objects, new=_objects)
def test_a_merge_patch_leads_from_one_to_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    patch = merge_patch(old, new)
    assert merge_patched(old, patch) == new
    assert (patch == {}) == (old == new)
