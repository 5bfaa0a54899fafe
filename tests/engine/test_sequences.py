"""Sequences of events that once led astray: each is one that a cluster can really go through."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop import names
from swiftop.errors import Transient
from swiftop.model.conditions import by_type
from swiftop.model.times import text_of
from tests.engine.fakecluster import START
from tests.engine.harness import Harness, edit, fail, started
from tests.engine.kubernetes import NAMESPACE, sftrun, termination

INTERRUPTED = termination("interrupted", "Interrupted", progress={"phase": 1, "step": 5, "maxSteps": 9})
DEFAULTS: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "swiftop-defaults", "namespace": NAMESPACE},
    "data": {"image": "registry.example/trainer:0"},
}


async def in_second_attempt(**spec: Any) -> Harness:
    harness = await started(**spec)
    fail(harness, "HubUnreachable")
    await harness.settle()
    harness.cluster.now += 10
    await harness.settle()
    harness.kubernetes.attempt(2)
    harness.kubernetes.start()
    await harness.settle()
    return harness


def pod_uid(harness: Harness) -> str:
    uid: str = harness.cluster.find(names.POD, harness.kubernetes.pod_name)["metadata"]["uid"]
    return uid


class TestAnOlderAttempt:
    """The failed Job of an earlier attempt does not stand in for the newest one, once that is gone."""

    async def test_suspending_the_last_retry_is_no_failure(self) -> None:
        harness = await in_second_attempt(lifecycle={"maxRetries": 1})
        edit(harness, suspend=True)
        await harness.settle()
        harness.kubernetes.end_deletion(message=INTERRUPTED)
        await harness.settle()
        assert harness.status["state"] == "Suspended"
        edit(harness, suspend=False)
        await harness.settle()
        assert harness.job_names == ["tiny-1", "tiny-3"]
        assert harness.status["retries"] == 1

    async def test_a_stranger_that_deletes_the_newest_job_is_told_of(self) -> None:
        harness = await in_second_attempt()
        harness.kubernetes.delete_job()
        await harness.settle()
        assert harness.condition("Succeeded") == ("False", "JobDeleted")

    async def test_edits_of_a_waiting_attempt_use_up_no_retries(self) -> None:
        harness = Harness()
        harness.apply(lifecycle={"maxRetries": 2})
        await harness.settle()
        harness.kubernetes.take_up()
        harness.kubernetes.create_pod()
        refused = {"phase": "Failed", "reason": "OutOfnvidia.com/gpu"}
        harness.cluster.put({**harness.cluster.find(names.POD, "tiny-1-1"), "status": refused})
        harness.kubernetes.fail_job()
        await harness.settle()
        harness.cluster.now += 10
        await harness.settle()
        for memory in ("8Gi", "9Gi", "10Gi"):
            edit(harness, resources={"gpus": 1, "memory": memory})
            await harness.settle()
        assert harness.job_names == ["tiny-1", "tiny-2"]
        assert (harness.status["attempts"], harness.status["retries"]) == (2, 1)
        harness.kubernetes.attempt(2)
        container = harness.kubernetes.job["spec"]["template"]["spec"]["containers"][0]
        assert container["resources"]["limits"]["memory"] == "10Gi"


class TestSidecars:
    async def test_one_that_ends_badly_does_not_undo_a_training_that_ended_well(self) -> None:
        harness = await started()
        harness.kubernetes.end(message=termination("finished", "MaxSteps"))
        pod = harness.cluster.find(names.POD, harness.kubernetes.pod_name)
        harness.cluster.put({**pod, "status": {**pod["status"], "phase": "Failed"}})
        harness.kubernetes.fail_job()
        await harness.settle()
        assert harness.condition("Succeeded") == ("True", "MaxSteps")

    async def test_the_last_retry_is_made_beside_one(self) -> None:
        harness = await started(lifecycle={"maxRetries": 1})
        harness.kubernetes.end(exit_code=7, message=termination("failed", "HubUnreachable"))
        harness.kubernetes.beside_a_sidecar()
        harness.cluster.now += 10
        await harness.settle()
        harness.kubernetes.delete_job()
        await harness.settle()
        assert harness.job_names == ["tiny-2"]

    async def test_after_hours_its_end_is_still_noticed_in_seconds(self) -> None:
        harness = await started()
        harness.cluster.now += 7200
        assert await harness.look() == 300.0
        harness.kubernetes.end(message=termination("finished", "MaxSteps"))
        harness.kubernetes.beside_a_sidecar()
        assert await harness.look() == 10.0


class TestInterruptions:
    @pytest.mark.parametrize("spec", [{"checkpoints": {"resume": "Never"}}, {"resources": {"gpus": 1, "nodes": 2}}])
    async def test_those_that_are_followed_by_a_new_attempt_count_too(self, spec: dict[str, Any]) -> None:
        harness = await started(**spec)
        for attempt in (2, 3, 4):
            harness.kubernetes.disrupt()
            harness.kubernetes.end(exit_code=75, message=INTERRUPTED)
            harness.kubernetes.fail_job()
            await harness.settle()
            harness.cluster.now += 600
            if attempt < 4:
                harness.kubernetes.attempt(attempt)
                harness.kubernetes.start()
                await harness.settle()
        assert harness.condition("Succeeded") == ("False", "NoProgress")
        assert [one["cause"] for one in harness.status["interruptions"]] == ["Evicted"] * 3
        assert harness.job_names == ["tiny-1", "tiny-2", "tiny-3"]

    async def test_pods_that_vanish_before_they_start_are_followed_with_pauses_and_an_end(self) -> None:
        harness = Harness()
        harness.apply()
        await harness.settle()
        for attempt in (1, 2, 3):
            harness.kubernetes.attempt(attempt)
            harness.kubernetes.take_up()
            harness.kubernetes.create_pod()
            await harness.settle()
            harness.kubernetes.delete_pod()
            harness.kubernetes.fail_job()
            await harness.settle()
            assert harness.jobs_created() == attempt  # not at once
            harness.cluster.now += 600
            await harness.settle()
        assert harness.condition("Succeeded") == ("False", "NoProgress")

    async def test_gpu_seconds_of_an_attempt_that_was_taken_away_are_kept(self) -> None:
        harness = await started(checkpoints={"resume": "Never"})
        harness.cluster.now += 36_000
        harness.kubernetes.disrupt()
        harness.kubernetes.end(exit_code=75, message=INTERRUPTED)
        harness.kubernetes.fail_job()
        await harness.settle()
        harness.kubernetes.attempt(2)
        harness.kubernetes.start()
        harness.cluster.now += 100
        harness.kubernetes.end(message=termination("finished", "MaxSteps"))
        harness.kubernetes.complete_job()
        await harness.settle()
        assert harness.status["gpuSeconds"] == 36_100

    async def test_a_failure_that_is_answered_by_a_retry_is_none(self) -> None:
        harness = await started(lifecycle={"maxRetries": 10})
        for attempt in (2, 3, 4, 5):
            gone, ended = pod_uid(harness), int(harness.cluster.now)
            harness.kubernetes.end(exit_code=255)  # its node restarted
            harness.kubernetes.fail_job()
            await harness.settle()
            harness.cluster.now += 400
            await harness.settle()
            harness.kubernetes.attempt(attempt)
            harness.kubernetes.start()
            harness.say(phase=0, previous=[{"pod": gone, "time": ended, "reason": "Lost", "step": 7}])
            await harness.settle()
        assert harness.status["retries"] == 4
        assert "interruptions" not in harness.status

    async def test_a_suspension_that_was_taken_back_is_none(self) -> None:
        harness = await started()
        gone = pod_uid(harness)
        harness.cluster.now += 60
        edit(harness, suspend=True)
        await harness.settle()
        edit(harness, suspend=False)
        await harness.settle()
        assert harness.status["state"] == "Stopping"
        harness.cluster.now += 30
        ended = int(harness.cluster.now)
        harness.kubernetes.end_deletion(message=INTERRUPTED)
        await harness.settle()
        harness.kubernetes.attempt(2)
        harness.kubernetes.start()
        harness.say(phase=0, previous=[{"pod": gone, "time": ended, "reason": "Interrupted", "step": 6}])
        harness.cluster.now += 60
        await harness.settle()
        assert "interruptions" not in harness.status


class TestLeftovers:
    async def test_cleaning_up_the_failed_job_during_the_pause_fails_nothing(self) -> None:
        harness = await started()
        fail(harness, "HubUnreachable")
        await harness.settle()
        harness.kubernetes.delete_job()
        await harness.settle()
        assert harness.job_names == ["tiny-2"]
        assert harness.status["retries"] == 1

    async def test_nor_while_the_run_is_suspended(self) -> None:
        harness = await started()
        fail(harness, "HubUnreachable")
        await harness.settle()
        edit(harness, suspend=True)
        await harness.settle()
        harness.kubernetes.delete_job()
        await harness.settle()
        edit(harness, suspend=False)
        await harness.settle()
        assert harness.job_names == ["tiny-2"]

    async def test_of_pods_that_are_gone_the_exit_code_still_counts(self) -> None:
        harness = await started()
        harness.kubernetes.delete_pod()
        text = "Container trainer for pod team/tiny-1-x failed with exit code 5 matching FailJob rule at index 1"
        harness.kubernetes.fail_job("PodFailurePolicy", text)
        await harness.settle()
        assert harness.condition("Succeeded") == ("False", "Unknown")
        assert "exit code 5" in harness.status["failure"]["message"]


class TestTheMoment:
    async def test_a_container_that_starts_while_its_job_is_to_be_replaced_goes_on(self) -> None:
        harness = Harness()
        harness.apply()
        await harness.settle()
        harness.kubernetes.take_up()
        harness.kubernetes.create_pod()
        harness.kubernetes.place()
        await harness.settle()
        edit(harness, runtime={"image": "registry.example/trainer:1"})
        harness.deliver()
        harness.kubernetes.run()  # its watch event is under way
        await harness.engine.reconcile(harness.key)
        await harness.settle()
        assert "deletionTimestamp" not in harness.kubernetes.job["metadata"]
        assert harness.condition("Succeeded") == ("Unknown", "Loading")
        assert "nextAttempt" not in harness.status

    async def test_suspending_at_the_end_does_not_train_again(self) -> None:
        harness = await started(output={"ephemeral": True})
        harness.kubernetes.end(message=termination("finished", "MaxSteps"))
        edit(harness, suspend=True)  # the Job is not complete yet
        await harness.settle()
        harness.kubernetes.complete_job()
        await harness.settle()
        assert harness.condition("Succeeded") == ("True", "MaxSteps")

    async def test_new_defaults_are_no_edit_of_the_spec(self) -> None:
        harness = Harness()
        harness.cluster.put(DEFAULTS)
        harness.apply(runtime={})
        await harness.settle()
        harness.kubernetes.take_up()
        harness.kubernetes.create_pod()
        harness.kubernetes.place()
        harness.kubernetes.run()
        harness.cluster.put({**DEFAULTS, "data": {"image": "registry.example/trainer:1"}})
        harness.cluster.now += 60
        await harness.settle()
        assert by_type(harness.status)["Validated"]["message"] == ""


class TestTime:
    async def test_the_pending_deadline_is_a_date(self) -> None:
        harness = Harness()
        harness.apply(lifecycle={"pendingDeadlineSeconds": 3600})
        await harness.settle()
        harness.kubernetes.take_up(active=0)
        harness.kubernetes.tell(harness.kubernetes.job, "FailedCreate", "Error creating: exceeded quota: gpus")
        for _ in range(1000):
            harness.cluster.now += await harness.look() or 0.0
            if harness.condition("Succeeded")[0] == "False":
                break
        assert harness.cluster.now - START == 3600
        assert "exceeded quota" in harness.status["failure"]["message"]

    async def test_a_lost_node_is_told_a_minute_after_the_grace_period_whenever_that_is(self) -> None:
        harness = await started()
        harness.cluster.now += 7200
        await harness.settle()
        pod = harness.cluster.find(names.POD, harness.kubernetes.pod_name)
        meta = {**pod["metadata"], "deletionTimestamp": text_of(harness.cluster.now + 120)}
        harness.cluster.put({**pod, "metadata": meta, "spec": {**pod["spec"], "nodeName": "gpu-7"}})
        assert await harness.look() == 180.0

    async def test_time_that_is_left_is_told_of_a_run_that_runs_only(self) -> None:
        harness = await started()
        harness.say(phase=1, step=5, maxSteps=9, etaSeconds=4320)
        harness.cluster.now += 20
        await harness.settle()
        assert harness.status["display"]["eta"] == "1h12m"
        edit(harness, suspend=True)
        await harness.settle()
        assert "eta" not in harness.status["display"]
        assert "etaSeconds" not in harness.status["progress"]


class TestWhatIsSaid:
    async def test_a_waiting_run_whose_edit_cannot_train_is_stalled(self) -> None:
        harness = Harness()
        harness.apply()
        await harness.settle()
        harness.kubernetes.take_up()
        harness.kubernetes.create_pod()
        harness.kubernetes.refuse_to_place()
        await harness.settle()
        edit(harness, extraArgs=[{"name": "lora_rnk", "value": "1"}])
        await harness.settle()
        assert harness.condition("Stalled") == ("True", "UnknownFlag")
        assert harness.condition("Validated") == ("False", "UnknownFlag")

    async def test_nothing_is_said_to_be_kept_that_ended_with_the_pod(self) -> None:
        harness = await started(output={"ephemeral": True})
        harness.kubernetes.delete_job()
        await harness.settle()
        assert harness.status["failure"]["suggestion"] == "apply a run with a new name to try again"

    @pytest.mark.parametrize(
        ("other", "words"),
        [
            ({"checkpoints": {"from": {"sftRunRef": {"name": "tiny"}}}}, "waits for this run, and this run for it"),
            ({"output": {"ephemeral": True}}, "is ephemeral"),
        ],
    )
    async def test_a_source_that_will_never_be_there_is_not_waited_for(self, other: Any, words: str) -> None:
        harness = Harness()
        harness.cluster.put(sftrun("first", **other))
        harness.apply(checkpoints={"from": {"sftRunRef": {"name": "first"}}})
        await harness.settle()
        assert harness.condition("Stalled") == ("True", "SourceUnusable")
        assert words in by_type(harness.status)["Stalled"]["message"]

    async def test_a_crd_of_an_older_version_is_told_and_not_written_to_for_ever(self) -> None:
        harness = await started()
        edit(harness, suspend=True)
        put = harness.cluster._changed

        def pruned(obj: Any) -> Any:
            status = {name: value for name, value in (obj.get("status") or {}).items() if name != "nextAttempt"}
            return put({**obj, "status": status})

        harness.cluster._changed = pruned  # type: ignore[method-assign]
        with pytest.raises(Transient, match="apply crds/"):
            await harness.look()
