"""Repairing, starting from another run, ending and cleaning up, as the engine lives it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest

from swiftop import names
from swiftop.errors import Transient
from swiftop.kinds.sftrun.kind import KIND as SFTRUN
from swiftop.model.conditions import by_type
from swiftop.model.kind import Key
from swiftop.model.times import text_of
from tests.engine.fakecluster import Fault
from tests.engine.harness import Harness, edit, fail, started
from tests.engine.kubernetes import NAMESPACE, sftrun, termination

CHECKPOINT = {"phase": 1, "step": 5, "maxSteps": 9, "checkpointStep": 4}


class TestRepair:
    async def waiting(self, **spec: Any) -> Harness:
        harness = Harness()
        harness.apply(**spec)
        await harness.settle()
        harness.kubernetes.take_up()
        harness.kubernetes.create_pod()
        harness.kubernetes.refuse_to_place()
        await harness.settle()
        return harness

    async def test_an_edit_replaces_the_job_under_the_same_number(self) -> None:
        harness = await self.waiting(resources={"gpus": 8})
        first = harness.kubernetes.job["metadata"]["uid"]
        edit(harness, resources={"gpus": 1}, runtime={"image": "registry.example/trainer:1"})
        await harness.settle()
        container = harness.kubernetes.job["spec"]["template"]["spec"]["containers"][0]
        assert harness.kubernetes.job["metadata"]["uid"] != first
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert harness.status["resolved"]["image"] == "registry.example/trainer:1"
        assert harness.job_names == ["tiny-1"]
        assert harness.status["attempts"] == 1

    async def test_what_is_pinned_is_what_the_job_was_made_with_though_a_write_is_lost(self) -> None:
        harness = await self.waiting()
        edit(harness, runtime={"image": "registry.example/trainer:1"})
        lost = [Fault(Transient("500"))]

        def lose(verb: str, _kind: str) -> Fault | None:
            return lost.pop() if lost and verb == "patch_status" and harness.jobs_created() == 2 else None

        harness.cluster.fault = lose
        await harness.settle()
        assert not lost
        harness.restart()
        harness.kubernetes.attempt(1)
        harness.kubernetes.start()
        await harness.settle()
        assert harness.status["startTime"]
        assert harness.status["resolved"]["image"] == "registry.example/trainer:1"

    async def test_an_edit_of_what_may_always_change_leaves_the_job_its_place(self) -> None:
        harness = await self.waiting()
        first = harness.kubernetes.job["metadata"]["uid"]
        edit(harness, lifecycle={"activeDeadlineSeconds": 600})
        await harness.settle()
        assert harness.kubernetes.job["metadata"]["uid"] == first
        assert harness.kubernetes.job["spec"]["activeDeadlineSeconds"] == 600

    async def test_an_edit_that_cannot_train_is_told_and_leaves_what_waits(self) -> None:
        harness = await self.waiting()
        first = harness.kubernetes.job["metadata"]["uid"]
        edit(harness, extraArgs=[{"name": "lora_rnk", "value": "1"}])
        await harness.settle()
        assert harness.kubernetes.job["metadata"]["uid"] == first
        assert "did you mean" in by_type(harness.status)["Succeeded"]["message"]

    async def test_the_platforms_new_image_reaches_a_run_that_waits(self) -> None:
        harness = Harness()
        defaults = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "swiftop-defaults", "namespace": NAMESPACE},
            "data": {"image": "registry.example/wrong:0"},
        }
        harness.cluster.put(defaults)
        harness.apply(runtime={})
        await harness.settle()
        harness.kubernetes.take_up()
        harness.kubernetes.create_pod()
        harness.kubernetes.place()
        harness.kubernetes.container(waiting={"reason": "ErrImagePull", "message": "not found"})
        await harness.settle()
        harness.cluster.put({**defaults, "data": {"image": "registry.example/right:0"}})
        harness.cluster.now += 60
        await harness.settle()
        harness.kubernetes.end_deletion()
        await harness.settle()
        container = harness.kubernetes.job["spec"]["template"]["spec"]["containers"][0]
        assert container["image"] == "registry.example/right:0"

    async def test_once_a_container_has_started_the_job_stays(self) -> None:
        harness = await started()
        first = harness.kubernetes.job["metadata"]["uid"]
        edit(harness, resources={"gpus": 2})  # as the API server would not take it any more
        await harness.settle()
        assert harness.kubernetes.job["metadata"]["uid"] == first


class TestSource:
    FROM: ClassVar = {"from": {"sftRunRef": {"name": "first"}}}

    def source(self, harness: Harness, **status: Any) -> None:
        condition = {"type": "Succeeded", "status": "True", "reason": "MaxSteps", "message": ""}
        done = {
            "conditions": [condition],
            "checkpoint": {"step": 9, "path": "/x"},
            "output": {"claimName": "results", "path": "first-12345678"},
        }
        known = harness.cluster.put(sftrun("first"))
        harness.cluster.put({**known, "status": {**done, **status}})

    async def test_a_run_waits_for_the_one_that_it_starts_from_and_is_woken_by_its_end(self) -> None:
        harness = Harness()
        harness.apply(checkpoints=self.FROM)
        await harness.settle()
        assert harness.condition("DependenciesReady") == ("False", "SourceMissing")
        harness.cluster.put(sftrun("first"))
        await harness.settle()
        assert harness.condition("DependenciesReady") == ("False", "SourcePending")
        assert harness.jobs_created() == 0
        assert harness.engine.referring(Key("SFTRun", NAMESPACE, "first")) == (harness.key,)
        self.source(harness)
        await harness.settle()
        pod = harness.kubernetes.job["spec"]["template"]["spec"]
        assert {"name": "output", "mountPath": "/swiftop/source/results", "readOnly": True} in pod["containers"][0][
            "volumeMounts"
        ]
        assert harness.status["resolved"]["source"] == {
            "claimName": "results",
            "path": "first-12345678",
            "uid": harness.cluster.find(names.SFTRUN, "first")["metadata"]["uid"],
        }

    @pytest.mark.parametrize(
        ("status", "spec", "words"),
        [
            ({"output": None}, FROM, "not on a volume"),
            ({"checkpoint": None}, FROM, "no complete checkpoint"),
            ({}, {"from": {"sftRunRef": {"name": "first", "step": 12}}}, "its newest is 9"),
        ],
    )
    async def test_what_cannot_be_started_from_is_refused(self, status: Any, spec: Any, words: str) -> None:
        harness = Harness()
        self.source(harness, **status)
        harness.apply(checkpoints=spec)
        await harness.settle()
        assert harness.condition("Stalled") == ("True", "SourceUnusable")
        assert words in by_type(harness.status)["Stalled"]["message"]
        assert harness.jobs_created() == 0

    async def test_a_later_attempt_starts_from_the_same_place_when_the_other_run_is_gone(self) -> None:
        harness = Harness()
        self.source(harness)
        harness.apply(checkpoints=self.FROM)
        await harness.settle()
        harness.kubernetes.start()
        await harness.settle()
        harness.cluster.remove(names.SFTRUN, NAMESPACE, "first")
        fail(harness, "HubUnreachable")
        await harness.settle()
        harness.cluster.now += 10
        await harness.settle()
        plans = []
        for attempt in (1, 2):
            harness.kubernetes.attempt(attempt)
            env = harness.kubernetes.job["spec"]["template"]["spec"]["containers"][0]["env"]
            plans.append(env[0]["value"].partition('"resumeFrom":')[2].partition("}")[0])
        assert plans[0] == plans[1] != ""


class TestEnd:
    @pytest.mark.parametrize(("exit_code", "outcome"), [(0, "True"), (5, "False")])
    async def test_a_sidecar_keeps_neither_the_run_nor_its_gpus(self, exit_code: int, outcome: str) -> None:
        harness = await started()
        said = termination("finished", "MaxSteps") if not exit_code else termination("failed", "CUDAOutOfMemory")
        harness.kubernetes.end(exit_code=exit_code, message=said)
        pod = harness.cluster.find(names.POD, harness.kubernetes.pod_name)
        harness.cluster.put({**pod, "status": {**pod["status"], "phase": "Running"}})  # the sidecar's
        assert await harness.look() == 10.0
        assert harness.condition("Succeeded")[0] == "Unknown"
        harness.cluster.now += 10
        await harness.settle()
        assert harness.condition("Succeeded")[0] == outcome
        assert harness.kubernetes.job["metadata"]["deletionTimestamp"]

    async def test_a_retry_does_not_start_beside_a_pod_that_a_sidecar_keeps_alive(self) -> None:
        harness = await started()
        harness.kubernetes.end(exit_code=7, message=termination("failed", "HubUnreachable"))
        pod = harness.cluster.find(names.POD, harness.kubernetes.pod_name)
        harness.cluster.put({**pod, "status": {**pod["status"], "phase": "Running"}})
        harness.cluster.now += 10
        await harness.settle()
        assert harness.job_names == ["tiny-1"]
        harness.kubernetes.delete_job()
        await harness.settle()
        assert harness.job_names == ["tiny-2"]
        assert harness.status["retries"] == 1

    async def test_a_job_gets_its_time_to_live_once_its_end_is_recorded(self) -> None:
        harness = await started(lifecycle={"ttlSecondsAfterFinished": 60})
        assert "ttlSecondsAfterFinished" not in harness.kubernetes.job["spec"]
        harness.kubernetes.end(message=termination("finished", "MaxSteps"))
        harness.kubernetes.complete_job()
        await harness.settle()
        assert harness.kubernetes.job["spec"]["ttlSecondsAfterFinished"] == 60
        edit(harness, lifecycle={"ttlSecondsAfterFinished": 30})
        await harness.settle()
        assert harness.kubernetes.job["spec"]["ttlSecondsAfterFinished"] == 30
        harness.kubernetes.delete_job()
        await harness.settle()
        assert harness.condition("Succeeded") == ("True", "MaxSteps")
        assert harness.status["observedGeneration"] == 2

    async def test_a_run_that_cannot_start_ends_at_its_pending_deadline(self) -> None:
        harness = Harness()
        harness.apply(lifecycle={"pendingDeadlineSeconds": 100})
        await harness.settle()
        harness.kubernetes.take_up()
        harness.kubernetes.create_pod()
        harness.kubernetes.refuse_to_place()
        await harness.settle()
        harness.cluster.now += 100
        await harness.settle()
        assert harness.condition("Succeeded") == ("False", "PendingDeadlineExceeded")
        assert "no node has enough free nvidia.com/gpu" in harness.status["failure"]["message"]
        assert harness.job_names == []

    async def test_a_pod_on_a_dead_node_is_told_with_what_to_do(self) -> None:
        harness = await started()
        harness.say(**CHECKPOINT)
        pod = harness.cluster.find(names.POD, harness.kubernetes.pod_name)
        meta = {**pod["metadata"], "deletionTimestamp": text_of(harness.cluster.now)}
        harness.cluster.put({**pod, "metadata": meta, "spec": {**pod["spec"], "nodeName": "gpu-7"}})
        await harness.settle()
        assert harness.condition("Succeeded")[1] == "Running"
        harness.cluster.now += 61
        await harness.settle()
        assert harness.condition("Succeeded") == ("Unknown", "NodeLost")
        assert "kubectl delete node gpu-7" in by_type(harness.status)["Succeeded"]["message"]

    async def test_where_the_result_is(self) -> None:
        harness = await started()
        uid = harness.run["metadata"]["uid"]
        assert harness.status["output"] == {"claimName": "results", "path": f"tiny-{uid[:8]}"}

    async def test_results_that_an_earlier_run_retains_never_get_an_owner(self) -> None:
        harness = Harness()
        harness.apply(output={"volume": {"size": "1Gi", "retain": "Retain"}})
        await harness.settle()
        harness.cluster.remove(names.SFTRUN, NAMESPACE, "tiny")
        harness.deliver()
        harness.apply(output={"volume": {"size": "1Gi", "retain": "Delete"}})
        await harness.settle()
        claim = harness.cluster.find(names.PVC, "tiny-output")
        assert not claim["metadata"].get("ownerReferences")
        harness.cluster.remove(names.SFTRUN, NAMESPACE, "tiny")
        assert harness.cluster.find(names.PVC, "tiny-output")


class TestSurprises:
    async def test_an_unexpected_error_is_told_on_its_object_at_once(self) -> None:
        def broken(*_: Any) -> Any:
            raise TypeError("'NoneType' object is not iterable")

        harness = Harness()
        harness.apply()
        harness.restart(kinds={"SFTRun": replace(SFTRUN, source=broken)})
        with pytest.raises(TypeError) as raised:
            await harness.look()
        await harness.engine.report_failure(harness.key, raised.value, 1)
        assert harness.condition("Reconciling") == ("True", "InternalError")
        harness.restart()
        await harness.settle()
        assert harness.condition("Reconciling") == ("True", "JobCreated")

    @pytest.mark.parametrize("conditions_before", [False, True])
    async def test_what_may_pass_is_told_after_five_tries(self, conditions_before: bool) -> None:
        harness = Harness()
        harness.apply()
        if conditions_before:
            await harness.settle()
        harness.deliver()
        error = Transient("POST /jobs: 500 failed calling webhook")
        writes = len(harness.cluster.writes)
        await harness.engine.report_failure(harness.key, error, 4)
        assert len(harness.cluster.writes) == writes
        for failures in (5, 6, 7):
            await harness.engine.report_failure(harness.key, error, failures)
        assert len(harness.cluster.writes) == writes + 1
        assert harness.condition("Reconciling") == ("True", "ReconcileFailing")
        assert "failed calling webhook" in by_type(harness.status)["Reconciling"]["message"]

    async def test_where_the_status_is_refused_an_event_tells(self) -> None:
        harness = Harness()
        harness.apply()
        harness.deliver()
        harness.cluster.fault = lambda verb, _kind: Fault(Transient("500")) if verb == "patch_status" else None
        await harness.engine.report_failure(harness.key, Transient("500"), 5)
        assert [(type_, reason) for type_, reason, _ in harness.cluster.posted] == [("Warning", "ReconcileFailing")]
