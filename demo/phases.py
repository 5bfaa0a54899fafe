"""Where the time from ``kubectl apply`` to the first training step went: read from the cluster's own timestamps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

FIRST_STEP = "first step"
# First line that shows the phase is over, in the log of ms-swift 4.6 under the runner.
MARKS = (
    ("runner started, ms-swift imported", re.compile(r"run sh|Start time of running main|\[INFO:swift\]")),
    ("model and data loaded", re.compile(r"train_dataset|The SftArguments will be saved")),
    (FIRST_STEP, re.compile(r"global_step/max_steps")),
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
    marks = [*_in_status(pod.get("status", {})), *_in_log(log)]
    before = moment(run["metadata"]["creationTimestamp"])
    found = []
    for title, at in marks:
        found.append((title, max(0.0, (at - before).total_seconds())))
        before = max(before, at)
    return found


def first_step(found: Sequence[tuple[str, float]]) -> bool:
    """Whether the phases reach the first step."""
    return bool(found) and found[-1][0] == FIRST_STEP


def told(found: Sequence[tuple[str, float]]) -> str:
    """The phases as a line; with a total only where the first step was seen."""
    parts = ", ".join(f"{title} {seconds:.1f} s" for title, seconds in found)
    if first_step(found):
        return f"from apply to the first step {sum(seconds for _, seconds in found):.1f} s: {parts}"
    return f"no log shows the first step; before it: {parts or 'nothing'}"


def _in_status(status: dict[str, Any]) -> list[tuple[str, datetime]]:
    """A pod that was evicted, or never started, lacks some of it."""
    scheduled = [c["lastTransitionTime"] for c in status.get("conditions", ()) if c["type"] == "PodScheduled"]
    states = [container["state"] for container in status.get("containerStatuses", ())[:1]]
    ran = [state.get("terminated") or state.get("running") or {} for state in states]
    return [
        *(("Job made, pod scheduled", moment(at)) for at in scheduled),
        *(("container started", moment(state["startedAt"])) for state in ran if state.get("startedAt")),
    ]


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
