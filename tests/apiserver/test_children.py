"""The engine's writes against a real API server: what it builds is accepted whole, and a second look changes nothing.

The cluster in memory cannot know server-side apply, validation and defaulting; here they are the real ones.
"""

from __future__ import annotations

from typing import Any

import pytest

from swiftop import names
from swiftop.batch.conditions import held
from swiftop.engine.ports import Key
from swiftop.engine.reconcile import Reconciler
from swiftop.kinds.sftrun.build import Context, build
from swiftop.shell.cluster import Cluster, path_of
from swiftop.shell.store import Store
from tests.apiserver.runs import run_of
from tests.unit.workload.specs import PLATFORM, SHARED_VOLUMES, TWO_NODES
from tests.unit.workload.specs import run_of as parsed

pytestmark = pytest.mark.cluster

VOLUME = {"volume": {"size": "1Gi"}}


class _Silent:
    """No pod runs here."""

    def latest(self, pod_uid: str) -> None:
        return None


class Operator:
    """One engine whose store is what a LIST tells at this moment."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace, self.store = cluster, namespace, Store()
        self.engine = Reconciler(cluster=cluster, store=self.store, progress=_Silent())

    async def look(self, name: str) -> float | None:
        for kind in (names.SFTRUN, names.JOB, names.POD, names.PVC):
            relist = self.store.relist(kind, self.namespace)
            async for page in self.cluster.pages(kind, self.namespace):
                relist.page(page.items, version=page.version)
            relist.end()
        return await self.engine.reconcile(Key("SFTRun", self.namespace, name))

    async def find(self, kind: names.Resource, name: str) -> dict[str, Any]:
        found = await self.cluster.get(kind, self.namespace, name)
        assert found is not None, f"{kind.kind} {name}"
        return found

    async def delete(self, kind: names.Resource, name: str) -> None:
        """As a user does; the operator itself never deletes."""
        await self.cluster._json(
            "DELETE", path_of(kind, self.namespace, name), body={"propagationPolicy": "Background"}
        )

    async def versions(self, name: str) -> list[str]:
        kinds = {
            names.SFTRUN: name,
            names.JOB: f"{name}-1",
            names.PVC: f"{name}-output",
            names.SERVICE: f"{name}-ranks",
        }
        found = [await self.cluster.get(kind, self.namespace, child) for kind, child in kinds.items()]
        return [obj["metadata"]["resourceVersion"] for obj in found if obj]


@pytest.fixture
def operator(k8s: Cluster, namespace: str) -> Operator:
    return Operator(k8s, namespace)


@pytest.mark.parametrize("spec", [PLATFORM, SHARED_VOLUMES, TWO_NODES], ids=["platform", "volumes", "nodes"])
async def test_the_api_server_takes_every_child_as_it_is_built(
    k8s: Cluster, namespace: str, spec: dict[str, Any]
) -> None:
    for child in build(parsed(spec), Context(runner_config_map="swiftop-runner-0")):
        child["metadata"]["namespace"] = namespace
        taken = await k8s.apply(child)
        assert _contains(taken, child)


async def test_a_second_look_writes_nothing(operator: Operator) -> None:
    spec = {**TWO_NODES, "placement": {"nodeSelector": {"swiftop.dev/no-such-node": "true"}}}
    await operator.cluster.create({**run_of("a", operator.namespace), "spec": spec})
    await operator.look("a")
    before = await operator.versions("a")
    assert len(before) == 4
    run = await operator.find(names.SFTRUN, "a")
    assert held(run["status"])["Succeeded"]["reason"] in ("JobCreated", "Unschedulable", "VolumePending")
    assert run["status"]["resolved"]["command"].startswith("python -m torch.distributed.run")
    await operator.look("a")
    await operator.look("a")
    after = await operator.versions("a")
    assert (
        after[2:] == before[2:]
    )  # claim and Service; the Job controller and the scheduler may have written the others


async def test_a_deadline_is_changed_and_taken_back(operator: Operator) -> None:
    run = await operator.cluster.create(run_of("a", operator.namespace, lifecycle={"activeDeadlineSeconds": 5000}))
    await operator.look("a")
    for lifecycle, expected in (({"activeDeadlineSeconds": 7000}, 7000), ({}, 2_147_483_647)):
        run = await operator.find(names.SFTRUN, "a")
        await operator.cluster.replace({**run, "spec": {**run["spec"], "lifecycle": lifecycle}})
        await operator.look("a")
        job = await operator.find(names.JOB, "a-1")
        assert job["spec"]["activeDeadlineSeconds"] == expected
        assert job["spec"]["template"]["spec"]["containers"][0]["name"] == names.CONTAINER
    before = job["metadata"]["generation"]
    await operator.look("a")
    assert (await operator.find(names.JOB, "a-1"))["metadata"]["generation"] == before


async def test_a_retained_claim_passes_to_the_next_run_and_a_deleted_one_is_owned(operator: Operator) -> None:
    await operator.cluster.create(run_of("a", operator.namespace, output=VOLUME))
    await operator.look("a")
    first = await operator.find(names.PVC, "a-output")
    assert "ownerReferences" not in first["metadata"]
    await operator.delete(names.JOB, "a-1")
    await operator.delete(names.SFTRUN, "a")
    # The next run asks for another size and class: it gets the claim as it is, now as its own.
    output = {"volume": {"size": "2Gi", "storageClassName": "other", "retain": "Delete"}}
    again = await operator.cluster.create(run_of("a", operator.namespace, output=output))
    await operator.look("a")
    claim = await operator.find(names.PVC, "a-output")
    assert claim["metadata"]["uid"] == first["metadata"]["uid"]
    assert claim["metadata"]["ownerReferences"][0]["uid"] == again["metadata"]["uid"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "1Gi"
    job = await operator.find(names.JOB, "a-1")
    assert job["metadata"]["ownerReferences"][0]["uid"] == again["metadata"]["uid"]


async def test_an_owned_claim_is_released_when_its_run_is_to_retain_it(operator: Operator) -> None:
    """The spec may change until the start: here a foreign Job keeps the run from starting."""
    foreign = build(parsed({**PLATFORM}, "other"), Context(runner_config_map="x"))[-1]
    foreign["metadata"] = {"name": "a-1", "namespace": operator.namespace}
    await operator.cluster.create(foreign)
    output = {"volume": {"size": "1Gi", "retain": "Delete"}}
    run = await operator.cluster.create(run_of("a", operator.namespace, output=output))
    await operator.look("a")
    assert (await operator.find(names.PVC, "a-output"))["metadata"]["ownerReferences"]
    run = await operator.find(names.SFTRUN, "a")
    assert held(run["status"])["DependenciesReady"]["reason"] == "NameConflict"
    await operator.cluster.replace({**run, "spec": {**run["spec"], "output": VOLUME}})
    await operator.look("a")
    assert "ownerReferences" not in (await operator.find(names.PVC, "a-output"))["metadata"]


async def test_a_quota_on_jobs_is_told_and_heals(operator: Operator) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": operator.namespace},
        "spec": {"hard": {"count/jobs.batch": "0"}},
    }
    path = f"/api/v1/namespaces/{operator.namespace}/resourcequotas"
    await operator.cluster._json("POST", path, body=quota)
    await operator.cluster.create(run_of("a", operator.namespace))
    wake = await operator.look("a")
    run = await operator.find(names.SFTRUN, "a")
    assert held(run["status"])["Succeeded"]["reason"] == "QuotaExceeded", run["status"]
    assert wake is not None
    await operator.cluster._json("DELETE", f"{path}/none")
    await operator.look("a")
    assert (await operator.find(names.SFTRUN, "a"))["status"]["attempts"] == 1


async def test_what_is_written_to_the_status_is_what_is_stored(operator: Operator) -> None:
    """Nothing is pruned or defaulted: else each look would write it again."""
    await operator.cluster.create(run_of("a", operator.namespace, extraArgs=[{"name": "no_such_flag", "value": "1"}]))
    await operator.look("a")
    before = await operator.find(names.SFTRUN, "a")
    assert held(before["status"])["Stalled"]["reason"] == "UnknownFlag"
    await operator.look("a")
    assert await operator.find(names.SFTRUN, "a") == before


def _contains(known: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(known, dict) and all(key in known and _contains(known[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return len(known) == len(wanted) and all(_contains(a, b) for a, b in zip(known, wanted, strict=True))
    return bool(known == wanted)
