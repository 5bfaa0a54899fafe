"""What the status of a run has of its own: progress, checkpoints, output, tracking, texts."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.api.v1alpha1.sftrun_status import SFTRunStatus
from swiftop.batch.observe import Observed
from swiftop.engine.publish import merge_patch, settled
from swiftop.kinds.sftrun.kind import KIND
from swiftop.kinds.sftrun.status import SHOWN
from swiftop.model.conditions import by_type
from swiftop.model.facts import Cause, Outcome, Report
from swiftop.model.kind import Frame
from swiftop.model.verdict import Blocked, Failed, Finished, Outlook, Phase, Suspended, Waiting
from swiftop.runner.report import LARGEST, TRAINING, Accelerated, read
from tests.support.objects import IMAGE, sftrun
from tests.unit.batch.facts import COMPLETE, FAILED, JOB, NEW, RUNS, START, at, said

RUNNING = Waiting(Phase.RUNNING, Cause("Running", "the training runs"))
STARTING = Waiting(Phase.STARTING, Cause("Starting", "on its way"))
PENDING = Waiting(Phase.PENDING, Cause("InsufficientGPU", "no GPU", "wait"))
INVALID = Blocked(Cause("UnknownFlag", "what is --x"), stalled=True)
STOPPED = Suspended(Cause("Suspended", "by spec.suspend"))
DONE = Finished("MaxSteps", "finished at step 10 of 10")
BROKE = Failed(Cause("DiskFull", "no space", "more space", "last lines"))
OUTLOOKS: tuple[Outlook, ...] = (RUNNING, STARTING, PENDING, INVALID, STOPPED, DONE, BROKE)

SPEC: dict[str, Any] = {
    "resources": {"gpus": 4},
    "output": {"volume": {"size": "5Gi"}},
    "tracking": {"swanlab": {"project": "p"}},
    "runtime": IMAGE,
}
DIRECTORY = "/swiftop/output/run-0a1b2c3d"
NUMBERS: Report = {
    "phase": 1, "step": 412, "maxSteps": 1000, "loss": 1.23456, "etaSeconds": 4333, "checkpointStep": 400,
    "checkpointTime": int(START), "bestStep": 300, "bestMetric": 0.5, "checkpointEvalLoss": 0.75,
    "bestEvalLoss": 0.625, "trackerWorkspace": "lab", "dataRows": 40, "dataDropped": 30, "dataTooLong": 28,
    "dataTruncated": 0, "validationRows": 20, "validationDropped": 1,
}  # fmt: skip


def status(
    outlook: Outlook,
    previous: dict[str, Any] | None = None,
    observed: Observed | None = None,
    *,
    readable: bool = True,
    now: float = 100,
    spec: dict[str, Any] | None = None,
) -> dict[str, Any]:
    meta = {"creationTimestamp": at(0), "generation": 3}
    obj = {**sftrun(meta=meta, **(spec if spec is not None else SPEC)), "status": previous or {}}
    observed = observed if observed is not None else Observed(JOB, (RUNS,))
    resource = SFTRun.from_object(obj) if readable else None
    frame = Frame(obj=obj, resource=resource, outlook=outlook, observed=observed, before=observed, now=START + now)
    return KIND.project(frame)


def heard(report: Report) -> Observed:
    return Observed(JOB, (RUNS,), heard=report)


def test_a_status_of_a_run_that_trains() -> None:
    found = status(RUNNING, observed=heard(NUMBERS))
    conditions = by_type(found)
    assert {name: value for name, value in found.items() if name != "conditions"} == {
        "state": "Running",
        "observedGeneration": 3,
        "attempts": 1,
        "startTime": at(10),
        "gpuSeconds": 4 * 98,
        "progress": {"step": 412, "maxSteps": 1000, "loss": 1.23456, "etaSeconds": 4333},
        "checkpoint": {"step": 400, "path": f"{DIRECTORY}/checkpoint-400", "time": at(0), "evalLoss": 0.75},
        "bestCheckpoint": {
            "step": 300,
            "path": f"{DIRECTORY}/checkpoint-300",
            "metric": 0.5,
            "evalLoss": 0.625,
        },
        "data": {
            "rows": 40,
            "dropped": 30,
            "tooLong": 28,
            "truncated": 0,
            "validationRows": 20,
            "validationDropped": 1,
        },
        "output": {"claimName": "run-output", "path": "run-0a1b2c3d"},
        "tracking": {"url": "https://swanlab.cn/@lab/p/runs/jq6ij63lo14s3dcqcqnaf"},
        "display": {
            "progress": "412/1000 (41%)",
            "eta": "1h12m",
            "loss": "1.2346",
            "gpus": "4",
            "model": "Qwen/Qwen2.5-0.5B-Instruct",
            "dataset": "AI-ModelScope/alpaca-gpt4-data-zh",
        },
    }
    assert list(conditions) == [
        *("Succeeded", "Reconciling", "Stalled", "Validated", "DependenciesReady", "Scheduled", "Running", "Suspended"),
        *("CheckpointAvailable", "ProgressAvailable", "DataComplete", "Accelerated"),
    ]
    assert (conditions["CheckpointAvailable"]["status"], conditions["ProgressAvailable"]["status"]) == ("True", "True")


def test_the_acceleration_and_its_condition() -> None:
    told = Accelerated(active=True, parts=("linears",), skipped=(("mlp", "CheckFailed"),), estimated_gib=30.5)
    found = status(RUNNING, observed=Observed(JOB, (RUNS,), heard=NUMBERS, acceleration=told))
    skipped = [{"part": "mlp", "why": "CheckFailed"}]
    shown = {"active": True, "parts": ["linears"], "skipped": skipped, "estimatedGiB": 30.5}
    assert found["acceleration"] == shown
    assert by_type(found)["Accelerated"]["message"] == "linears; without mlp (CheckFailed)"
    model = SFTRunStatus.model_validate(found)
    assert model.model_dump(by_alias=True, exclude_unset=True, mode="json") == found
    # The next pod has not begun to train yet, and the spec cannot be read any more.
    later = status(STARTING, found, Observed(JOB, (NEW,)))
    assert later["acceleration"] == shown
    unread = status(RUNNING, found, Observed(JOB, (RUNS,)), readable=False)
    assert (unread["acceleration"], by_type(unread)["Accelerated"]) == (shown, by_type(found)["Accelerated"])


@pytest.mark.parametrize(
    ("outlook", "training", "told"),
    [
        (PENDING, {}, ("Unknown", "Pending")),
        (DONE, {}, ("False", "NotAccelerated")),
        (BROKE, {}, ("Unknown", "Pending")),
        (DONE, {"acceleration": "Off"}, ("False", "AccelerationOff")),
    ],
)
def test_nothing_told_of_the_acceleration(outlook: Outlook, training: Any, told: tuple[str, str]) -> None:
    condition = by_type(status(outlook, spec={**SPEC, "training": training}))["Accelerated"]
    assert (condition["status"], condition["reason"]) == told


def test_an_end_for_want_of_memory_is_answered_with_what_this_run_needs() -> None:
    out = Failed(Cause("CUDAOutOfMemory", "CUDA out of memory", "lower something", "last lines"))
    training = {"maxLength": 2048, "perDeviceBatchSize": 4, "acceleration": "Off"}
    found = status(out, observed=Observed(FAILED), spec={**SPEC, "training": training})
    text = (
        "By the estimate the training needs about 15 GiB of each GPU: try it with training.liger: true (3 GiB), or "
        "with training.perDeviceBatchSize: 2 and gradientAccumulationSteps: 2 (8 GiB), or with training.maxLength: 1664"
        " (13 GiB)."
    )
    assert found["failure"] == {
        "reason": "CUDAOutOfMemory",
        "message": "CUDA out of memory",
        "suggestion": text,
        "log": "last lines",
    }
    assert by_type(found)["Succeeded"]["message"] == f"CUDA out of memory: {text}"
    unknown = status(out, observed=Observed(FAILED), spec=SPEC)
    assert unknown["failure"]["suggestion"] == "lower something"


def test_the_release_that_the_platform_gives_counts() -> None:
    previous = {"resolved": {"image": "i", "swiftVersion": "3.7", "command": "c"}, "startTime": at(10)}
    assert by_type(status(RUNNING, previous))["Accelerated"]["reason"] == "AccelerationOff"


@pytest.mark.parametrize("outlook", OUTLOOKS)
def test_every_status_is_one_of_the_schema(outlook: Outlook) -> None:
    found = status(outlook, observed=heard(NUMBERS))
    model = SFTRunStatus.model_validate(found)
    assert model.model_dump(by_alias=True, exclude_unset=True, mode="json") == found
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("outlook", OUTLOOKS)
def test_the_same_again_is_no_write(outlook: Outlook) -> None:
    old = status(outlook, observed=heard(NUMBERS))
    again = status(outlook, copy.deepcopy(old), heard(NUMBERS), now=1000)
    new, wake = settled(old, again, volatile=KIND.volatile, since_write=1000)
    assert merge_patch(old, new) == {}
    assert wake is None


def test_what_is_shown_of_a_report_are_members_of_a_report() -> None:
    assert set(SHOWN) <= {member.name for member in TRAINING}


NEWEST = {"step": 400, "path": f"{DIRECTORY}/checkpoint-400", "evalLoss": 0.75}
BEST = {"step": 300, "path": f"{DIRECTORY}/checkpoint-300", "evalLoss": 0.625}


@pytest.mark.parametrize(
    ("name", "odd", "gone"),
    [
        ("checkpointTime", LARGEST + 1, {"checkpoint": NEWEST}),
        ("checkpointTime", -1, {"checkpoint": NEWEST}),
        ("bestMetric", float("nan"), {"bestCheckpoint": BEST}),
        ("checkpointStep", 1e300, {"checkpoint": None}),
        ("loss", float("inf"), {"progress": {"step": 412, "maxSteps": 1000, "etaSeconds": 4333}}),
    ],
)
def test_a_number_out_of_range_leaves_out_that_member_and_nothing_else(
    name: str, odd: float, gone: dict[str, Any]
) -> None:
    whole = status(RUNNING, observed=heard(NUMBERS))
    found = status(RUNNING, observed=heard(read(TRAINING, {**NUMBERS, name: odd})))
    for member in ("progress", "checkpoint", "bestCheckpoint", "tracking", "state", "gpuSeconds"):
        assert found.get(member) == gone.get(member, whole[member])


def test_what_a_gone_pod_said_stays_until_a_new_one_knows_more() -> None:
    old = status(RUNNING, observed=heard({"phase": 1, "step": 5, "maxSteps": 10, "checkpointStep": 5}))
    later = status(RUNNING, old, heard({"phase": 0}))
    assert (later["progress"], later["checkpoint"]) == (old["progress"], old["checkpoint"])
    newer = status(RUNNING, later, heard({"phase": 1, "step": 6}))
    assert newer["progress"] == {"step": 6}


@pytest.mark.parametrize("outlook", [outlook for outlook in OUTLOOKS if outlook is not RUNNING])
def test_time_is_left_only_while_it_runs(outlook: Outlook) -> None:
    old = status(RUNNING, observed=heard(NUMBERS))
    assert old["progress"]["etaSeconds"] == 4333
    assert status(RUNNING, old)["progress"] == old["progress"]  # not heard yet, as after a restart of the operator
    for observed in (heard(NUMBERS), Observed(JOB, (NEW,))):
        found = status(outlook, old, observed)
        assert found["progress"] == {"step": 412, "maxSteps": 1000, "loss": 1.23456}
        assert "eta" not in found["display"]


def test_the_last_message_is_newer_than_the_last_pull() -> None:
    outcome = Outcome(outcome="finished", reason="MaxSteps", report={"phase": 4, "step": 10, "etaSeconds": 0})
    pod = said("finished", "MaxSteps")
    assert pod.ended is not None
    pod = replace(pod, ended=replace(pod.ended, outcome=outcome))
    found = status(DONE, observed=Observed(COMPLETE, (pod,), heard={"phase": 1, "step": 9}))
    assert found["progress"] == {"step": 10}  # what is over has no time left
    assert found["completionTime"] == at(100)


def test_a_failure_is_told_whole_and_gone_after_a_success() -> None:
    found = status(BROKE, observed=Observed(FAILED, (said("failed", "DiskFull"),)))
    assert found["failure"] == {
        "reason": "DiskFull", "message": "no space", "suggestion": "more space", "log": "last lines",
    }  # fmt: skip
    assert "failure" not in status(DONE, found)


def test_a_spec_that_cannot_be_read_any_more_keeps_what_was_known() -> None:
    old = status(RUNNING, observed=heard(NUMBERS))
    found = status(RUNNING, old, Observed(JOB, (RUNS,)), readable=False)
    for key in ("display", "tracking", "checkpoint", "bestCheckpoint", "output", "progress", "gpuSeconds"):
        assert found[key] == old[key]


@pytest.mark.parametrize(
    ("output", "observed", "previous", "expected"),
    [
        ({"volume": {"size": "5Gi"}}, Observed(JOB), {}, {"claimName": "run-output", "path": "run-0a1b2c3d"}),
        ({"volume": {"size": "5Gi"}}, Observed(), {}, None),  # nothing is made yet
        (
            {"persistentVolumeClaim": {"claimName": "lab", "path": "results/me"}},
            Observed(JOB),
            {},
            {"claimName": "lab", "path": "results/me/run-0a1b2c3d"},
        ),
        (
            {"persistentVolumeClaim": {"claimName": "lab"}},
            Observed(),
            {"output": {"claimName": "lab", "path": "run-0a1b2c3d"}},
            {"claimName": "lab", "path": "run-0a1b2c3d"},
        ),
        ({"ephemeral": True}, Observed(JOB), {}, None),
    ],
)
def test_where_the_results_lie(
    output: dict[str, Any], observed: Observed, previous: dict[str, Any], expected: dict[str, str] | None
) -> None:
    assert status(PENDING, previous, observed, spec={**SPEC, "output": output}).get("output") == expected


def test_a_warning_stands_in_the_condition() -> None:
    found = by_type(status(RUNNING, spec={**SPEC, "training": {"evalSteps": 5}}))["Validated"]
    assert found["status"] == "True"
    assert found["message"].startswith("spec.training.evalSteps: there is nothing to evaluate on")


def available(outlook: Outlook, observed: Observed, previous: dict[str, Any] | None = None) -> tuple[str, str]:
    found = by_type(status(outlook, previous, observed))["ProgressAvailable"]
    return found["status"], found["reason"]


def test_whether_progress_is_heard() -> None:
    silent, deaf = Observed(JOB, (RUNS,)), Observed(JOB, (RUNS,), reachable=False)
    assert available(PENDING, Observed(JOB, (NEW,))) == ("False", "NotRunning")
    assert available(RUNNING, silent) == ("Unknown", "Starting")
    assert available(RUNNING, heard(NUMBERS)) == ("True", "ProgressReported")
    assert available(RUNNING, deaf) == ("False", "ProgressUnavailable")
    # Not heard yet, as after a restart of the operator: what was known holds.
    for known in (heard(NUMBERS), deaf):
        assert available(RUNNING, silent, status(RUNNING, observed=known)) == available(RUNNING, known)
    assert available(DONE, heard(NUMBERS)) == ("False", "NotRunning")
