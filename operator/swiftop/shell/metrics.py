"""Numbers for Prometheus. The only module that knows its client: everybody else calls a function named after a fact.

State that can be counted at scrape time (objects by state, queue depth) is read from its owner then and never kept
twice.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Object = dict[str, Any]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FAST = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_FRESH_SECONDS = 1.0  # that one exposition answers all who ask
_DURATIONS = (60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 24 * 3600.0, 3 * 86400.0, 7 * 86400.0)


class _Objects(Collector):
    """Objects by kind, namespace and state, counted when asked: a deleted one leaves no stale series behind."""

    def __init__(self, objects: Callable[[], Iterable[tuple[str, Object]]]) -> None:
        self._objects = objects

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "swiftop_objects", "Objects of swiftop's kinds by state", labels=("kind", "namespace", "state")
        )
        tally = Tally(
            (kind, obj["metadata"]["namespace"], obj.get("status", {}).get("state") or "Pending")
            for kind, obj in self._objects()
        )
        for labels, count in tally.items():
            family.add_metric(labels, count)
        yield family


class Metrics:
    """All metrics of one operator process, in a registry of their own."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._exposed = (float("-inf"), b"")  # when, and what
        self._registry = registry = CollectorRegistry()
        self._reconciles = Histogram(
            "swiftop_reconcile_seconds", "Time of one reconcile", ("kind", "result"), buckets=_FAST, registry=registry
        )
        self._errors = Counter(
            "swiftop_reconcile_errors", "Failed reconciles by class", ("kind", "error"), registry=registry
        )
        self._waits = Histogram("swiftop_queue_wait_seconds", "Time of a key in line", buckets=_FAST, registry=registry)
        self._writes = Counter("swiftop_api_writes", "Writes to the API server", ("verb", "kind"), registry=registry)
        self._durations = Histogram(
            "swiftop_object_duration_seconds",
            "Start to end of an object that ends, as a run does",
            ("kind", "namespace", "state"),
            buckets=_DURATIONS,
            registry=registry,
        )
        self._pulls = Counter(
            "swiftop_progress_pulls", "Requests for a pod's progress", ("source", "result"), registry=registry
        )
        self._stalled = Gauge(
            "swiftop_watch_stalled_seconds",
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

    def watch_stalls(self, longest: Callable[[], float]) -> None:
        """Read at scrape time how long a watch owes something."""
        self._stalled.set_function(longest)

    def watch_objects(self, objects: Callable[[], Iterable[tuple[str, Object]]]) -> None:
        """Count the objects, each with its kind, at scrape time."""
        self._registry.register(_Objects(objects))

    def reconciled(self, kind: str, seconds: float, error: Exception | None = None) -> None:
        """One reconcile ended."""
        self._reconciles.labels(kind, "error" if error else "ok").observe(seconds)
        if error:
            self._errors.labels(kind, type(error).__name__).inc()

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

    def object_changed(self, kind: str, before: Object | None, after: Object) -> None:
        """A new version of an object was seen: its duration counts once, when its end first appears."""
        status = after.get("status", {})
        end, start = status.get("completionTime"), status.get("startTime")
        if before is None or before.get("status", {}).get("completionTime") or not (end and start):
            return
        seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
        self._durations.labels(kind, after["metadata"]["namespace"], status.get("state", "")).observe(seconds)

    def exposition(self) -> bytes:
        """Prometheus text format. It counts all objects, on the thread of the queue, and anybody may ask for it."""
        now = self._monotonic()
        if now - self._exposed[0] >= _FRESH_SECONDS:
            self._exposed = (now, generate_latest(self._registry))
        return self._exposed[1]
