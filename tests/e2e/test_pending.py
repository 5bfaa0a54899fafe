"""A run that waits says what for, and goes on by itself when it is there. None of these pods ever computes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.e2e import objects
from tests.e2e.objects import SPARE, sftrun
from tests.e2e.site import Site, condition
from tests.e2e.support import Kubectl, Object, eventually

QUOTA = "e2e-quota"
# name -> (run, reason, what the message must name)
WAITING: dict[str, tuple[Object, str, str]] = {
    "no-gpu": (sftrun("no-gpu", gpus=64, cpu=SPARE), "InsufficientGPU", "nvidia.com/gpu"),
    "no-node": (sftrun("no-node", cpu="500"), "InsufficientCPU", "Insufficient cpu"),
    "no-image": (
        sftrun("no-image", cpu=SPARE, runtime={"image": "localhost:1/nothing:1"}),
        "ImagePullFailed",
        "localhost:1/nothing:1",
    ),
    "no-claim": (
        sftrun("no-claim", cpu=SPARE, output=objects.on_claim("", "nowhere")),
        "ClaimMissing",
        "nowhere",
    ),
    "no-storage-class": (
        sftrun("no-storage-class", cpu=SPARE, output={"volume": {"size": "1Gi", "storageClassName": "nowhere"}}),
        "VolumePending",
        '"nowhere" not found',
    ),
    "no-config-map": (
        sftrun("no-config-map", cpu=SPARE, datasets=[{"configMap": {"name": "nowhere", "key": "chat.jsonl"}}]),
        "ConfigMapMissing",
        "nowhere",
    ),
}


@pytest.fixture(scope="module")
def waiting(site: Site) -> Iterator[Site]:
    """All waiting runs, applied; they are removed at the end, since they would wait for ever."""
    site.kubectl.apply(*(run for run, _, _ in WAITING.values()))
    yield site
    site.kubectl("delete", "sftrun", *WAITING)


@pytest.mark.cluster
@pytest.mark.parametrize("name", WAITING)
def test_a_waiting_run_says_what_for(waiting: Site, name: str) -> None:
    """The reason stands in the summary, which stays Unknown: the run may still succeed."""
    _, reason, told = WAITING[name]
    summary = waiting.with_reason(name, reason, told=told)
    assert summary["status"] == "Unknown"
    run = waiting.run(name)
    assert condition(run, "Running")["status"] == "False"
    assert condition(run, "Reconciling")["status"] == "True"
    assert "completionTime" not in run["status"]


@pytest.fixture
def crowded(operator: Kubectl) -> Iterator[Kubectl]:
    """A namespace whose quota has no room for a GPU."""
    kubectl = operator.within(QUOTA)
    kubectl.delete("namespace", QUOTA)
    kubectl.create(objects.namespace(QUOTA))
    hard = {"requests.nvidia.com/gpu": "0"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"}, "spec": {"hard": hard}}
    kubectl.create(quota)
    yield kubectl
    kubectl("delete", "namespace", QUOTA, "--wait=false")


@pytest.mark.cluster
def test_a_pod_refused_by_quota_is_told_by_its_job(crowded: Kubectl, site: Site) -> None:
    """Such a pod never exists; only the Job's FailedCreate event tells."""
    there = Site(crowded, site.trainer)
    eventually(
        lambda: (crowded.get("resourcequota", "team") or {}).get("status", {}).get("hard"),
        what="the quota is in force",
        seconds=30,
    )
    crowded.apply(sftrun("crowded", gpus=1, cpu=SPARE, output={"ephemeral": True}))
    assert "exceeded quota: team" in there.with_reason("crowded", "QuotaExceeded")["message"]


@pytest.mark.cluster
def test_an_unknown_flag_is_told_at_once_and_can_be_repaired(site: Site) -> None:
    """The operator knows the flags of the version: no pod is needed to find the mistake, and no new run to mend it."""
    wrong = sftrun("unknown-flag", gpus=64, cpu=SPARE, extraArgs=[{"name": "vit_lrr", "value": "1e-5"}])
    site.kubectl.apply(wrong)
    told = site.with_reason("unknown-flag", "UnknownFlag", type_="Stalled", seconds=5)
    assert told["status"] == "True"
    applied = datetime.fromisoformat(site.run("unknown-flag")["metadata"]["creationTimestamp"])
    # Both are cut to whole seconds: a difference of 1 may be anything up to 2.
    assert (datetime.fromisoformat(told["lastTransitionTime"]) - applied).total_seconds() <= 1
    assert "did you mean vit_lr?" in told["message"]
    assert condition(site.run("unknown-flag"), "Validated")["status"] == "False"
    assert site.kubectl.items("jobs", "swiftop.dev/name=unknown-flag") == []
    site.kubectl.apply(sftrun("unknown-flag", gpus=64, cpu=SPARE, extraArgs=[{"name": "vit_lr", "value": "1e-5"}]))
    site.with_reason("unknown-flag", "InsufficientGPU")
    assert condition(site.run("unknown-flag"), "Validated")["status"] == "True"
    site.kubectl.delete("sftrun", "unknown-flag")
