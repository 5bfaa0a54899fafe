"""What the status of an export has of its own: artifact, targets, progress, conditions, texts."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from swiftop.api.v1alpha1.modelexport import ModelExport, ModelExportStatus
from swiftop.batch.observe import Observed
from swiftop.engine.publish import merge_patch, settled
from swiftop.kinds.modelexport.kind import KIND
from swiftop.model.conditions import by_type
from swiftop.model.facts import Cause, Report
from swiftop.model.kind import Frame
from swiftop.model.verdict import Blocked, Failed, Finished, Outlook, Phase, Suspended, Waiting
from tests.apiserver.cases import merged
from tests.apiserver.export_cases import MINIMAL
from tests.unit.batch.facts import JOB, RUNS, START, at

RUNNING = Waiting(Phase.RUNNING, Cause("Running", "it works"))
PENDING = Waiting(Phase.PENDING, Cause("SourcePending", "it waits for the run"))
BLOCKED = Blocked(Cause("SourceFailed", "the run has failed"), stalled=True)
STOPPED = Suspended(Cause("Suspended", "by spec.suspend"))
DONE = Finished("Completed", "the export is complete")
BROKE = Failed(Cause("VerificationFailed", "a tensor differs", "look at it"))
OUTLOOKS: tuple[Outlook, ...] = (RUNNING, PENDING, BLOCKED, STOPPED, DONE, BROKE)

UID = "0f3a1c9e-5d1b-4e0a-9a55-0c1d2e3f4a5b"
PUSH = [{"hub": "modelscope", "repo": "me/a"}, {"hub": "huggingface", "repo": "me/b", "revision": "v1"}]
MERGING: Report = {"phase": 1, "bytesDone": 1, "bytesTotal": 4}
MADE: Report = {"artifactDigest": "ab" * 32, "artifactBytes": 512_000_000, "artifactDtype": "bfloat16", "verified": 1}
MADE = {**MADE, "artifactEvalLoss": 0.75}
PUSHING: Report = {"phase": 4, **MADE, "templateEqual": 0, "commit1": "c1", "visibility1": "private", "files1": 7}
PUSHED: Report = {**PUSHING, "phase": 5, "commit0": "c0"}


def status(
    outlook: Outlook,
    previous: dict[str, Any] | None = None,
    report: Report | None = None,
    *,
    readable: bool = True,
    **spec: Any,
) -> dict[str, Any]:
    known = {"metadata": {"uid": UID, "creationTimestamp": at(0), "generation": 3}, "spec": {"push": PUSH, **spec}}
    obj = {**merged(MINIMAL, known), "status": previous or {}}
    seen = Observed(JOB, (RUNS,), heard=report)
    resource = ModelExport.from_object(obj) if readable else None
    frame = Frame(obj=obj, resource=resource, outlook=outlook, observed=seen, before=seen, now=START + 100)
    return KIND.project(frame)


def conditions(found: dict[str, Any]) -> list[tuple[str, str]]:
    """SourceReady, Merged, Verified and Pushed."""
    return [(c["status"], c["reason"]) for c in list(by_type(found).values())[-4:]]


def test_a_status_of_an_export_whose_second_target_is_done_first() -> None:
    found = status(RUNNING, report=PUSHING)
    assert {name: value for name, value in found.items() if name != "conditions"} == {
        "state": "Running",
        "observedGeneration": 3,
        "attempts": 1,
        "startTime": at(10),
        "output": {"claimName": "minimal-mexp-output", "path": "minimal-0f3a1c9e"},
        "artifact": {
            "claimName": "minimal-mexp-output",
            "path": "minimal-0f3a1c9e/model",
            "digest": f"sha256:{'ab' * 32}",
            "bytes": 512_000_000,
            "dtype": "bfloat16",
            "evalLoss": 0.75,
            "templateEqual": False,
        },
        "targets": [
            {
                "hub": "huggingface",
                "repo": "me/b",
                "revision": "v1",
                "visibility": "private",
                "commit": "c1",
                "url": "https://huggingface.co/me/b",
                "files": 7,
            }
        ],
        "progress": {"phase": "Pushing"},
        "display": {
            "source": "run/last",
            "targets": "modelscope:me/a, huggingface:me/b (1/2)",
            "dtype": "bfloat16",
            "size": "512.0 MB",
            "progress": "Pushing",
        },
    }


@pytest.mark.parametrize(
    ("outlook", "report", "expected"),
    [
        (PENDING, None, [("False", "SourcePending"), *[("Unknown", "Pending")] * 3]),
        (BLOCKED, None, [("False", "SourceFailed"), *[("Unknown", "Pending")] * 3]),
        (RUNNING, MERGING, [("True", "Ready"), *[("Unknown", "Pending")] * 3]),
        (RUNNING, PUSHING, [("True", "Ready"), ("True", "Merged"), ("True", "Verified"), ("Unknown", "Pending")]),
        (BROKE, MERGING, [("True", "Ready"), *[("False", "VerificationFailed")] * 3]),
        (DONE, PUSHED, [("True", "Ready"), ("True", "Merged"), ("True", "Verified"), ("True", "Pushed")]),
    ],
)
def test_conditions_tell_how_far_it_came(outlook: Outlook, report: Report, expected: list[tuple[str, str]]) -> None:
    assert conditions(status(outlook, report=report)) == expected


def test_what_was_not_asked_for_is_said_to_be_left_out() -> None:
    made = {name: value for name, value in PUSHED.items() if name != "verified"}
    assert conditions(status(DONE, report=made, verify="Skip", push=[]))[-2:] == [
        ("False", "VerificationSkipped"),
        ("False", "NothingToPush"),
    ]


def test_what_was_made_stays_when_the_pod_is_gone() -> None:
    old = status(RUNNING, report=PUSHING)
    again = status(STOPPED, copy.deepcopy(old))
    assert {name: again[name] for name in ("artifact", "targets", "output")} == {
        name: old[name] for name in ("artifact", "targets", "output")
    }


@pytest.mark.parametrize("outlook", OUTLOOKS)
@pytest.mark.parametrize("report", [None, MERGING, PUSHING, PUSHED], ids=["silent", "merging", "pushing", "pushed"])
def test_every_status_is_one_of_the_schema_and_the_same_again_is_no_write(
    outlook: Outlook, report: Report | None
) -> None:
    found = status(outlook, report=report)
    model = ModelExportStatus.model_validate(found)
    assert model.model_dump(by_alias=True, exclude_unset=True, mode="json") == found
    assert json.loads(json.dumps(found)) == found
    again, requeue_after = settled(
        found, status(outlook, copy.deepcopy(found), report), volatile=KIND.volatile, since_write=1000
    )
    assert (merge_patch(found, again), requeue_after) == ({}, None)
    unread = status(outlook, copy.deepcopy(found), report, readable=False)
    assert {name for name in found if name not in unread} == set()
