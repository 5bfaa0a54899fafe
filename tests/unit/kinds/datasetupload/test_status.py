"""What the status of an upload has of its own: rows, bad rows, commit, conditions, texts."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from swiftop.api.v1alpha1.datasetupload import DatasetUpload, DatasetUploadStatus, Rows
from swiftop.batch.observe import Observed
from swiftop.engine.publish import merge_patch, settled
from swiftop.kinds.datasetupload.display import progress_text, rows_text
from swiftop.kinds.datasetupload.kind import KIND
from swiftop.model.conditions import by_type
from swiftop.model.facts import Cause, Outcome, Report
from swiftop.model.kind import Frame
from swiftop.model.verdict import Blocked, Failed, Finished, Outlook, Phase, Suspended, Waiting
from swiftop.runner.report import UPLOADING, BadRow
from tests.unit.batch.facts import FAILED, JOB, RUNS, START, at, ended
from tests.unit.kinds.datasetupload.uploads import WHOLE, upload

RUNNING = Waiting(Phase.RUNNING, Cause("Running", "it works"))
PENDING = Waiting(Phase.PENDING, Cause("JobCreated", "the Job is created"))
INVALID = Blocked(Cause("InvalidSpec", "no"), stalled=True)
STOPPED = Suspended(Cause("Suspended", "by spec.suspend"))
DONE = Finished("Completed", "all rows are there")
BAD = Failed(Cause("DataInvalid", "1 of its 3 rows cannot be trained on", "fix them"))
BROKE = Failed(Cause("HubUnreachable", "no answer", "wait"))
INCOMPLETE = Failed(Cause("PushIncomplete", "the hub lists less", "apply again"))
OUTLOOKS: tuple[Outlook, ...] = (RUNNING, PENDING, INVALID, STOPPED, DONE, BAD, BROKE, INCOMPLETE)

CHECKING: Report = {"phase": 1, "bytesDone": 3 << 30, "bytesTotal": 4 << 30, "etaSeconds": 40, "total": 900, "bad": 0}
COUNTED = {"total": 1000, "bad": 1, "duplicates": 2, "turns": 4000, "characters": 90000, "tokens": 300, "overLength": 0}
PUSHING: Report = {"phase": 2, "bytesDone": 0, "bytesTotal": 4 << 30, **COUNTED}
PUSHED: Report = {"phase": 3, **COUNTED, "commit": "abc123", "visibility": "private"}


def status(
    outlook: Outlook,
    previous: dict[str, Any] | None = None,
    report: Report | None = None,
    *,
    observed: Observed | None = None,
    readable: bool = True,
    **spec: Any,
) -> dict[str, Any]:
    obj = {**upload(meta={"creationTimestamp": at(0), "generation": 3}, **spec), "status": previous or {}}
    seen = observed or Observed(JOB, (RUNS,), heard=report)
    resource = DatasetUpload.from_object(obj) if readable else None
    frame = Frame(obj=obj, resource=resource, outlook=outlook, observed=seen, before=seen, now=START + 100)
    return KIND.project(frame)


def conditions(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Checked, Uploaded and Verified."""
    return [(c["status"], c["reason"]) for c in list(by_type(found).values())[-3:]]


def test_a_status_of_an_upload_that_works() -> None:
    found = status(RUNNING, report=CHECKING)
    assert {name: value for name, value in found.items() if name != "conditions"} == {
        "state": "Running",
        "observedGeneration": 3,
        "attempts": 1,
        "startTime": at(10),
        "rows": {"total": 900, "bad": 0},
        "progress": {"phase": "Checking", "bytesDone": 3 << 30, "bytesTotal": 4 << 30, "etaSeconds": 40},
        "display": {
            "destination": "modelscope:me/chats",
            "rows": "900",
            "progress": "Checking 3.0/4.0 GiB (75%)",
            "eta": "40s",
        },
    }
    assert [c["type"] for c in found["conditions"]][-3:] == ["Checked", "Uploaded", "Verified"]
    assert conditions(found) == [("False", "Pending")] * 3


def test_a_status_of_one_that_is_done() -> None:
    said = Outcome(outcome="finished", reason="Completed", report=PUSHED, bad_rows=(BadRow(7, "is empty"),))
    found = status(DONE, observed=Observed(JOB, (ended(0, "Completed", outcome=said),)))
    assert conditions(found) == [("True", "Checked"), ("True", "Uploaded"), ("True", "Verified")]
    assert found["rows"] == COUNTED
    assert found["badRows"] == [{"line": 7, "why": "is empty"}]
    assert (found["commit"], found["visibility"]) == ("abc123", "private")
    assert found["url"] == "https://www.modelscope.cn/datasets/me/chats"
    assert found["display"]["rows"] == "1000 (1 bad)"
    assert found["progress"] == {"phase": "Finished"}


def test_the_page_is_that_of_the_mirror() -> None:
    assert status(DONE, report=PUSHED, **WHOLE)["url"] == "https://hf-mirror.example/datasets/me/chats"


@pytest.mark.parametrize(
    ("outlook", "report", "expected"),
    [
        (RUNNING, PUSHING, [("True", "Checked"), ("False", "Pending"), ("False", "Pending")]),
        (BAD, CHECKING, [("False", "DataInvalid"), ("False", "Pending"), ("False", "Pending")]),
        (BROKE, CHECKING, [("False", "Pending"), ("False", "HubUnreachable"), ("False", "Pending")]),
        (BROKE, PUSHING, [("True", "Checked"), ("False", "HubUnreachable"), ("False", "Pending")]),
        (INCOMPLETE, PUSHING, [("True", "Checked"), ("False", "PushIncomplete"), ("False", "PushIncomplete")]),
    ],
)
def test_conditions_tell_how_far_it_came(outlook: Outlook, report: Report, expected: list[tuple[str, str]]) -> None:
    assert conditions(status(outlook, report=report)) == expected


def test_bad_rows_stay_when_the_pod_is_gone() -> None:
    said = Outcome(outcome="failed", reason="DataInvalid", report=CHECKING, bad_rows=(BadRow(7, "is empty"),))
    old = status(BAD, observed=Observed(FAILED, (ended(4, outcome=said),)))
    assert old["badRows"] == [{"line": 7, "why": "is empty"}]
    again = status(BAD, copy.deepcopy(old), observed=Observed(FAILED))
    assert (again["badRows"], again["rows"]) == (old["badRows"], old["rows"])


@pytest.mark.parametrize("outlook", OUTLOOKS)
@pytest.mark.parametrize("report", [None, CHECKING, PUSHING, PUSHED], ids=["silent", "checking", "pushing", "pushed"])
def test_every_status_is_one_of_the_schema_and_the_same_again_is_no_write(
    outlook: Outlook, report: Report | None
) -> None:
    found = status(outlook, report=report)
    model = DatasetUploadStatus.model_validate(found)
    assert model.model_dump(by_alias=True, exclude_unset=True, mode="json") == found
    assert json.loads(json.dumps(found)) == found
    again, wake = settled(
        found, status(outlook, copy.deepcopy(found), report), volatile=KIND.volatile, since_write=1000
    )
    assert (merge_patch(found, again), wake) == ({}, None)
    unread = status(outlook, copy.deepcopy(found), report, readable=False)
    assert {name for name in found if name not in unread} <= {"url"}


def test_rows_are_members_of_a_report() -> None:
    reported = {member.name for member in UPLOADING}
    assert {field.alias for field in Rows.model_fields.values()} <= reported


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        ({}, ""),
        ({"phase": "Checking"}, "Checking"),
        ({"phase": "Checking", "bytesDone": 0, "bytesTotal": 0}, "Checking"),
        ({"phase": "Uploading", "bytesDone": 1, "bytesTotal": 3}, "Uploading 1.0/3.0 B (33%)"),
        ({"phase": "Uploading", "bytesDone": 9 << 50, "bytesTotal": 8 << 50}, "Uploading 9216.0/8192.0 TiB (100%)"),
        ({"phase": "Finished", "bytesDone": 1, "bytesTotal": 3}, "Finished"),
    ],
)
def test_progress_in_words(progress: dict[str, Any], text: str) -> None:
    assert progress_text(progress) == text
    assert rows_text({}) == ""
