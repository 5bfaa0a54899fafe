"""The engine's writes against a real API server: what it builds is accepted whole, and a second look changes nothing.

The cluster in memory cannot know server-side apply, validation and defaulting; here they are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from swiftop import names
from swiftop.engine.reconcile import Reconciler
from swiftop.kinds.registry import WATCHED
from swiftop.model.conditions import by_type
from swiftop.model.kind import Key
from swiftop.shell.cluster import Cluster
from swiftop.shell.rest import path_of
from swiftop.shell.store import Store
from tests.apiserver.cases import merged
from tests.apiserver.process import eventually
from tests.apiserver.runs import run_of
from tests.support.objects import PLATFORM, SHARED_VOLUMES, TWO_NODES, children_of
from tests.support.objects import run_of as parsed

pytestmark = pytest.mark.cluster

Object = dict[str, Any]

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
        for resource, selector in WATCHED.items():
            relist = self.store.relist(resource, self.namespace)
            async for page in self.cluster.pages(resource, self.namespace, selector=selector):
                relist.page(page.items, version=page.version)
            relist.end()
        return await self.engine.reconcile(self.key(name))

    def key(self, name: str) -> Key:
        return Key("SFTRun", self.namespace, name)

    async def change(self, name: str, **spec: Any) -> None:
        """Edit the spec of a run, as a user does; None removes a member."""
        run = await self.find(names.SFTRUN, name)
        await self.cluster.replace(merged(run, {"spec": spec}))

    async def until(self, name: str, condition: Callable[[Object], bool], *, within: float = 30) -> Object:
        """Look again and again, as watches and pauses would make it, until the run is so."""

        async def look() -> Object | None:
            await self.look(name)
            run = await self.find(names.SFTRUN, name)
            return run if condition(run) else None

        found = await eventually(look, within=within, every=0.2)
        assert found is not None
        return found

    async def find(self, kind: names.Resource, name: str) -> dict[str, Any]:
        found = await self.cluster.get(kind, self.namespace, name)
        assert found is not None, f"{kind.kind} {name}"
        return found

    async def delete(self, kind: names.Resource, name: str) -> None:
        """As a user does."""
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
    for child in children_of(parsed(spec)):
        child["metadata"]["namespace"] = namespace
        taken = await (k8s.create if child["kind"] == names.JOB.kind else k8s.apply)(child)
        assert _contains(taken, child)


async def test_a_second_look_writes_nothing(operator: Operator) -> None:
    spec = {**TWO_NODES, "placement": {"nodeSelector": {"swiftop.dev/no-such-node": "true"}}}
    await operator.cluster.create({**run_of("a", operator.namespace), "spec": spec})
    await operator.look("a")
    before = await operator.versions("a")
    assert len(before) == 4
    run = await operator.find(names.SFTRUN, "a")
    assert by_type(run["status"])["Succeeded"]["reason"] in (
        "JobCreated",
        "NodeAffinityMismatch",
        "Unschedulable",
        "VolumePending",
    )
    assert run["status"]["resolved"]["command"].startswith("python -m torch.distributed.run")
    await operator.look("a")
    await operator.look("a")
    after = await operator.versions("a")
    assert (
        after[2:] == before[2:]
    )  # claim and Service; the Job controller and the scheduler may have written the others


async def test_a_deadline_is_changed_and_taken_back(operator: Operator) -> None:
    await operator.cluster.create(run_of("a", operator.namespace, lifecycle={"activeDeadlineSeconds": 5000}))
    await operator.look("a")
    for deadline, expected in ((7000, 7000), (None, 2_147_483_647)):
        await operator.change("a", lifecycle={"activeDeadlineSeconds": deadline})
        await operator.look("a")
        job = await operator.find(names.JOB, "a-1")
        assert job["spec"]["activeDeadlineSeconds"] == expected
        assert job["spec"]["template"]["spec"]["containers"][0]["name"] == names.CONTAINER
    before = job["metadata"]["generation"]
    await operator.look("a")
    assert (await operator.find(names.JOB, "a-1"))["metadata"]["generation"] == before


async def test_a_retained_claim_passes_to_the_next_run_and_is_never_owned(operator: Operator) -> None:
    await operator.cluster.create(run_of("a", operator.namespace, output=VOLUME))
    await operator.look("a")
    first = await operator.find(names.PVC, "a-output")
    assert "ownerReferences" not in first["metadata"]
    await operator.delete(names.JOB, "a-1")
    await operator.delete(names.SFTRUN, "a")
    # The next run asks for another size and class, and for deletion: it gets the claim as it is, but not as its own,
    # since the results of the first are to be retained.
    output = {"volume": {"size": "2Gi", "storageClassName": "other", "retain": "Delete"}}
    again = await operator.cluster.create(run_of("a", operator.namespace, output=output))
    await operator.look("a")
    claim = await operator.find(names.PVC, "a-output")
    assert claim["metadata"]["uid"] == first["metadata"]["uid"]
    assert "ownerReferences" not in claim["metadata"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "1Gi"
    job = await operator.find(names.JOB, "a-1")
    assert job["metadata"]["ownerReferences"][0]["uid"] == again["metadata"]["uid"]


async def test_an_owned_claim_is_released_when_its_run_is_to_retain_it(operator: Operator) -> None:
    """The spec may change until the start: here a foreign Job keeps the run from starting."""
    foreign = children_of(parsed({**PLATFORM}, "other"))[-1]
    foreign["metadata"] = {"name": "a-1", "namespace": operator.namespace}
    await operator.cluster.create(foreign)
    output = {"volume": {"size": "1Gi", "retain": "Delete"}}
    run = await operator.cluster.create(run_of("a", operator.namespace, output=output))
    await operator.look("a")
    assert (await operator.find(names.PVC, "a-output"))["metadata"]["ownerReferences"]
    run = await operator.find(names.SFTRUN, "a")
    assert by_type(run["status"])["DependenciesReady"]["reason"] == "NameConflict"
    await operator.change("a", output={"volume": {"retain": "Retain"}})
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
    assert by_type(run["status"])["Succeeded"]["reason"] == "QuotaExceeded", run["status"]
    assert wake is not None
    await operator.cluster._json("DELETE", f"{path}/none")
    await operator.look("a")
    assert (await operator.find(names.SFTRUN, "a"))["status"]["attempts"] == 1


async def test_what_is_written_to_the_status_is_what_is_stored(operator: Operator) -> None:
    """Nothing is pruned or defaulted: else each look would write it again."""
    await operator.cluster.create(run_of("a", operator.namespace, extraArgs=[{"name": "no_such_flag", "value": "1"}]))
    await operator.look("a")
    before = await operator.find(names.SFTRUN, "a")
    assert by_type(before["status"])["Stalled"]["reason"] == "UnknownFlag"
    await operator.look("a")
    assert await operator.find(names.SFTRUN, "a") == before


async def test_an_edit_of_a_waiting_run_replaces_its_job(operator: Operator) -> None:
    await operator.cluster.create(run_of("a", operator.namespace, training={"maxSteps": 5}))
    await operator.look("a")
    first = await operator.find(names.JOB, "a-1")
    await operator.change("a", training={"maxSteps": 7})

    def is_made_anew(run: Object) -> bool:
        return "--max_steps 7" in run["status"]["resolved"]["command"]

    run = await operator.until("a", is_made_anew)
    second = await operator.find(names.JOB, "a-1")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert (run["status"]["attempts"], run["status"].get("startTime")) == (1, None)
    await operator.look("a")
    assert (await operator.find(names.JOB, "a-1"))["metadata"]["uid"] == second["metadata"]["uid"]


async def test_a_suspended_run_has_no_job_until_it_goes_on(operator: Operator) -> None:
    await operator.cluster.create(run_of("a", operator.namespace))
    await operator.look("a")
    await operator.change("a", suspend=True)
    stopped = await operator.until("a", lambda run: reason_of(run) == "Suspended")
    assert stopped["status"]["state"] == "Suspended"
    assert await operator.cluster.list(names.JOB, operator.namespace) == []
    assert await operator.cluster.list(names.POD, operator.namespace) == []
    await operator.change("a", suspend=False)
    await operator.look("a")
    (job,) = await operator.cluster.list(names.JOB, operator.namespace)
    assert job["metadata"]["labels"][names.LABEL_UID] == stopped["metadata"]["uid"]
    assert (await operator.find(names.SFTRUN, "a"))["status"]["state"] != "Suspended"


async def test_a_job_gets_its_time_to_live_when_its_end_is_written(operator: Operator) -> None:
    lifecycle = {"activeDeadlineSeconds": 5000, "ttlSecondsAfterFinished": 86400}
    await operator.cluster.create(run_of("a", operator.namespace, lifecycle=lifecycle))
    await operator.look("a")
    job = await operator.find(names.JOB, "a-1")
    assert "ttlSecondsAfterFinished" not in job["spec"]
    await finish(operator, job)
    await operator.until("a", lambda run: run["status"]["state"] == "Succeeded")
    await operator.look("a")
    job = await operator.find(names.JOB, "a-1")
    assert (job["spec"]["ttlSecondsAfterFinished"], job["spec"]["activeDeadlineSeconds"]) == (86400, 5000)
    await operator.look("a")
    assert (await operator.find(names.JOB, "a-1"))["metadata"]["generation"] == job["metadata"]["generation"]


async def finish(operator: Operator, job: Object) -> None:
    """As the Job controller does when the pods have succeeded."""

    async def has_begun() -> Object | None:
        found = await operator.find(names.JOB, job["metadata"]["name"])
        return found if found.get("status", {}).get("startTime") else None

    begun = await eventually(has_begun, within=30)
    assert begun is not None
    start = begun["status"]["startTime"]
    done = [
        {"type": type_, "status": "True", "lastTransitionTime": start, "lastProbeTime": start}
        for type_ in ("SuccessCriteriaMet", "Complete")
    ]
    counts = {"active": 0, "ready": 0, "terminating": 0, "succeeded": 1}
    path = path_of(names.JOB, operator.namespace, job["metadata"]["name"]) + "/status"
    body = {"status": {**counts, "completionTime": start, "conditions": done, "uncountedTerminatedPods": None}}
    await operator.cluster._json("PATCH", path, body=body, content="application/merge-patch+json")


async def test_objects_of_another_kind_and_the_same_name_are_left_alone(operator: Operator) -> None:
    """Also where they carry our labels, and while the run is replaced and suspended."""
    labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_KIND: "ModelExport", names.LABEL_NAME: "a"}
    theirs = children_of(parsed(PLATFORM))[-1]
    theirs["metadata"] = {"name": "a-mexp-1", "namespace": operator.namespace, "labels": labels}
    theirs["spec"]["template"]["metadata"]["labels"] = labels
    theirs = await operator.cluster.create(theirs)
    await operator.cluster.create(run_of("a", operator.namespace))
    await operator.look("a")
    await operator.look("a")
    assert (await operator.find(names.SFTRUN, "a"))["status"]["attempts"] == 1
    key = Key("SFTRun", operator.namespace, "a")
    assert [job["metadata"]["name"] for job in operator.store.children(names.JOB, key)] == ["a-1"]
    await operator.change("a", training={"maxSteps": 7}, suspend=True)
    await operator.until("a", lambda run: reason_of(run) == "Suspended")
    (job,) = await operator.cluster.list(names.JOB, operator.namespace)
    assert (job["metadata"]["name"], job["metadata"]["uid"]) == ("a-mexp-1", theirs["metadata"]["uid"])
    assert "deletionTimestamp" not in job["metadata"]


async def test_a_claim_of_another_kind_is_a_name_conflict(operator: Operator) -> None:
    claim = children_of(parsed({**PLATFORM}, "a"))[0]
    claim["metadata"] = {
        "name": "a-output",
        "namespace": operator.namespace,
        "labels": {**claim["metadata"]["labels"], names.LABEL_KIND: "ModelExport"},
    }
    await operator.cluster.create(claim)
    await operator.cluster.create(run_of("a", operator.namespace, output=VOLUME))
    await operator.look("a")
    assert reason_of(await operator.find(names.SFTRUN, "a")) == "NameConflict"


def reason_of(run: Object) -> str:
    return str(by_type(run["status"])["Succeeded"]["reason"])


def _contains(known: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(known, dict) and all(key in known and _contains(known[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return len(known) == len(wanted) and all(_contains(a, b) for a, b in zip(known, wanted, strict=True))
    return bool(known == wanted)
