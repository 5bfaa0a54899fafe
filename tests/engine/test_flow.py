"""One run from apply to its end, as the engine lives it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from swiftop import names
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.api.v1alpha1.sftrun_status import SFTRunStatus
from swiftop.batch.conditions import COMMON
from swiftop.model.conditions import by_type
from tests.engine.fakecluster import FakeCluster
from tests.engine.harness import Harness
from tests.engine.kubernetes import termination


async def started(harness: Harness | None = None, **spec: Any) -> Harness:
    """A run whose training runs."""
    harness = harness or Harness()
    harness.apply(**spec)
    await harness.look()
    harness.kubernetes.take_up()
    harness.kubernetes.create_pod()
    harness.kubernetes.place()
    harness.kubernetes.run()
    await harness.look()
    return harness


async def test_a_new_run_gets_its_job_and_all_conditions_at_once() -> None:
    harness = Harness()
    harness.apply()
    await harness.look()
    assert harness.jobs_created() == 1
    assert [c["type"] for c in harness.status["conditions"]] == [*COMMON, *SFTRun.DEFINITION.conditions]
    assert harness.condition("Succeeded") == ("Unknown", "JobCreated")
    assert harness.condition("Reconciling") == ("True", "JobCreated")
    assert harness.condition("Stalled")[0] == "False"
    assert harness.status["state"] == "Pending"
    assert harness.status["attempts"] == 1
    assert "startTime" not in harness.status  # nothing of it has started
    assert harness.status["resolved"]["swiftVersion"] == "4.6"
    assert "swift.cli.sft" in harness.status["resolved"]["command"]


async def test_a_run_that_waits_for_a_gpu_costs_four_writes_and_then_none() -> None:
    harness = Harness()
    harness.apply()
    await harness.look()
    harness.kubernetes.take_up()
    await harness.look()
    harness.kubernetes.create_pod()
    await harness.look()
    harness.kubernetes.refuse_to_place()
    await harness.settle()
    assert harness.condition("Scheduled") == ("False", "InsufficientGPU")
    per_run = [call for call in harness.cluster.writes if call[1] != "ConfigMap"]
    assert [(verb, kind) for verb, kind, _ in per_run] == [
        ("create", "Job"),
        ("patch_status", "SFTRun"),
        ("event", "SFTRun"),
        ("patch_status", "SFTRun"),
    ]


async def test_progress_moves_the_state_to_running_and_is_written_every_15_seconds_at_most() -> None:
    harness = await started()
    assert harness.status["state"] == "Preparing"
    harness.say(phase=1, step=1, maxSteps=10, loss=2.5)
    await harness.look()
    assert harness.status["state"] == "Running"
    assert harness.status["display"]["progress"] == "1/10 (10%)"
    harness.cluster.now += 5
    harness.say(phase=1, step=2, maxSteps=10, loss=2.25)
    assert await harness.look() == 10
    assert harness.status["progress"]["step"] == 1
    harness.cluster.now += 10
    await harness.look()
    assert harness.status["progress"] == {"step": 2, "maxSteps": 10, "loss": 2.25}


async def test_a_finished_run_tells_step_loss_and_checkpoint_of_its_last_message() -> None:
    harness = await started()
    last = {"phase": 4, "step": 10, "maxSteps": 10, "loss": 1.5, "checkpointStep": 10, "checkpointTime": 1_800_000_000}
    harness.kubernetes.end(message=termination("finished", "MaxSteps", progress=last))
    harness.kubernetes.complete_job()
    await harness.settle()
    uid = harness.run["metadata"]["uid"][:8]
    assert harness.condition("Succeeded") == ("True", "MaxSteps")
    assert harness.status["state"] == "Succeeded"
    assert harness.status["checkpoint"] == {
        "step": 10,
        "path": f"/swiftop/output/tiny-{uid}/checkpoint-10",
        "time": "2027-01-15T08:00:00Z",
    }
    assert harness.status["completionTime"]
    assert "etaSeconds" not in harness.status["progress"]
    assert [reason for _, reason, _ in harness.cluster.posted] == ["JobCreated", "Loading", "MaxSteps"]


async def test_a_failure_carries_reason_suggestion_and_log() -> None:
    harness = await started()
    said = termination("failed", "CUDAOutOfMemory", suggestion="use zero3", log="x" * 5000)
    harness.kubernetes.end(exit_code=5, message=said)
    harness.kubernetes.fail_job()
    await harness.settle()
    assert harness.condition("Succeeded") == ("False", "CUDAOutOfMemory")
    assert harness.condition("Stalled") == ("True", "CUDAOutOfMemory")
    assert harness.condition("Reconciling")[0] == "False"
    assert harness.status["failure"] == {
        "reason": "CUDAOutOfMemory",
        "message": "it ended with CUDAOutOfMemory",
        "suggestion": "use zero3",
        "log": "x" * 2048,
    }
    assert harness.cluster.posted[-1][:2] == ("Warning", "CUDAOutOfMemory")


async def test_the_last_words_of_a_pod_are_read_live_when_the_watch_is_behind() -> None:
    harness = await started()
    harness.kubernetes.end(exit_code=4, message=termination("failed", "DatasetEmpty"))
    behind = harness.cluster.log.pop()  # the end of the pod does not arrive
    assert behind[1]["kind"] == "Pod"
    harness.cluster.log.pop()
    harness.kubernetes.fail_job()
    await harness.look()
    assert harness.condition("Succeeded") == ("False", "DatasetEmpty")


async def test_an_interrupted_pod_does_not_tell_the_end_of_a_job_whose_last_pod_is_not_known_yet() -> None:
    harness = await started()
    harness.kubernetes.disrupt()
    harness.kubernetes.end(exit_code=75, message=termination("interrupted", "Interrupted", progress={"step": 1}))
    first = copy.deepcopy(harness.cluster.find(names.POD, harness.kubernetes.pod_name))
    harness.kubernetes.create_pod()
    harness.kubernetes.place()
    harness.kubernetes.run()
    await harness.settle()
    harness.kubernetes.end(message=termination("finished", "MaxSteps", progress={"step": 9, "maxSteps": 9}))
    harness.kubernetes.complete_job()
    harness.restart((names.SFTRUN, names.JOB))
    harness.store.observe(names.POD, first)
    await harness.engine.reconcile(harness.key)
    assert harness.condition("Succeeded") == ("True", "MaxSteps")
    assert harness.status["progress"]["step"] == 9


async def test_a_job_deleted_by_hand_fails_the_run_and_starts_nothing() -> None:
    harness = await started()
    harness.kubernetes.delete_job()
    await harness.settle()
    assert harness.condition("Succeeded") == ("False", "JobDeleted")
    assert harness.jobs_created() == 1


@pytest.mark.parametrize("outcome", ["finished", "failed"])
async def test_a_run_that_is_over_stays_so_whatever_happens_to_its_job(outcome: str) -> None:
    harness = await started()
    if outcome == "finished":
        harness.kubernetes.end(message=termination("finished", "MaxEpochs"))
        harness.kubernetes.complete_job()
    else:
        harness.kubernetes.end(exit_code=20, message=termination("failed", "Unknown"))
        harness.kubernetes.fail_job()
    await harness.settle()
    status = json.loads(json.dumps(harness.status))
    harness.kubernetes.delete_job()
    await harness.settle()
    harness.restart()
    await harness.settle()
    harness.apply()  # the same manifest again
    await harness.settle()
    assert harness.status == status
    assert harness.jobs_created() == 1


async def test_an_old_event_of_its_job_deletes_nothing_of_a_run_that_is_over() -> None:
    harness = await started()
    running = copy.deepcopy(harness.kubernetes.job)
    harness.kubernetes.end(message=termination("finished", "MaxEpochs"))
    harness.kubernetes.complete_job()
    await harness.settle()
    harness.restart((names.SFTRUN,))  # nothing is known of the Job
    harness.store.observe(names.JOB, running)
    await harness.engine.reconcile(harness.key)
    assert harness.kubernetes.has_job()


async def test_a_finished_run_acknowledges_a_change_of_its_lifecycle() -> None:
    harness = await started()
    harness.kubernetes.end(message=termination("finished", "MaxEpochs"))
    harness.kubernetes.complete_job()
    await harness.settle()
    harness.apply(lifecycle={"activeDeadlineSeconds": 100})
    await harness.settle()
    assert harness.status["observedGeneration"] == 2
    assert {c["observedGeneration"] for c in harness.status["conditions"]} == {2}
    assert harness.condition("Succeeded")[0] == "True"


async def test_nothing_is_written_after_a_restart_of_the_operator() -> None:
    harness = await started()
    harness.say(phase=1, step=3, maxSteps=10)
    await harness.settle()
    harness.readings.by_pod.clear()  # a new process has heard nothing yet
    harness.restart()
    before = len(harness.cluster.writes)
    harness.cluster.now += 300
    await harness.look()
    assert harness.cluster.writes[before:] == []
    assert harness.condition("ProgressAvailable") == ("True", "ProgressReported")


async def test_the_events_tell_loading_from_training() -> None:
    harness = await started()
    assert harness.cluster.posted[-1][2] == "the container runs: model and data are downloaded and loaded"
    harness.say(phase=1, step=1, maxSteps=10)
    await harness.look()
    assert harness.cluster.posted[-1] == ("Normal", "Running", "the training runs")


async def test_progress_goes_on_when_the_wall_clock_is_set_back() -> None:
    cluster = FakeCluster()
    harness = await started(Harness(cluster))
    harness.say(phase=1, step=1, maxSteps=10)
    await harness.look()
    monotonic = harness.engine._monotonic()
    cluster.now -= 3600
    harness.engine._monotonic = lambda: monotonic + 15
    harness.say(phase=1, step=2, maxSteps=10)
    await harness.look()
    assert harness.status["progress"]["step"] == 2


async def test_a_copy_of_the_pod_is_not_taken_for_it() -> None:
    harness = await started()
    harness.say(phase=1, step=3, maxSteps=9)
    await harness.look()
    before = harness.status
    pod = harness.cluster.find(names.POD, harness.kubernetes.pod_name)
    harness.cluster.now += 10
    meta = {"name": "debug", "namespace": "team", "labels": dict(pod["metadata"]["labels"])}  # kubectl debug --copy-to
    harness.cluster.put({**pod, "metadata": meta, "status": {"phase": "Pending"}})
    await harness.look()
    assert harness.status == before


async def test_the_link_is_known_once_the_tracker_has_told_whose_key_it_is() -> None:
    harness = await started(tracking={"swanlab": {"project": "p"}})
    assert "tracking" not in harness.status
    harness.say(phase=1, step=1, maxSteps=9, trackerWorkspace="alice")
    await harness.look()
    url = harness.status["tracking"]["url"]
    assert url.startswith("https://swanlab.cn/@alice/p/runs/")
    harness.say(phase=1, step=2, maxSteps=9)
    harness.kubernetes.end(exit_code=5, message=termination("failed", "CUDAOutOfMemory"))
    harness.kubernetes.fail_job()
    await harness.settle()
    assert harness.status["tracking"] == {"url": url}


async def test_what_the_acceleration_came_to_is_told_once_the_training_has_told_it() -> None:
    harness = await started()
    assert harness.condition("Accelerated") == ("Unknown", "Pending")
    told = {"active": True, "parts": ["linears"], "skipped": [["mlp", "CheckFailed"]], "perDeviceBatchSize": 4}
    harness.say(step=1, maxSteps=9, acceleration=told)
    await harness.look()
    shown = {
        "active": True,
        "parts": ["linears"],
        "skipped": [{"part": "mlp", "why": "CheckFailed"}],
        "perDeviceBatchSize": 4,
    }
    assert harness.status["acceleration"] == shown
    assert harness.condition("Accelerated") == ("True", "Accelerated")
    progress = {"step": 9, "maxSteps": 9, "acceleration": {"active": False, "skipped": [["mlp", "NotANumber"]]}}
    harness.kubernetes.end(message=termination("finished", "MaxSteps", progress=progress))
    harness.kubernetes.complete_job()
    await harness.settle()
    assert harness.status["acceleration"] == {"active": False, "skipped": [{"part": "mlp", "why": "NotANumber"}]}
    assert harness.condition("Accelerated") == ("False", "NotAccelerated")


async def test_out_of_gpu_memory_it_is_said_what_this_run_needs() -> None:
    harness = await started(training={"maxLength": 2048, "perDeviceBatchSize": 4, "acceleration": "Off"})
    harness.kubernetes.end(exit_code=5, message=termination("failed", "CUDAOutOfMemory", suggestion="lower something"))
    harness.kubernetes.fail_job()
    await harness.settle()
    assert harness.status["failure"]["suggestion"].startswith("By the estimate the training needs about 30 GiB")


async def test_a_training_that_cannot_be_heard_says_so_and_is_taken_to_run() -> None:
    harness = await started()
    harness.fall_silent()
    await harness.look()
    assert harness.condition("ProgressAvailable") == ("False", "ProgressUnavailable")
    assert harness.status["state"] == "Running"


@pytest.mark.parametrize("gone", [False, True])
async def test_an_evicted_pod_is_replaced_in_the_same_job(*, gone: bool) -> None:
    harness = await started()
    harness.say(phase=1, step=4, maxSteps=10)
    await harness.look()
    first = harness.kubernetes.pod_name
    harness.kubernetes.disrupt()
    harness.kubernetes.end(exit_code=75, message=termination("interrupted", "Interrupted"))
    await harness.look()
    assert harness.status["state"] == "Resuming"
    harness.cluster.now += 1
    harness.kubernetes.create_pod()
    harness.kubernetes.place()
    await harness.look()
    assert harness.status["state"] == "Resuming"
    if gone:
        harness.cluster.remove(names.POD, "team", first)
        await harness.look()
        assert harness.status["state"] == "Resuming"
    harness.kubernetes.run()
    harness.say(phase=1, step=5, maxSteps=10)
    await harness.look()
    assert harness.status["state"] == "Running"
    assert harness.jobs_created() == 1


async def test_an_invalid_run_is_stalled_with_a_suggestion_and_starts_once_it_is_mended() -> None:
    harness = Harness()
    run = harness.apply(extraArgs=[{"name": "vit_lrr", "value": "1"}])
    assert await harness.look() is not None  # swiftop-defaults may name another version
    assert harness.condition("Stalled") == ("True", "UnknownFlag")
    assert harness.condition("Validated") == ("False", "UnknownFlag")
    assert harness.condition("Succeeded")[0] == "Unknown"
    assert "did you mean vit_lr?" in harness.status["conditions"][0]["message"]
    assert harness.jobs_created() == 0
    assert harness.cluster.posted[-1][:2] == ("Warning", "UnknownFlag")
    run["spec"]["extraArgs"] = [{"name": "vit_lr", "value": "1e-5"}]
    harness.cluster.put(run)
    await harness.settle()
    assert harness.condition("Validated")[0] == "True"
    assert harness.condition("Stalled")[0] == "False"
    assert harness.jobs_created() == 1


async def test_a_spec_that_cannot_be_read_waits_for_an_edit_alone() -> None:
    harness = Harness()
    harness.apply(resources={"gpus": -1})
    assert await harness.look() is None
    assert harness.condition("Stalled") == ("True", "InvalidSpec")


async def test_what_has_no_effect_is_a_warning_and_no_refusal() -> None:
    harness = Harness()
    harness.apply(training={"evalSteps": 10})
    await harness.settle()
    assert harness.condition("Validated") == ("True", "Valid")
    assert "spec.training.evalSteps" in by_type(harness.status)["Validated"]["message"]
    assert harness.jobs_created() == 1


async def test_a_deadline_changed_after_the_start_reaches_the_job() -> None:
    harness = await started(lifecycle={"activeDeadlineSeconds": 600})
    for seconds, expected in ((900, 900), (None, 2_147_483_647)):
        run = harness.run
        lifecycle = {"activeDeadlineSeconds": seconds} if seconds else {}
        harness.cluster._changed({**run, "spec": {**run["spec"], "lifecycle": lifecycle}})
        await harness.settle()
        assert harness.kubernetes.job["spec"]["activeDeadlineSeconds"] == expected


async def test_every_status_is_one_that_the_api_models_know() -> None:
    harness = await started()
    numbers: dict[str, float] = {"loss": 1.0, "evalLoss": 2.0, "learningRate": 1e-4, "gradNorm": 1.0, "epoch": 0.5}
    harness.say(phase=1, step=3, maxSteps=9, etaSeconds=77, memoryGiB=70.5, bestStep=2, bestMetric=0.5, **numbers)
    await harness.settle()
    status = SFTRunStatus.model_validate(harness.status)
    shown = status.model_dump(by_alias=True, exclude_none=True, mode="json")
    assert set(harness.status) <= set(shown)
    assert shown["progress"] == harness.status["progress"]
    assert shown["bestCheckpoint"] == harness.status["bestCheckpoint"]


async def test_a_deleted_run_is_left_alone() -> None:
    harness = await started()
    harness.cluster.put({**harness.run, "metadata": {**harness.run["metadata"], "deletionTimestamp": "x"}})
    before = len(harness.cluster.calls)
    assert await harness.look() is None
    harness.cluster.remove(names.SFTRUN, "team", "tiny")
    assert await harness.look() is None
    assert harness.cluster.calls[before:] == []


async def test_gpu_seconds_count_from_the_node_to_the_end() -> None:
    harness = await started(resources={"gpus": 4})
    harness.cluster.now += 100
    harness.kubernetes.end(message=termination("finished", "MaxSteps"))
    harness.cluster.now += 1000
    harness.kubernetes.complete_job()
    await harness.settle()
    assert harness.status["gpuSeconds"] == 400
