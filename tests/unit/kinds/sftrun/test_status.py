"""The status as a pure function: conditions, throttled progress, patches and events."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.workload.specs import MINIMAL, SHARED_VOLUMES, TWO_NODES, run_of

from swiftop.api.v1alpha1.sftrun_status import SFTRunStatus
from swiftop.batch.conditions import ended, held
from swiftop.engine.publish import acknowledged, event_of, merge_patch, settled
from swiftop.kinds.sftrun.display import duration, progress_texts, spec_texts
from swiftop.kinds.sftrun.status import RunView, status_of
from swiftop.model.facts import Cause, End, JobFacts, Observed, Outcome, PodFacts, Progress
from swiftop.model.times import seconds_of
from swiftop.model.verdict import Blocked, Fail, Finish, Phase, Verdict, Wait
from swiftop.reasons import ConditionType
from tests.engine.fakecluster import merge_patched

NOW = seconds_of("2027-01-15T09:00:00Z")
VIEW = RunView(
    gpus=4,
    gpu_resource="nvidia.com/gpu",
    output_dir="/swiftop/output/run-0a1b2c3d",
    url=lambda said: f"https://swanlab.cn/@{said or 'w'}/p/runs/x",
    deadline=None,
    texts={"gpus": "4", "model": "m", "dataset": "d"},
)
JOB = JobFacts(name="run-1", uid="j", owner_uid="r", attempt=1, created="2027-01-15T08:00:00Z", started=True, active=1)
POD = PodFacts(
    name="a", uid="a", index=0, created="2027-01-15T08:00:00Z", phase="Running", scheduled=True,
    scheduled_at="2027-01-15T08:30:00Z", running_since="2027-01-15T08:31:00Z",
)  # fmt: skip
RUNNING = Wait(Phase.RUNNING, Cause("Running", "the training runs"), 60.0)
STARTING = Wait(Phase.STARTING, Cause("Starting", "on its way"))
WAITING = Wait(Phase.PENDING, Cause("InsufficientGPU", "no GPU", "wait"))
INVALID = Blocked(Cause("UnknownFlag", "what is --x"), stalled=True)
CONFLICT = Blocked(Cause("NameConflict", "taken"), stalled=False, wake=2.0)
DONE = Finish("MaxSteps", "finished at step 10 of 10")
FAILED = Fail(Cause("DiskFull", "no space", "more space", "last lines"))
VERDICTS: tuple[Verdict, ...] = (RUNNING, STARTING, WAITING, INVALID, CONFLICT, DONE, FAILED)


def status(
    verdict: Verdict,
    previous: dict[str, Any] | None = None,
    observed: Observed | None = None,
    *,
    view: RunView | None = VIEW,
    now: float = NOW,
) -> dict[str, Any]:
    observed = observed if observed is not None else Observed(JOB, (POD,))
    return status_of(
        view=view, generation=3, previous=previous or {}, verdict=verdict, observed=observed, resolved=None, now=now
    )


def words(found: dict[str, Any]) -> dict[str, str]:
    return {type_: condition["status"] for type_, condition in held(found).items()}


@pytest.mark.parametrize(
    ("verdict", "summary", "reconciling", "stalled", "validated", "state"),
    [
        (INVALID, "Unknown", "False", "True", "False", "Pending"),
        (CONFLICT, "Unknown", "True", "False", "True", "Pending"),
        (WAITING, "Unknown", "True", "False", "True", "Pending"),
        (STARTING, "Unknown", "True", "False", "True", "Preparing"),
        (RUNNING, "Unknown", "True", "False", "True", "Preparing"),
        (DONE, "True", "False", "False", "True", "Succeeded"),
        (FAILED, "False", "False", "True", "True", "Failed"),
    ],
)
def test_conditions(  # noqa: PLR0917
    verdict: Verdict, summary: str, reconciling: str, stalled: str, validated: str, state: str
) -> None:
    found = status(verdict)
    told = words(found)
    assert (told["Succeeded"], told["Reconciling"], told["Stalled"]) == (summary, reconciling, stalled)
    assert told["Validated"] == validated
    assert found["state"] == state


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_status_follows_the_api_conventions_and_parses(verdict: Verdict) -> None:
    found = status(verdict)
    assert [c["type"] for c in found["conditions"]] == list(ConditionType)
    for condition in found["conditions"]:
        assert condition["reason"].isalnum()
        assert condition["status"] in ("True", "False", "Unknown")
        assert condition["observedGeneration"] == 3
        assert condition["lastTransitionTime"]
    parsed = SFTRunStatus.model_validate(found).model_dump(by_alias=True, exclude_none=True, mode="json")
    assert set(found) <= set(parsed)


@pytest.mark.parametrize("before", VERDICTS)
@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_transition_time_moves_with_the_status_and_only_then(before: Verdict, verdict: Verdict) -> None:
    old = status(before, now=NOW - 500)
    new = status(verdict, old)
    for type_, condition in held(new).items():
        moved = condition["lastTransitionTime"] != held(old)[type_]["lastTransitionTime"]
        assert moved == (condition["status"] != held(old)[type_]["status"])


@pytest.mark.parametrize("verdict", VERDICTS)
def test_the_same_again_is_no_write(verdict: Verdict) -> None:
    old = status(verdict)
    new, wake = settled(old, status(verdict, copy.deepcopy(old), now=NOW + 1000), since_write=1000)
    assert merge_patch(old, new) == {}
    assert wake is None


def with_progress(**numbers: Any) -> Observed:
    return Observed(JOB, (POD,), progress=Progress(phase=1, **numbers))


def test_progress_checkpoints_and_display() -> None:
    numbers = with_progress(
        step=412, max_steps=1000, loss=1.23456, eta_seconds=4333, checkpoint_step=400, checkpoint_time=int(NOW),
        best_step=300, best_metric=0.5,
    )  # fmt: skip
    found = status(RUNNING, observed=numbers)
    assert found["state"] == "Running"
    assert found["progress"] == {"step": 412, "maxSteps": 1000, "loss": 1.23456, "etaSeconds": 4333}
    assert found["checkpoint"] == {
        "step": 400,
        "path": "/swiftop/output/run-0a1b2c3d/checkpoint-400",
        "time": "2027-01-15T09:00:00Z",
    }
    assert found["bestCheckpoint"]["metric"] == 0.5
    assert found["display"] == {
        "progress": "412/1000 (41%)", "eta": "1h12m", "loss": "1.2346", "gpus": "4", "model": "m", "dataset": "d",
    }  # fmt: skip
    assert found["tracking"] == {"url": "https://swanlab.cn/@w/p/runs/x"}
    assert found["gpuSeconds"] == 4 * 1800
    assert words(found)["CheckpointAvailable"] == "True"


def test_what_a_gone_pod_said_stays_until_a_new_one_knows_more() -> None:
    old = status(RUNNING, observed=with_progress(step=5, max_steps=10, checkpoint_step=5))
    later = status(RUNNING, old, observed=Observed(JOB, (POD,), progress=Progress(phase=0)))
    assert later["progress"] == old["progress"]
    assert later["checkpoint"] == old["checkpoint"]


def test_the_last_message_is_newer_than_the_last_pull() -> None:
    outcome = Outcome(outcome="finished", reason="MaxSteps", progress=Progress(phase=4, step=10, eta_seconds=0))
    end = End(exit_code=0, reason="", message="", finished="2027-01-15T08:40:00Z", outcome=outcome)
    pod = replace(POD, phase="Succeeded", running_since="", end=end)
    found = status(DONE, observed=Observed(JOB, (pod,), progress=Progress(phase=1, step=9)))
    assert found["progress"] == {"step": 10}
    assert found["gpuSeconds"] == 4 * 600


def test_failure_is_told_whole_and_gone_after_a_success() -> None:
    found = status(FAILED)
    assert found["failure"] == {
        "reason": "DiskFull", "message": "no space", "suggestion": "more space", "log": "last lines",
    }  # fmt: skip
    assert "failure" not in status(DONE, found)


def test_a_spec_that_does_not_parse_any_more_keeps_what_was_known() -> None:
    old = status(RUNNING, observed=with_progress(step=5, max_steps=10, checkpoint_step=5))
    found = status(RUNNING, old, observed=Observed(JOB, (POD,)), view=None)
    for key in ("display", "tracking", "checkpoint", "gpuSeconds"):
        assert found[key] == old[key]


def test_facts_that_cannot_be_derived_again_are_kept() -> None:
    old = {**status(RUNNING), "resolved": {"image": "i"}, "gpuSeconds": 99_999}
    found = status(FAILED, old, observed=Observed())
    assert (found["attempts"], found["startTime"]) == (1, "2027-01-15T08:00:00Z")
    assert (found["resolved"], found["gpuSeconds"]) == ({"image": "i"}, 99_999)


def test_progress_is_held_back_for_15_seconds_and_a_change_of_state_never() -> None:
    old = status(RUNNING, observed=with_progress(step=5, max_steps=10))
    newer = status(RUNNING, old, observed=with_progress(step=6, max_steps=10))
    assert settled(old, newer, since_write=5.0) == (old, 10.0)
    assert settled(old, newer, since_write=15.0) == (newer, None)
    over = status(DONE, old)
    assert settled(old, over, since_write=0.0) == (over, None)


def test_a_message_alone_waits_and_numbers_alone_wait_longer() -> None:
    def waits(message: str) -> Wait:
        return Wait(Phase.PENDING, Cause("Unschedulable", message))

    old = status(waits("0/3 nodes fit"))
    numbers, words_too = status(waits("0/4 nodes fit"), old), status(waits("0/4 nodes fit, 1 is tainted"), old)
    assert settled(old, numbers, since_write=20.0) == (old, 40.0)
    assert settled(old, numbers, since_write=60.0) == (numbers, None)
    assert settled(old, words_too, since_write=10.0) == (old, 5.0)
    assert settled(old, words_too, since_write=15.0) == (words_too, None)
    other = status(Wait(Phase.PENDING, Cause("InsufficientGPU", "0/4 nodes fit")), old)
    assert settled(old, other, since_write=0.0) == (other, None)


def test_time_alone_is_no_news() -> None:
    old = status(RUNNING, observed=with_progress(step=5))
    later = status(RUNNING, old, observed=with_progress(step=5), now=NOW + 3600)
    assert later["gpuSeconds"] > old["gpuSeconds"]
    assert settled(old, later, since_write=3600.0) == (old, None)


def test_ended_reads_the_summary_alone() -> None:
    assert [ended(status(v)) for v in (RUNNING, INVALID, DONE, FAILED)] == [False, False, True, True]
    assert not ended({})
    assert not ended({"state": "Succeeded"})


def test_a_newer_generation_of_a_finished_run_is_acknowledged() -> None:
    old = status(DONE)
    new = acknowledged(old, 4)
    assert {c["observedGeneration"] for c in new["conditions"]} == {4}
    assert new["observedGeneration"] == 4
    assert merge_patch(new, acknowledged(new, 4)) == {}


@pytest.mark.parametrize(
    ("before", "after", "event"),
    [
        (None, WAITING, ("Normal", "InsufficientGPU")),
        (WAITING, Wait(Phase.PENDING, Cause("Unschedulable", "x")), None),
        (STARTING, Wait(Phase.STARTING, Cause("ImagePullFailed", "x")), ("Warning", "ImagePullFailed")),
        (
            Wait(Phase.STARTING, Cause("ImagePullFailed", "x")),
            Wait(Phase.STARTING, Cause("ImagePullFailed", "y")),
            None,
        ),
        (RUNNING, DONE, ("Normal", "MaxSteps")),
        (RUNNING, FAILED, ("Warning", "DiskFull")),
        (None, INVALID, ("Warning", "UnknownFlag")),
        (WAITING, INVALID, ("Warning", "UnknownFlag")),
    ],
)
def test_one_event_per_change_of_state(before: Verdict | None, after: Verdict, event: tuple[str, str] | None) -> None:
    old = status(before) if before else {}
    found = event_of(old, status(after, old))
    assert (found[:2] if found else None) == event


_values = st.recursive(
    st.integers() | st.text(max_size=3) | st.booleans() | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
_objects = st.dictionaries(st.sampled_from("abcd"), _values, max_size=4)


@given(old=_objects, new=_objects)
def test_a_merge_patch_leads_from_one_to_the_other(old: dict[str, Any], new: dict[str, Any]) -> None:
    patch = merge_patch(old, new)
    assert merge_patched(old, patch) == new
    assert (patch == {}) == (old == new)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (45, "45s"),
        (60, "1m"),
        (330, "5m30s"),
        (4333, "1h12m"),
        (7200, "2h"),
        (100_800, "1d4h"),
        (86_400, "1d"),
    ],
)
def test_duration(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def test_texts() -> None:
    assert progress_texts({"step": 3}) == {"progress": "3"}
    assert progress_texts({}) == {}
    assert spec_texts(run_of(TWO_NODES).spec)["gpus"] == "2x8"
    assert spec_texts(run_of(MINIMAL).spec)["dataset"] == "/swiftop/datasets/tiny/chat.jsonl"
    assert spec_texts(run_of(SHARED_VOLUMES).spec)["dataset"] == "/data/lab/chats/train.jsonl +2"
