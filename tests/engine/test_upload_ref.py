"""A run beside the DatasetUpload that it refers to, in any order: it waits, starts by itself, and keeps its commit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swiftop import names
from swiftop.model.conditions import by_type
from swiftop.model.kind import Key
from tests.engine.harness import Harness
from tests.engine.kubernetes import NAMESPACE, Kubernetes, sftrun, termination
from tests.unit.kinds.datasetupload.uploads import MINIMAL

Object = dict[str, Any]

REPO = MINIMAL["destination"]["repo"]
FIRST, SECOND = "1" * 40, "2" * 40


class Uploads(Harness):
    """An operator whose reconciled object can be switched between a run and its upload."""

    def __init__(self) -> None:
        super().__init__()
        self.run_pods = self.kubernetes
        self.upload_pods = Kubernetes(self.cluster, "chats-dsup")

    async def reconcile_run(self) -> None:
        self.key, self.kubernetes = Key("SFTRun", NAMESPACE, "tiny"), self.run_pods
        await self.settle()

    async def reconcile_upload(self) -> None:
        self.key, self.kubernetes = Key("DatasetUpload", NAMESPACE, "chats"), self.upload_pods
        await self.settle()

    async def apply_run(self) -> None:
        self.cluster.put(sftrun("tiny", datasets=[{"uploadRef": {"name": "chats"}}]))
        await self.reconcile_run()

    async def apply_upload(self) -> None:
        self.cluster.put(
            {
                "apiVersion": names.API_VERSION,
                "kind": "DatasetUpload",
                "metadata": {"name": "chats", "namespace": NAMESPACE},
                "spec": {**MINIMAL, "runtime": {"image": "x/y:1"}},
            }
        )
        await self.reconcile_upload()

    async def upload(self, commit: str = FIRST) -> None:
        """Apply the upload and bring it to its end."""
        await self.apply_upload()
        self.kubernetes.start()
        await self.settle()
        message = termination("finished", "Completed", progress={"phase": 3, "total": 1, "commit": commit})
        self.kubernetes.end(message=message)
        self.kubernetes.complete_job()
        await self.settle()

    async def fail_upload(self) -> None:
        await self.apply_upload()
        self.kubernetes.start()
        await self.settle()
        self.kubernetes.end(exit_code=4, message=termination("failed", "DataInvalid"))
        self.kubernetes.fail_job()
        await self.settle()

    @property
    def tiny(self) -> Object:
        return self.cluster.find(names.SFTRUN, "tiny")

    def told(self, type_: str) -> tuple[str, str]:
        found = by_type(self.tiny["status"])[type_]
        return found["status"], found["reason"]

    def commands(self) -> list[list[str]]:
        """Of the Jobs of the run, oldest first."""
        jobs = [job for job in self.cluster.of_kind(names.JOB) if "-dsup-" not in job["metadata"]["name"]]
        containers = (job["spec"]["template"]["spec"]["containers"][0] for job in jobs)
        return [json.loads(container["env"][0]["value"])["command"] for container in containers]

    def datasets(self) -> list[str]:
        """What each Job of the run trains on."""
        return [words[words.index("--dataset") + 1] for words in self.commands()]


@pytest.fixture
def harness() -> Uploads:
    return Uploads()


async def test_a_run_waits_for_an_upload_that_comes_later_and_trains_on_its_commit(harness: Uploads) -> None:
    await harness.apply_run()
    assert harness.told("DependenciesReady") == ("False", "SourceMissing")
    assert harness.tiny["status"]["state"] == "Pending"

    await harness.apply_upload()
    assert Key("SFTRun", NAMESPACE, "tiny") in harness.engine.referring(Key("DatasetUpload", NAMESPACE, "chats"))
    await harness.reconcile_run()
    assert harness.told("DependenciesReady") == ("False", "SourcePending")
    assert harness.datasets() == []

    await harness.upload()
    await harness.reconcile_run()
    assert harness.datasets() == [f"{REPO}@{FIRST}"]
    assert harness.tiny["status"]["resolved"]["datasets"] == [
        {"upload": "chats", "hub": "modelscope", "repo": REPO, "revision": FIRST}
    ]


async def test_an_upload_that_fails_is_told_until_another_one_takes_its_place(harness: Uploads) -> None:
    await harness.apply_run()
    await harness.fail_upload()
    await harness.reconcile_run()
    assert harness.told("Stalled") == ("True", "SourceFailed")
    assert "DatasetUpload chats has failed (DataInvalid)" in by_type(harness.tiny["status"])["Stalled"]["message"]
    harness.cluster.remove(names.DATASETUPLOAD, NAMESPACE, "chats")
    harness.cluster.remove(names.JOB, NAMESPACE, "chats-dsup-1")
    await harness.reconcile_run()
    await harness.upload()
    await harness.reconcile_run()
    assert harness.told("Stalled") == ("False", "Valid")
    assert harness.datasets() == [f"{REPO}@{FIRST}"]


async def test_an_upload_that_is_deleted_ends_the_wait(harness: Uploads) -> None:
    await harness.apply_run()
    await harness.apply_upload()
    await harness.reconcile_run()
    harness.cluster.remove(names.DATASETUPLOAD, NAMESPACE, "chats")
    await harness.reconcile_run()
    assert harness.told("Stalled") == ("True", "SourceDeleted")
    await harness.apply_upload()
    await harness.reconcile_run()
    assert harness.told("Stalled") == ("False", "Valid")
    assert harness.told("DependenciesReady") == ("False", "SourcePending")


@pytest.mark.parametrize("again", [False, True])
async def test_a_second_attempt_stays_with_the_commit_though_the_upload_is_gone_or_made_anew(
    harness: Uploads, again: bool
) -> None:
    await harness.upload()
    await harness.apply_run()
    harness.run_pods.start()
    await harness.reconcile_run()
    harness.cluster.remove(names.DATASETUPLOAD, NAMESPACE, "chats")
    harness.cluster.remove(names.JOB, NAMESPACE, "chats-dsup-1")
    await harness.reconcile_run()
    if again:
        harness.upload_pods = Kubernetes(harness.cluster, "chats-dsup")
        await harness.upload(SECOND)
        await harness.reconcile_run()
    harness.restart()
    harness.run_pods.end(exit_code=7, message=termination("failed", "HubUnreachable"))
    harness.run_pods.fail_job()
    await harness.reconcile_run()
    harness.cluster.now += 10
    await harness.reconcile_run()
    assert harness.tiny["status"]["attempts"] == 2
    first, second = harness.commands()
    assert second == first
    assert harness.datasets() == [f"{REPO}@{FIRST}"] * 2
    assert [known["revision"] for known in harness.tiny["status"]["resolved"]["datasets"]] == [FIRST]
