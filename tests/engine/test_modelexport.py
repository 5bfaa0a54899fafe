"""A ModelExport beside the run that it refers to, in any order: it waits, starts by itself, and tells why it cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swiftop import names
from swiftop.model.conditions import by_type
from swiftop.model.kind import Key, Reading
from swiftop.runner.report import EXPORTING, read
from tests.engine.harness import Harness
from tests.engine.kubernetes import NAMESPACE, Kubernetes, sftrun, termination

Object = dict[str, Any]

REPORT = {"artifactDigest": "ab" * 32, "artifactBytes": 1_500_000_000, "artifactDtype": "float16", "verified": 1}


def export_of(name: str = "merged", **spec: Any) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "ModelExport",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "source": {"sftRunRef": {"name": "tiny"}},
            "output": {"volume": {"size": "1Gi"}},
            "runtime": {"image": "x/y:1"},
            **spec,
        },
    }


class Exports(Harness):
    """An operator whose reconciled object can be switched between a run and an export."""

    def __init__(self) -> None:
        super().__init__()
        self.run_pods = self.kubernetes
        self.export_pods = Kubernetes(self.cluster, "merged-mexp")

    async def reconcile_run(self) -> None:
        self.key, self.kubernetes = Key("SFTRun", NAMESPACE, "tiny"), self.run_pods
        await self.settle()

    async def reconcile_export(self) -> None:
        self.key, self.kubernetes = Key("ModelExport", NAMESPACE, "merged"), self.export_pods
        await self.settle()

    async def apply_run(self) -> None:
        self.cluster.put(sftrun("tiny", output={"volume": {"size": "1Gi"}}))
        await self.reconcile_run()

    async def train(self, outcome: str = "finished", reason: str = "MaxSteps", **progress: Any) -> None:
        """Apply the run and bring it to its end."""
        await self.apply_run()
        self.kubernetes.start()
        await self.settle()
        self.kubernetes.end(
            exit_code=0 if outcome == "finished" else 3, message=termination(outcome, reason, progress=progress)
        )
        if outcome == "finished":
            self.kubernetes.complete_job()
        else:
            self.kubernetes.fail_job()
        await self.settle()

    def say(self, **document: Any) -> None:
        """The pod of the export says how far it is."""
        self._hear(Reading(read(EXPORTING, document)))

    @property
    def export(self) -> Object:
        return self.cluster.find(names.MODELEXPORT, "merged")

    def told(self, type_: str) -> tuple[str, str]:
        found = by_type(self.export["status"])[type_]
        return found["status"], found["reason"]

    def plan(self) -> Object:
        """Settings of the plan of the newest Job of the export."""
        job = [job for job in self.cluster.of_kind(names.JOB) if "-mexp-" in job["metadata"]["name"]][-1]
        (container,) = job["spec"]["template"]["spec"]["containers"]
        plan: Object = json.loads(container["env"][0]["value"])
        return plan


@pytest.fixture
def harness() -> Exports:
    return Exports()


async def test_it_waits_for_a_run_that_comes_later_and_ends_with_its_artifact(harness: Exports) -> None:
    harness.cluster.put(export_of())
    await harness.reconcile_export()
    assert harness.told("SourceReady") == ("False", "SourceMissing")
    assert harness.export["status"]["state"] == "Pending"

    await harness.train(step=20, maxSteps=20, checkpointStep=20)
    assert Key("ModelExport", NAMESPACE, "merged") in harness.engine.referring(Key("SFTRun", NAMESPACE, "tiny"))
    await harness.reconcile_export()
    assert harness.told("SourceReady") == ("True", "Ready")
    uid = harness.cluster.find(names.SFTRUN, "tiny")["metadata"]["uid"]
    plan = harness.plan()
    assert plan["settings"]["source"] == f"/swiftop/source/tiny-output/tiny-{uid[:8]}/checkpoint-20"
    assert plan["settings"]["model"] == "Qwen/Qwen2.5-7B-Instruct"
    assert "--adapters" in plan["command"]

    harness.export_pods.start()
    await harness.reconcile_export()
    harness.export_pods.end(message=termination("finished", "Completed", progress=REPORT))
    harness.export_pods.complete_job()
    await harness.reconcile_export()
    status = harness.export["status"]
    export_uid = harness.export["metadata"]["uid"]
    assert status["state"] == "Succeeded"
    assert status["artifact"] == {
        "claimName": "merged-mexp-output",
        "path": f"merged-{export_uid[:8]}/model",
        "digest": f"sha256:{'ab' * 32}",
        "bytes": 1_500_000_000,
        "dtype": "float16",
    }
    assert [harness.told(name) for name in ("Merged", "Verified", "Pushed")] == [
        ("True", "Merged"),
        ("True", "Verified"),
        ("False", "NothingToPush"),
    ]
    assert status["display"] == {"source": "tiny/last", "dtype": "float16", "size": "1.5 GB"}


async def test_files_that_were_compared_by_their_size_alone_are_counted(harness: Exports) -> None:
    await harness.train(step=20, maxSteps=20, checkpointStep=20)
    harness.cluster.put(export_of(push=[{"hub": "modelscope", "repo": "me/tuned"}]))
    await harness.reconcile_export()
    harness.export_pods.start()
    await harness.reconcile_export()
    told = {**REPORT, "phase": 5, "commit0": "abc", "visibility0": "private", "files0": 9, "bytes0": 100, "bySize0": 2}
    harness.export_pods.end(message=termination("finished", "Completed", progress=told))
    harness.export_pods.complete_job()
    await harness.reconcile_export()
    (target,) = harness.export["status"]["targets"]
    assert target["filesBySize"] == 2
    assert by_type(harness.export["status"])["Pushed"]["message"] == (
        "modelscope:me/tuned: 2 of 9 files were compared by their size alone, since the hub tells no digest of them"
    )


async def test_its_long_steps_are_followed_and_written_every_15_seconds_at_most(harness: Exports) -> None:
    await harness.train(step=20, maxSteps=20, checkpointStep=20)
    harness.cluster.put(export_of())
    await harness.reconcile_export()
    harness.export_pods.start()
    await harness.reconcile_export()
    monotonic = harness.engine._monotonic()

    async def heard(after: float, **document: Any) -> tuple[Object, Object, int]:
        """Progress and texts of the status, and how many writes it took."""
        before = len(harness.cluster.writes)
        harness.engine._monotonic = lambda: monotonic + after
        pod = harness.cluster.find(names.POD, harness.export_pods.pod_name)
        harness.readings.by_pod[pod["metadata"]["uid"]] = Reading(read(EXPORTING, document))
        await harness.settle()
        status = harness.export["status"]
        return status["progress"], status["display"], len(harness.cluster.writes) - before

    merging = {"phase": "Merging", "bytesDone": 30, "bytesTotal": 100, "etaSeconds": 3720}
    progress, display, writes = await heard(60, phase=1, bytesDone=30, bytesTotal=100, etaSeconds=3720)
    assert (progress, writes) == (merging, 2)  # and the Event that it works
    assert (display["progress"], display["eta"]) == ("Merging 30%", "1h2m")
    assert (await heard(70, phase=1, bytesDone=40, bytesTotal=100, etaSeconds=3600))[::2] == (merging, 0)
    progress, display, writes = await heard(75, phase=2, bytesDone=40, bytesTotal=100)
    assert (progress, writes) == ({"phase": "Verifying", "bytesDone": 40, "bytesTotal": 100}, 1)
    assert "eta" not in display
    assert (await heard(100, phase=2, bytesDone=40, bytesTotal=100))[2] == 0


async def test_a_quantized_model_says_by_what_and_what_was_looked_at(harness: Exports) -> None:
    harness.cluster.put(export_of(quantization={"method": "bnb", "bits": 4}))
    await harness.train(step=20, maxSteps=20, checkpointStep=20)
    await harness.reconcile_export()
    assert harness.export["status"]["display"]["dtype"] == "bnb-int4"
    harness.export_pods.start()
    harness.say(phase=3, merged=1)
    await harness.reconcile_export()
    assert harness.told("Merged") == ("True", "Merged")
    assert harness.export["status"]["progress"]["phase"] == "Quantizing"
    told = {"artifactQuantization": "bnb-int4", "merged": 1, "tensors": 97, "compared": 27}
    harness.export_pods.end(message=termination("finished", "Completed", progress={**REPORT, **told}))
    harness.export_pods.complete_job()
    await harness.reconcile_export()
    status = harness.export["status"]
    assert status["artifact"]["quantization"] == status["display"]["dtype"] == "bnb-int4"
    verified = by_type(status)["Verified"]
    assert (verified["status"], verified["message"]) == (
        "True",
        "config.json says bnb-int4, all 97 tensors can be read, 27 of them were compared with the verified model that "
        "was quantized; how well it answers was not measured",
    )


async def test_a_run_that_failed_ends_the_wait_until_a_step_is_named(harness: Exports) -> None:
    harness.cluster.put(export_of())
    await harness.train("failed", "LossNaN", step=20, maxSteps=40, checkpointStep=20)
    await harness.reconcile_export()
    assert harness.told("SourceReady") == ("False", "SourceFailed")
    assert harness.told("Stalled") == ("True", "SourceFailed")

    by_step = export_of(source={"sftRunRef": {"name": "tiny", "checkpoint": 20}})
    harness.cluster.put({**harness.export, "spec": by_step["spec"]})
    await harness.reconcile_export()
    assert harness.told("SourceReady") == ("True", "Ready")


async def test_a_run_that_was_deleted_ends_the_wait(harness: Exports) -> None:
    harness.cluster.put(export_of())
    await harness.apply_run()
    await harness.reconcile_export()
    assert harness.told("SourceReady") == ("False", "SourcePending")
    harness.cluster.remove(names.SFTRUN, NAMESPACE, "tiny")
    await harness.reconcile_export()
    assert harness.told("Stalled") == ("True", "SourceDeleted")


async def test_best_without_validation_is_told_at_once(harness: Exports) -> None:
    await harness.train(step=20, maxSteps=20, checkpointStep=20)
    harness.cluster.put(export_of(source={"sftRunRef": {"name": "tiny", "checkpoint": "best"}}))
    await harness.reconcile_export()
    assert harness.told("Stalled") == ("True", "NoBestCheckpoint")


async def test_a_second_attempt_is_made_of_what_the_first_was_though_the_run_is_gone(harness: Exports) -> None:
    harness.cluster.put(export_of())
    await harness.train(step=20, maxSteps=20, checkpointStep=20)
    await harness.reconcile_export()
    first = harness.plan()
    harness.export_pods.start()
    await harness.reconcile_export()
    harness.cluster.remove(names.SFTRUN, NAMESPACE, "tiny")
    harness.export_pods.end(exit_code=7, message=termination("failed", "HubUnreachable"))
    harness.export_pods.fail_job()
    await harness.reconcile_export()
    harness.cluster.now += 10
    await harness.reconcile_export()
    assert harness.export["status"]["attempts"] == 2
    second = harness.plan()
    assert second["command"] == first["command"]
    # The card of the first attempt is on the volume.
    assert {**second["settings"], "card": {}} == {**first["settings"], "card": {}}


async def test_another_name_in_the_spec_was_not_deleted(harness: Exports) -> None:
    harness.cluster.put(export_of())
    await harness.apply_run()
    await harness.reconcile_export()
    assert harness.told("SourceReady") == ("False", "SourcePending")
    other = export_of(source={"sftRunRef": {"name": "to-come"}})
    harness.cluster.put({**harness.export, "spec": other["spec"]})
    await harness.reconcile_export()
    assert harness.told("SourceReady") == ("False", "SourceMissing")


@pytest.mark.parametrize("reason", ["VerificationFailed", "ContentChanged"])
async def test_what_is_not_any_more_what_was_verified_is_not_called_so(harness: Exports, reason: str) -> None:
    push = [{"hub": "modelscope", "repo": "me/a"}]
    harness.cluster.put(export_of(push=push))
    await harness.train(step=20, maxSteps=20, checkpointStep=20)
    await harness.reconcile_export()
    harness.export_pods.start()
    await harness.reconcile_export()
    harness.export_pods.end(exit_code=12, message=termination("failed", reason, progress={"phase": 4, **REPORT}))
    harness.export_pods.fail_job()
    await harness.reconcile_export()
    assert [harness.told(name) for name in ("Succeeded", "Verified", "Pushed")] == [("False", reason)] * 3


async def test_no_path_and_no_address_rewrites_a_terminal(harness: Exports) -> None:
    env = [{"name": "MODELSCOPE_ENDPOINT", "value": "https://hub\x9b2J\u202e"}]
    source = {"persistentVolumeClaim": {"claimName": "data", "path": "a\u202eb\x9bc"}}
    push = [{"hub": "modelscope", "repo": "me/a"}]
    harness.cluster.put(export_of(source=source, push=push, runtime={"image": "x/y:1", "env": env}))
    await harness.reconcile_export()
    harness.export_pods.start()
    harness.export_pods.end(message=termination("finished", "Completed", progress={"phase": 5, "commit0": "abc123"}))
    harness.export_pods.complete_job()
    await harness.reconcile_export()
    status = harness.export["status"]
    assert status["display"]["source"] == "data/abc"
    assert status["targets"][0]["url"] == "https://hub2J/models/me/a"


async def test_interruptions_without_end_speak_of_no_checkpoint(harness: Exports) -> None:
    harness.cluster.put(export_of(source={"persistentVolumeClaim": {"claimName": "runs", "path": "checkpoint-2"}}))
    for attempt in (1, 2, 3):
        harness.cluster.now += 400
        await harness.reconcile_export()
        harness.export_pods.attempt(attempt)
        harness.export_pods.start()
        await harness.reconcile_export()
        harness.export_pods.disrupt()
        harness.export_pods.end(exit_code=75, message=termination("interrupted", "Interrupted"))
        harness.export_pods.fail_job()
        await harness.reconcile_export()
    failure = harness.export["status"]["failure"]
    assert failure["reason"] == "NoProgress"
    assert "checkpoint" not in failure["message"] + failure["suggestion"]


async def test_who_exports_is_told_nothing_of_trainings(harness: Exports) -> None:
    harness.cluster.put(export_of())
    await harness.train(step=20, maxSteps=20, checkpointStep=20)
    await harness.reconcile_export()
    harness.export_pods.start()
    await harness.reconcile_export()
    harness.export_pods.end(exit_code=137, reason="OOMKilled")
    harness.export_pods.fail_job()
    await harness.reconcile_export()
    failure = harness.export["status"]["failure"]
    assert failure["reason"] == "HostOutOfMemory"
    assert failure["suggestion"].startswith("Raise resources.memory: a merge holds the weights")
