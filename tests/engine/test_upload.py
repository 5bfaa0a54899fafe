"""A DatasetUpload from its creation to its end, in the real engine on the cluster in memory."""

from __future__ import annotations

from typing import Any

from swiftop import names
from swiftop.model.conditions import by_type
from swiftop.model.kind import Key, Reading
from swiftop.runner.report import UPLOADING, read
from tests.engine.harness import Harness
from tests.engine.kubernetes import NAMESPACE, Kubernetes, termination
from tests.unit.kinds.datasetupload.uploads import MINIMAL

COUNTED = {"total": 3, "bad": 1, "duplicates": 0, "turns": 4, "characters": 20}


class Upload(Harness):
    """An upload that is applied."""

    def __init__(self, **spec: Any) -> None:
        super().__init__()
        self.key = Key("DatasetUpload", NAMESPACE, "chats")
        self.kubernetes = Kubernetes(self.cluster, "chats-dsup")
        self.cluster.put(
            {
                "apiVersion": names.API_VERSION,
                "kind": "DatasetUpload",
                "metadata": {"name": "chats", "namespace": NAMESPACE},
                "spec": {**MINIMAL, "runtime": {"image": "x/y:1"}, **spec},
            }
        )

    @property
    def run(self) -> dict[str, Any]:
        return self.cluster.find(names.DATASETUPLOAD, "chats")

    def tell(self, **document: Any) -> None:
        pod = self.cluster.find(names.POD, self.kubernetes.pod_name)
        self.readings.by_pod[pod["metadata"]["uid"]] = Reading(read(UPLOADING, document))

    async def next_attempt(self, number: int) -> None:
        """The pause is over, and the container of the next attempt runs."""
        self.cluster.now += 400
        await self.settle()
        self.kubernetes.attempt(number)
        self.kubernetes.start()
        await self.settle()

    def conditions(self, *types: str) -> list[tuple[str, str]]:
        found = by_type(self.status)
        return [(found[type_]["status"], found[type_]["reason"]) for type_ in types]


async def started(**spec: Any) -> Upload:
    upload = Upload(**spec)
    await upload.settle()
    upload.kubernetes.start()
    await upload.settle()
    return upload


async def test_from_apply_to_the_end() -> None:
    upload = await started()
    assert upload.job_names == ["chats-dsup-1"]
    assert upload.status["state"] == "Preparing"
    upload.tell(phase=1, bytesDone=5, bytesTotal=10, etaSeconds=90, total=2)
    upload.cluster.now += 60
    await upload.settle()
    assert upload.status["state"] == "Running"
    assert upload.status["progress"] == {"phase": "Checking", "bytesDone": 5, "bytesTotal": 10, "etaSeconds": 90}
    assert upload.status["display"]["eta"] == "1m30s"
    progress = {"phase": 3, **COUNTED, "bad": 0, "commit": "abc123", "visibility": "private"}
    upload.kubernetes.end(message=termination("finished", "Completed", progress=progress))
    upload.kubernetes.complete_job()
    await upload.settle()
    assert upload.conditions("Succeeded", "Checked", "Uploaded", "Verified") == [
        ("True", "Completed"),
        ("True", "Checked"),
        ("True", "Uploaded"),
        ("True", "Verified"),
    ]
    assert (upload.status["commit"], upload.status["rows"]["total"]) == ("abc123", 3)
    assert upload.status["url"] == "https://www.modelscope.cn/datasets/me/chats"


async def test_bad_rows_end_it_for_good_and_are_told() -> None:
    upload = await started()
    rows = [[2, "turn 1 (user) is empty"], ["x", "odd"], [3, "\x1b[31m" + "y" * 500], *[[9, "z"]] * 50]
    message = termination("failed", "DataInvalid", progress={"phase": 1, **COUNTED}, badRows=rows)
    upload.kubernetes.end(exit_code=4, message=message)
    upload.kubernetes.fail_job()
    await upload.settle()
    assert upload.conditions("Succeeded", "Checked", "Uploaded") == [
        ("False", "DataInvalid"),
        ("False", "DataInvalid"),
        ("False", "Pending"),
    ]
    assert upload.status["failure"]["reason"] == "DataInvalid"
    assert upload.status["rows"] == COUNTED
    told = upload.status["badRows"]
    assert told[0] == {"line": 2, "why": "turn 1 (user) is empty"}
    assert told[1]["why"] == "[31m" + "y" * 195
    assert len(told) == 19
    upload.cluster.now += 3600
    await upload.settle()
    assert upload.jobs_created() == 1


async def test_a_hub_that_is_away_is_tried_again() -> None:
    upload = await started(lifecycle={"maxRetries": 1})
    for attempt in (1, 2):
        if attempt == 2:
            await upload.next_attempt(2)
        upload.kubernetes.end(exit_code=7, message=termination("failed", "HubUnreachable", progress={"phase": 2}))
        upload.kubernetes.fail_job()
        await upload.settle()
    upload.cluster.now += 3600
    await upload.settle()
    assert upload.jobs_created() == 2
    assert upload.conditions("Succeeded", "Checked") == [("False", "HubUnreachable"), ("True", "Checked")]
    assert "(retries used up: 1)" in upload.status["failure"]["message"]


async def test_it_is_suspended_and_goes_on() -> None:
    upload = await started()
    obj = upload.run
    upload.cluster.put({**obj, "spec": {**obj["spec"], "suspend": True}})
    await upload.settle()
    upload.kubernetes.end_deletion(message=termination("interrupted", "Interrupted"))
    await upload.settle()
    assert upload.status["state"] == "Suspended"
    obj = upload.run
    upload.cluster.put({**obj, "spec": {**obj["spec"], "suspend": False}})
    await upload.settle()
    assert upload.job_names == ["chats-dsup-2"]


async def test_interruptions_without_end_speak_of_no_checkpoint() -> None:
    upload = await started()
    for attempt in (1, 2, 3):
        if attempt > 1:
            await upload.next_attempt(attempt)
        upload.kubernetes.disrupt()
        upload.kubernetes.end(exit_code=75, message=termination("interrupted", "Interrupted"))
        upload.kubernetes.fail_job()
        await upload.settle()
    failure = upload.status["failure"]
    assert failure["reason"] == "NoProgress"
    assert "checkpoint" not in failure["message"] + failure["suggestion"]
