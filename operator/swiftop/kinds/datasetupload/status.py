"""What the status of an upload has beside what all kinds have that end: rows, bad rows, commit, url."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftop.api.v1alpha1.datasetupload import DatasetUpload, DatasetUploadSpec
from swiftop.batch.kind import Own
from swiftop.batch.observe import Observed
from swiftop.kinds.datasetupload.display import progress_text, rows_text
from swiftop.model.conditions import Aspect, Aspects, as_before, by_type, told
from swiftop.model.facts import Report
from swiftop.model.kind import Frame, Status
from swiftop.model.times import duration
from swiftop.model.verdict import Failed, Finished, Phase, Waiting
from swiftop.reasons import ConditionType, Reason
from swiftop.runner import causes
from swiftop.runner.hub.causes import PUSH_INCOMPLETE
from swiftop.swift.pages import page

VOLATILE = frozenset({"rows", "progress", "display"})

PHASES = ("Preparing", "Checking", "Uploading", "Finished")
_UPLOADING = PHASES.index("Uploading")
_COUNTS = ("total", "bad", "duplicates", "turns", "characters", "tokens", "overLength")
_OF_DATA = frozenset(cause.reason for cause in (causes.DATA_INVALID, causes.DATASET_EMPTY, causes.DATASET_NOT_FOUND))


def own(frame: Frame[DatasetUpload, Observed]) -> Own:
    """Members and conditions of an upload."""
    upload, previous, report = frame.resource, frame.previous, frame.observed.report
    runs = isinstance(frame.outlook, Waiting) and frame.outlook.phase is Phase.RUNNING
    rows = _rows(report) or previous.get("rows")
    commit = (report or {}).get("commit") or previous.get("commit")
    progress = _progress(report) if runs or isinstance(frame.outlook, Finished) else None
    members: Status = {
        "rows": rows,
        "badRows": _bad_rows(frame.observed) or previous.get("badRows"),
        "commit": commit,
        "url": _page(upload.spec) if upload and commit else previous.get("url"),
        "visibility": (report or {}).get("visibility") or previous.get("visibility"),
        "progress": progress,
        "display": _display(upload, previous, rows or {}, progress or {}),
    }
    return Own(members=members, aspects=_aspects(frame, report), reported=bool((report or {}).get("phase")))


def _page(spec: DatasetUploadSpec) -> str:
    return page(spec.destination.hub, spec.destination.repo, spec.runtime.env, dataset=True)


def _rows(report: Report | None) -> Status | None:
    """Nothing is counted before the first row; a later attempt counts anew."""
    found = {name: report[name] for name in _COUNTS if name in report} if report else {}
    return found or None


def _bad_rows(observed: Observed) -> list[Status]:
    """As the pod told at its end. They come out of a user's data: cut and made printable when they were read."""
    leader = observed.leader
    outcome = leader.ended.outcome if leader and leader.ended else None
    return [{"line": bad.line, "why": bad.why} for bad in (outcome.bad_rows if outcome else ())]


def _progress(report: Report | None) -> Status | None:
    if not report or "phase" not in report:
        return None
    phase = int(report["phase"])
    known = {name: report[name] for name in ("bytesDone", "bytesTotal", "etaSeconds") if name in report}
    return {"phase": PHASES[min(phase, len(PHASES) - 1)], **known}


def _display(
    upload: DatasetUpload | None, previous: Mapping[str, Any], rows: Mapping[str, Any], progress: Mapping[str, Any]
) -> Status:
    destination = upload.spec.destination if upload else None
    known = (previous.get("display") or {}).get("destination")
    found = {
        "destination": f"{destination.hub}:{destination.repo}" if destination else known,
        "rows": rows_text(rows),
        "progress": progress_text(progress),
        "eta": duration(progress["etaSeconds"]) if "etaSeconds" in progress else "",
    }
    return {name: text for name, text in found.items() if text}


def _aspects(frame: Frame[DatasetUpload, Observed], report: Report | None) -> Aspects:
    outlook, before = frame.outlook, by_type(frame.previous)
    if isinstance(outlook, Finished):
        return {
            ConditionType.CHECKED: Aspect("True", Reason.CHECKED),
            ConditionType.UPLOADED: Aspect("True", Reason.UPLOADED),
            ConditionType.VERIFIED: Aspect("True", Reason.VERIFIED, _how(report, before)),
        }
    failed = outlook.cause if isinstance(outlook, Failed) else None
    pending = Aspect("False", Reason.PENDING)
    if failed is not None and failed.reason in _OF_DATA:
        return {
            ConditionType.CHECKED: told("False", failed),
            ConditionType.UPLOADED: pending,
            ConditionType.VERIFIED: pending,
        }
    checked = Aspect("True", Reason.CHECKED) if _checked(report) else as_before(before, ConditionType.CHECKED)
    incomplete = failed is not None and failed.reason == PUSH_INCOMPLETE.reason
    return {
        ConditionType.CHECKED: checked if checked.status == "True" else pending,
        ConditionType.UPLOADED: told("False", failed) if failed is not None else pending,
        ConditionType.VERIFIED: told("False", failed) if failed is not None and incomplete else pending,
    }


def _how(report: Report | None, before: Mapping[str, Mapping[str, Any]]) -> str:
    """How the file was verified, when not by its digest."""
    if not report:
        return as_before(before, ConditionType.VERIFIED).message
    return "compared by its size alone, since the hub tells no digest of it" if report.get("bySize") else ""


def _checked(report: Report | None) -> bool:
    return int((report or {}).get("phase", 0)) >= _UPLOADING
