"""A ModelExport beside the run that it refers to, in any order: it waits, starts by itself, and tells why it cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swiftop import names
from swiftop.model.conditions import by_type
from swiftop.model.kind import Key, Reading
from swiftop.runner.protocol import EXPORTING, read
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
