"""Numbers for Prometheus. The only module that knows its client: everybody else calls a function named after a fact.

State that can be counted at scrape time (runs by state, queue depth) is read from its owner then, and never kept twice.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FAST = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_RUN = (60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 24 * 3600.0, 3 * 86400.0, 7 * 86400.0)


class _Runs(Collector):
    """Runs by namespace and state, counted when asked: a deleted run leaves no stale series behind."""

    def __init__(self, runs: Callable[[], Iterable[dict[str, Any]]]) -> None:
        self._runs = runs

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily("swiftop_runs", "SFTRuns by state", labels=("namespace", "state"))
        tally = Tally(
            (run["metadata"]["namespace"], run.get("status", {}).get("state") or "Pending") for run in self._runs()
        )
        for labels, count in tally.items():
            family.add_metric(labels, count)
        yield family


class Metrics:
    """All metrics of one operator process, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._reconciles = Histogram(
            "swiftop_reconcile_seconds", "Time of one reconcile", ("result",), buckets=_FAST, registry=registry
        )
        self._errors = Counter("swiftop_reconcile_errors", "Failed reconciles by class", ("error",), registry=registry)
        self._waits = Histogram("swiftop_queue_wait_seconds", "Time of a key in line", buckets=_FAST, registry=registry)
        self._writes = Counter("swiftop_api_writes", "Writes to the API server", ("verb", "kind"), registry=registry)
        self._durations = Histogram(
            "swiftop_run_duration_seconds",
            "Start to end of a run",
            ("namespace", "state"),
            buckets=_RUN,
            registry=registry,
        )
        self._pulls = Counter(
            "swiftop_progress_pulls", "Looks at a pod's progress", ("source", "result"), registry=registry
        )
        self._unheard = Gauge(
            "swiftop_watch_unheard_seconds",
            "Since a resync found what the watch has yet to tell; ends the process at a limit",
            registry=registry,
        )
        self._lease = Gauge("swiftop_lease_held", "1 while this replica leads", registry=registry)
        self._resync = Gauge("swiftop_last_resync_timestamp_seconds", "Unix time of the last resync", registry=registry)
        self._depth = Gauge("swiftop_queue_depth", "Keys in line", registry=registry)
        self._oldest = Gauge(
            "swiftop_queue_oldest_seconds", "Age of the oldest key in line or in work", registry=registry
        )

    def watch_queue(self, *, depth: Callable[[], float], oldest: Callable[[], float]) -> None:
        """Read the queue at scrape time."""
        self._depth.set_function(depth)
        self._oldest.set_function(oldest)

    def watch_ears(self, unheard: Callable[[], float]) -> None:
        """Read at scrape time how long a watch owes something."""
        self._unheard.set_function(unheard)

    def watch_runs(self, runs: Callable[[], Iterable[dict[str, Any]]]) -> None:
        """Count the runs at scrape time."""
        self._registry.register(_Runs(runs))

    def reconciled(self, seconds: float, error: Exception | None = None) -> None:
        """One reconcile ended."""
        self._reconciles.labels("error" if error else "ok").observe(seconds)
        if error:
            self._errors.labels(type(error).__name__).inc()

    def waited(self, seconds: float) -> None:
        """A key left the line."""
        self._waits.observe(seconds)

    def wrote(self, verb: str, kind: str) -> None:
        """The API server took a write."""
        self._writes.labels(verb, kind).inc()

    def pulled(self, source: str, ok: bool) -> None:
        """A pod's progress was asked for."""
        self._pulls.labels(source, "ok" if ok else "failed").inc()

    def lease(self, held: bool) -> None:
        """The Lease was won or given back."""
        self._lease.set(held)

    def resynced(self, unix_time: float) -> None:
        """A resync went through."""
        self._resync.set(unix_time)

    def run_changed(self, before: dict[str, Any] | None, after: dict[str, Any]) -> None:
        """A run's new version was seen: its duration counts once, when its end first appears."""
        status = after.get("status", {})
        end, start = status.get("completionTime"), status.get("startTime")
        if before is None or before.get("status", {}).get("completionTime") or not (end and start):
            return
        seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
        self._durations.labels(after["metadata"]["namespace"], status.get("state", "")).observe(seconds)

    def exposition(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self._registry)
