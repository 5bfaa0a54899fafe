"""A flood of scrapes costs one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from swiftop.shell.metrics import Metrics


def test_an_exposition_answers_all_who_ask_within_a_second() -> None:
    now, counts = [100.0], []

    def objects() -> Iterable[tuple[str, dict[str, Any]]]:
        counts.append(now[0])
        return [("SFTRun", {"metadata": {"namespace": "ns"}})] * len(counts)

    metrics = Metrics(monotonic=lambda: now[0])
    metrics.watch_objects(objects)
    counts.clear()  # registering looks once
    first = metrics.exposition()
    assert b'state="Pending"} 1.0' in first
    now[0] += 0.9
    assert metrics.exposition() is first
    now[0] += 0.1
    assert b'state="Pending"} 2.0' in metrics.exposition()
    assert counts == [100.0, 101.0]
