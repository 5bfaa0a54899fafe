"""Where the time from ``kubectl apply`` to the first training step went: read from the cluster's own timestamps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

# First line that shows the phase is over, in the log of ms-swift 4.6 under the runner.
MARKS = (
    ("runner started, ms-swift imported", re.compile(r"run sh|Start time of running main|\[INFO:swift\]")),
    ("model and data loaded", re.compile(r"train_dataset|The SftArguments will be saved")),
    ("first step", re.compile(r"global_step/max_steps")),
)


def moment(text: str) -> datetime:
    """A timestamp of Kubernetes; a log line's has nanoseconds, of which microseconds are kept."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6] or '0'}").replace(tzinfo=UTC)


def phases(run: dict[str, Any], pod: dict[str, Any], log: Iterable[str]) -> list[tuple[str, float]]:
    """Each phase with its seconds, in order.

    Args:
        run: the SFTRun.
        pod: its pod, which has ended.
        log: lines of ``kubectl logs --timestamps``.
    """
    conditions = {c["type"]: c["lastTransitionTime"] for c in pod["status"]["conditions"]}
    state = pod["status"]["containerStatuses"][0]["state"]
    started = (state.get("terminated") or state["running"])["startedAt"]
    marks = [
        ("Job made, pod scheduled", moment(conditions["PodScheduled"])),
        ("container started", moment(started)),
        *_in_log(log),
    ]
    before = moment(run["metadata"]["creationTimestamp"])
    found = []
    for title, at in marks:
        found.append((title, max(0.0, (at - before).total_seconds())))
        before = max(before, at)
    return found


def _in_log(log: Iterable[str]) -> list[tuple[str, datetime]]:
    waiting = list(MARKS)
    found = []
    for line in log:
        if not waiting:
            break
        stamp, _, text = line.partition(" ")
        if waiting[0][1].search(text):
            found.append((waiting.pop(0)[0], moment(stamp)))
    return found
