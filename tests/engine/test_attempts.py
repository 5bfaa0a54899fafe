"""Attempts that follow each other: after a suspension, a retry and an interruption, as the engine lives them."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop import names
from swiftop.errors import Forbidden, Transient
from swiftop.model.conditions import by_type
from swiftop.model.times import text_of
from tests.engine.fakecluster import Fault
from tests.engine.harness import Harness, edit, fail, started
from tests.engine.kubernetes import termination

CHECKPOINT = {"phase": 1, "step": 5, "maxSteps": 9, "checkpointStep": 4}


class TestSuspend:
    async def test_a_run_that_trains_saves_frees_its_gpus_and_goes_on_in_a_new_attempt(self) -> None:
        harness = await started()
        harness.say(**CHECKPOINT)
        edit(harness, suspend=True)
        await harness.settle()
        assert harness.kubernetes.job["metadata"]["deletionTimestamp"]
        assert harness.condition("Suspended") == ("True", "Stopping")
        assert harness.condition("Reconciling")[0] == "True"
        harness.kubernetes.end_deletion(message=termination("interrupted", "Interrupted", progress=CHECKPOINT))
        await harness.settle()
        assert harness.status["state"] == "Suspended"
        assert harness.condition("Suspended") == ("True", "Suspended")
        assert harness.condition("Succeeded") == ("Unknown", "Suspended")
        assert harness.condition("Reconciling")[0] == "False"
        assert harness.status["checkpoint"]["step"] == 4
        assert "interruptions" not in harness.status
        assert harness.job_names == []
        edit(harness, suspend=False)
        await harness.settle()
        assert harness.job_names == ["tiny-2"]
        assert harness.status["attempts"] == 2
        assert harness.condition("Suspended") == ("False", "NotSuspended")
        assert "nextAttempt" not in harness.status

    async def test_nothing_is_made_of_a_run_that_is_suspended_from_the_start(self) -> None:
        harness = Harness()
        harness.apply(suspend=True)
        await harness.settle()
        assert harness.jobs_created() == 0
        assert harness.status["state"] == "Suspended"
        edit(harness, suspend=False)
        await harness.settle()
        assert harness.job_names == ["tiny-1"]

    @pytest.mark.parametrize("verb", ["patch_status", "delete"])
    @pytest.mark.parametrize("late", [False, True])
    async def test_a_lost_write_makes_no_stranger_of_our_own_deletion(self, verb: str, late: bool) -> None:
        harness = await started()
        edit(harness, suspend=True)
        faults = [Fault(Transient("500"), late=late)]
        harness.cluster.fault = lambda asked, _kind: faults.pop() if faults and asked == verb else None
        await harness.settle()
        harness.kubernetes.end_deletion()
        edit(harness, suspend=False)
        harness.restart()
        await harness.settle()
        assert harness.job_names == ["tiny-2"]
        assert harness.condition("Succeeded")[0] == "Unknown"

    async def test_a_suspension_that_is_taken_back_before_the_pods_have_ended_waits_for_their_end(self) -> None:
        harness = await started()
        edit(harness, suspend=True)
        await harness.settle()
        edit(harness, suspend=False)
        await harness.settle()
        assert harness.job_names == ["tiny-1"]
        harness.kubernetes.end_deletion()
        await harness.settle()
        assert harness.job_names == ["tiny-2"]

    async def test_an_attempt_that_cannot_be_made_yet_is_still_the_one_that_follows(self) -> None:
        harness = await started()
        edit(harness, suspend=True)
        await harness.settle()
        harness.kubernetes.end_deletion()
        edit(harness, suspend=False)
        refused = Fault(Forbidden("POST /jobs: 403 exceeded quota"))
        harness.cluster.fault = lambda verb, kind: refused if (verb, kind) == ("create", "Job") else None
        await harness.look()
        assert harness.condition("Succeeded") == ("Unknown", "QuotaExceeded")
        harness.restart()
        await harness.look()
        harness.cluster.fault = lambda _verb, _kind: None
        await harness.settle()
        assert harness.job_names == ["tiny-2"]

    async def test_a_job_that_a_stranger_deletes_is_not_made_again(self) -> None:
        harness = await started()
        harness.kubernetes.delete_job()
        await harness.settle()
        assert harness.condition("Succeeded") == ("False", "JobDeleted")
        assert harness.jobs_created() == 1


class TestRetry:
    async def test_a_cause_that_may_pass_is_tried_again_after_a_pause(self) -> None:
        harness = await started()
        fail(harness, "HubUnreachable")
        assert await harness.look() == 10.0
        assert harness.condition("Succeeded") == ("Unknown", "HubUnreachable")
        assert harness.status["failure"]["reason"] == "HubUnreachable"
        assert "attempt 2 follows in 10 s (retry 1 of 3)" in by_type(harness.status)["Succeeded"]["message"]
        assert harness.job_names == ["tiny-1"]
        harness.cluster.now += 10
        await harness.settle()
        assert harness.job_names == ["tiny-1", "tiny-2"]
        assert (harness.status["attempts"], harness.status["retries"]) == (2, 1)
        assert "failure" not in harness.status

    async def test_retries_end(self) -> None:
        harness = await started(lifecycle={"maxRetries": 2})
        pauses = []
        for attempt in (1, 2, 3):
            if attempt > 1:
                harness.kubernetes.attempt(attempt)
                harness.kubernetes.start()
            fail(harness, "CollectiveFailed")
            pauses.append(await harness.look())
            harness.cluster.now += pauses[-1] or 0.0
            await harness.settle()
        assert pauses == [10.0, 20.0, 0.0]
        assert harness.condition("Succeeded") == ("False", "CollectiveFailed")
        assert "retries used up: 2" in harness.status["failure"]["message"]
        assert harness.status["attempts"] == 3

    @pytest.mark.parametrize("reason", ["CUDAOutOfMemory", "DatasetFormat", "InvalidArguments", "HubAuthFailed"])
    async def test_what_would_fail_again_is_not_tried_again(self, reason: str) -> None:
        harness = await started()
        fail(harness, reason)
        await harness.settle()
        assert harness.condition("Succeeded") == ("False", reason)
        assert harness.jobs_created() == 1

    async def test_the_number_of_an_attempt_survives_a_lost_status_write(self) -> None:
        harness = await started()
        fail(harness, "HubUnreachable")
        await harness.settle()
        harness.cluster.now += 10
        lost = [Fault(Transient("500"))]
        harness.cluster.fault = lambda verb, _kind: lost.pop() if lost and verb == "patch_status" else None
        with pytest.raises(Transient):
            await harness.look()
        harness.restart()
        await harness.settle()
        assert harness.job_names == ["tiny-1", "tiny-2"]
        assert (harness.status["attempts"], harness.status["retries"]) == (2, 1)

    async def test_gpu_seconds_add_up_over_attempts(self) -> None:
        harness = await started()
        harness.cluster.now += 100
        fail(harness, "HubUnreachable")
        await harness.settle()
        first = harness.status["gpuSeconds"]
        harness.cluster.now += 10
        await harness.settle()
        harness.kubernetes.attempt(2)
        harness.kubernetes.start()
        harness.cluster.now += 50
        harness.kubernetes.end(message=termination("finished", "MaxSteps"))
        harness.kubernetes.complete_job()
        await harness.settle()
        assert (first, harness.status["gpuSeconds"]) == (100, 150)


class TestInterruptions:
    async def interrupt(self, harness: Harness, kept: int | None = None) -> None:
        progress = {"phase": 1, "step": 5, "maxSteps": 9, **({} if kept is None else {"checkpointStep": kept})}
        harness.kubernetes.disrupt()
        harness.kubernetes.end(exit_code=75, message=termination("interrupted", "Interrupted", progress=progress))
        await harness.settle()
        harness.cluster.now += 30

    async def again(self, harness: Harness) -> None:
        harness.kubernetes.create_pod()
        harness.kubernetes.place()
        harness.kubernetes.run()
        await harness.settle()

    async def test_three_without_a_new_kept_step_end_the_run_and_free_its_gpus(self) -> None:
        harness = await started()
        for _ in range(2):
            await self.interrupt(harness)
            assert harness.condition("Succeeded")[0] == "Unknown"
            await self.again(harness)
        await self.interrupt(harness)
        assert harness.condition("Succeeded") == ("False", "NoProgress")
        assert len(harness.status["interruptions"]) == 3
        assert harness.job_names == []

    async def test_as_long_as_it_gets_on_it_goes_on(self) -> None:
        harness = await started()
        for step in range(1, 13):
            await self.interrupt(harness, kept=step)
            await self.again(harness)
        assert harness.condition("Succeeded")[0] == "Unknown"
        interruptions = harness.status["interruptions"]
        assert len(interruptions) == 10
        assert interruptions[-1] == {
            "time": text_of(harness.cluster.now - 30),
            "cause": "Evicted",
            "pod": interruptions[-1]["pod"],
            "step": 5,
            "checkpointStep": 12,
            "lostSteps": 0,
        }

    async def test_one_whose_pod_vanished_is_told_by_the_next_pod(self) -> None:
        harness = await started()
        gone = harness.cluster.find(names.POD, harness.kubernetes.pod_name)["metadata"]["uid"]
        harness.kubernetes.delete_pod()
        harness.cluster.now += 5
        await self.again(harness)
        ended = int(harness.cluster.now)
        previous = {"pod": gone, "time": ended, "reason": "Lost", "step": 7, "keptStep": 4}
        harness.say(phase=1, step=5, maxSteps=9, previous=[previous])
        harness.cluster.now += 20
        await harness.settle()
        expected = {
            "time": text_of(ended),
            "cause": "Lost",
            "pod": gone,
            "step": 7,
            "checkpointStep": 4,
            "lostSteps": 3,
        }
        assert harness.status["interruptions"] == [expected]

    async def test_of_several_pods_that_nobody_saw_go_the_last_one_tells(self) -> None:
        """On a busy machine each may be gone, and its successor too, before the operator looks."""
        harness = await started()
        ends: list[dict[str, Any]] = []
        for number in range(3):
            gone = harness.cluster.find(names.POD, harness.kubernetes.pod_name)["metadata"]["uid"]
            ends.append({"pod": gone, "time": int(harness.cluster.now) + 1 + number, "reason": "Interrupted"})
            harness.kubernetes.delete_pod()
            harness.kubernetes.create_pod()
            harness.kubernetes.place()
            harness.kubernetes.run()
        harness.cluster.now += 20
        harness.say(phase=0, previous=ends)
        await harness.settle()
        assert [one["pod"] for one in harness.status["interruptions"]] == [end["pod"] for end in ends]
        assert harness.condition("Succeeded") == ("False", "NoProgress")

    async def test_a_run_without_replacement_goes_on_in_a_new_attempt_and_uses_no_retry(self) -> None:
        harness = await started(checkpoints={"resume": "Never"}, lifecycle={"maxRetries": 0})
        harness.kubernetes.disrupt()
        harness.kubernetes.end(exit_code=75, message=termination("interrupted", "Interrupted"))
        harness.kubernetes.fail_job()
        await harness.settle()
        assert harness.job_names == ["tiny-1", "tiny-2"]
        assert "retries" not in harness.status
