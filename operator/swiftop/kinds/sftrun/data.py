"""What became of the rows of the data: what the status says of them, and when that is a warning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftop.model.conditions import Aspect
from swiftop.model.facts import Report
from swiftop.model.kind import Status
from swiftop.reasons import Reason

MOST_DROPPED = 0.05  # share of the rows; above it a run is likely not what was meant

_MEMBERS = {
    "dataRows": "rows",
    "dataDropped": "dropped",
    "dataTooLong": "tooLong",
    "dataTruncated": "truncated",
    "validationRows": "validationRows",
    "validationDropped": "validationDropped",
}


def status(report: Report | None, previous: Mapping[str, Any]) -> Status | None:
    """Members of ``status.data``. A pod that has not read the data yet leaves what an earlier one told."""
    found: Status = {shown: report[name] for name, shown in _MEMBERS.items() if report and name in report}
    return found or previous.get("data")


def complete(data: Mapping[str, Any] | None) -> Aspect:
    """The condition: what was dropped is told in any case, and is a warning when it is much."""
    if not data:
        return Aspect("Unknown", Reason.PENDING)
    rows, dropped = data.get("rows", 0), data.get("dropped", 0)
    validation, lost = data.get("validationRows", 0), data.get("validationDropped", 0)
    if validation and lost >= validation:
        text = f"all {validation} rows of the validation data were dropped, so that nothing is evaluated"
        return Aspect("False", Reason.VALIDATION_EMPTY, "; ".join([text, *_texts("rows", rows, dropped, data)]))
    texts = [
        *_texts("rows", rows, dropped, data),
        *_texts("rows of the validation data", validation, lost, {}),
    ]
    much = dropped > MOST_DROPPED * rows or lost > MOST_DROPPED * validation
    return Aspect("False" if much else "True", Reason.ROWS_DROPPED if much else Reason.ROWS_KEPT, "; ".join(texts))


def _texts(what: str, rows: int, dropped: int, data: Mapping[str, Any]) -> list[str]:
    if not dropped or not rows:
        return []
    text = f"{dropped} of {rows} {what} ({dropped / rows:.0%}) were dropped"
    long = data.get("tooLong")
    if long:
        text += f", {long} longer than training.maxLength"
    if long is not None and dropped > long:
        text += f", {dropped - long} that the chat template cannot encode: see the beginning of the pod's log"
    return [text]
