"""Answers that a rolling update loses: ``python -m tests.bench.rolling_update [--requests 500] [--replicas 1 2]``.

On a real cluster, with the real engine (transformers, on the CPU): a deployment is updated again and again while
streams of some ten seconds are in flight and short questions wait behind them, until so many requests were answered.
Each answer is compared with the first of its kind. Printed too is what it took from apply to Ready, phase by phase.
SWIFTOP_TEST_CLUSTER=NAME takes a cluster that stays.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.cluster.fixture import running_cluster
from tests.e2e import endpoint, install, objects
from tests.e2e.endpoint import Endpoint
from tests.e2e.objects import on_claim
from tests.e2e.probe import light
from tests.e2e.site import Site, condition


def seconds_of(text: str) -> float:
    """As Unix time."""
    return datetime.fromisoformat(text).timestamp()


def phases(one: Endpoint) -> str:
    """From apply to Ready. Kubernetes keeps whole seconds."""
    now, pod = one.now, one.pods[-1]
    begun = seconds_of(now["metadata"]["creationTimestamp"])
    conditions = {found["type"]: seconds_of(found["lastTransitionTime"]) for found in pod["status"]["conditions"]}
    started = seconds_of(pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"])
    log = one.site.kubectl.text("logs", pod["metadata"]["name"])
    loaded = float(log.partition("swiftop: loaded in ")[2].split()[0])
    times = {
        "pod created": seconds_of(pod["metadata"]["creationTimestamp"]),
        "placed": conditions["PodScheduled"],
        "container started": started,
        "model loaded": started + loaded,
        "pod ready": conditions["Ready"],
        "Ready": seconds_of(condition(now, "Ready")["lastTransitionTime"]),
    }
    return ", ".join(f"{name} {at - begun:.0f} s" for name, at in times.items())


def updated(one: Endpoint, number: int) -> None:
    """A new revision, until it serves alone."""
    before = {pod["metadata"]["name"] for pod in one.pods}
    one.patch(runtime=light([{"name": "NOTE", "value": str(number)}]))
    one.rolled_out(seconds=600)
    for name in before:
        one.site.kubectl("wait", "--for=delete", f"pod/{name}", "--timeout=120s")


def measure(site: Site, replicas: int, *, requests: int, short: int, tokens: int) -> None:
    """One deployment."""
    one = Endpoint(site, f"update-{replicas}")
    site.kubectl.apply(endpoint.served(one.name, on_claim(objects.MODEL), replicas=replicas))
    one.rolled_out(seconds=600)
    print(f"{replicas} replica(s), apply to Ready: {phases(one)}", flush=True)
    load, begun, updates = one.load(tokens=tokens, streams=replicas, short=short), time.monotonic(), 0
    load.wait()
    while load.answered() < requests:
        updates += 1
        updated(one, updates)
    answers = load.stop()
    print(f"{replicas} replica(s), {updates} updates: {told(answers, time.monotonic() - begun)}", flush=True)
    site.kubectl("delete", "modeldeployment", one.name)


def told(answers: dict[str, list[dict[str, Any]]], seconds: float) -> str:
    """The figures."""
    streams = [answer["until"] - answer["begun"] for answer in answers["streams"] if "until" in answer]
    count = sum(map(len, answers.values()))
    gone = endpoint.lost(answers)
    text = f"{count} requests in {seconds:.0f} s, {len(streams)} of them streams of {min(streams):.0f} to "
    return text + f"{max(streams):.0f} s; lost or not complete: {len(gone)}" + (f", as {gone[0]}" if gone else "")


def main() -> None:
    """On one cluster, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=500, help="at least so many for each number of replicas")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--short", type=int, default=30, help="clients that ask short questions")
    parser.add_argument("--tokens", type=int, default=900, help="of a stream, of a context of 1,024")
    options = parser.parse_args()
    with running_cluster() as cluster, tempfile.TemporaryDirectory() as folder:
        images = install.images(cluster)
        site = install.site(install.operator(cluster, images, Path(folder)), images)
        endpoint.start_client(site)
        for replicas in options.replicas:
            measure(site, replicas, requests=options.requests, short=options.short, tokens=options.tokens)
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
