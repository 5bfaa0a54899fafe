"""The demo's split of the time to the first step."""

from __future__ import annotations

import pytest

from demo.phases import phases, told

RUN = {"metadata": {"creationTimestamp": "2026-01-01T10:00:00Z"}}
POD = {
    "status": {
        "conditions": [{"type": "PodScheduled", "lastTransitionTime": "2026-01-01T10:00:01Z"}],
        "containerStatuses": [{"state": {"terminated": {"startedAt": "2026-01-01T10:00:03Z"}}}],
    }
}
LOG = [
    '2026-01-01T10:00:03.500000001Z swiftop-progress {"step": null}',
    "2026-01-01T10:00:10.250000001Z [INFO:swift] Successfully registered",
    "2026-01-01T10:00:15.250000001Z [INFO:swift] train_dataset: Dataset",
    "2026-01-01T10:00:18.250000001Z {'loss': 1.0, 'global_step/max_steps': '1/14'}",
    "2026-01-01T10:00:21.250000001Z {'loss': 0.9, 'global_step/max_steps': '2/14'}",
]


def test_each_phase_ends_where_its_first_mark_stands() -> None:
    assert phases(RUN, POD, LOG) == [
        ("Job made, pod scheduled", 1.0),
        ("container started", 2.0),
        ("runner started, ms-swift imported", 7.25),
        ("model and data loaded", 5.0),
        ("first step", 3.0),
    ]


def test_a_log_that_ends_early_shows_the_phases_that_it_reached() -> None:
    assert [title for title, _ in phases(RUN, POD, LOG[:2])][-1] == "runner started, ms-swift imported"


PARTS = (
    "Job made, pod scheduled 1.0 s, container started 2.0 s, runner started, ms-swift imported 7.2 s, "
    "model and data loaded 5.0 s"
)


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (LOG, f"from apply to the first step 18.2 s: {PARTS}, first step 3.0 s"),
        (LOG[:3], f"no log shows the first step; before it: {PARTS}"),
    ],
    ids=["whole", "cut"],
)
def test_the_total_is_told_only_where_the_first_step_was_seen(log: list[str], line: str) -> None:
    assert told(phases(RUN, POD, log)) == line


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"conditions": [{"type": "Ready", "lastTransitionTime": "2026-01-01T10:00:01Z"}]},
        {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]},
        {"containerStatuses": [{"state": {"terminated": {"startedAt": None}}}]},
    ],
)
def test_a_pod_that_never_ran_shows_nothing(status: dict[str, object]) -> None:
    assert told(phases(RUN, {"status": status}, [])) == "no log shows the first step; before it: nothing"
