"""API access against a real API server: verbs, conflicts, paging, errors."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from swiftop import names
from swiftop.errors import AlreadyExists, Conflict, Invalid, NotFound, Refused, Transient
from swiftop.shell.cluster import Cluster
from swiftop.shell.config import Config
from swiftop.shell.controller import Controller
from tests.apiserver.gate import Gate
from tests.apiserver.process import eventually
from tests.apiserver.runs import run_of

pytestmark = pytest.mark.cluster

NOWHERE = {"nodeSelector": {"swiftop.dev/no-such-node": "true"}}


def config_map(namespace: str, name: str = "a", **data: str) -> dict[str, Any]:
    meta = {"namespace": namespace, "name": name, "labels": {"test": name[0]}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def version(obj: dict[str, Any] | None) -> str:
    assert obj is not None
    return str(obj["metadata"]["resourceVersion"])


async def test_create_once(k8s: Cluster, namespace: str) -> None:
    assert await k8s.get(names.CONFIG_MAP, namespace, "a") is None
    made = await k8s.create(config_map(namespace, x="1"))
    with pytest.raises(AlreadyExists):
        await k8s.create(config_map(namespace, x="2"))
    assert version(await k8s.get(names.CONFIG_MAP, namespace, "a")) == version(made)


async def test_apply_is_idempotent_and_leaves_what_others_own(k8s: Cluster, namespace: str) -> None:
    theirs = await k8s.create(config_map(namespace, theirs="1"))
    await k8s.replace({**theirs, "data": {"theirs": "1", "ours": "old"}})
    first = await k8s.apply(config_map(namespace, ours="new"))
    assert first["data"] == {"theirs": "1", "ours": "new"}
    assert version(await k8s.apply(config_map(namespace, ours="new"))) == version(first)
    assert {entry["manager"] for entry in first["metadata"]["managedFields"]} == {"swiftop"}


async def test_replace_is_refused_when_somebody_was_faster(k8s: Cluster, namespace: str) -> None:
    read = await k8s.create(config_map(namespace, x="1"))
    await k8s.replace({**read, "data": {"x": "2"}})
    with pytest.raises(Conflict):
        await k8s.replace({**read, "data": {"x": "3"}})


async def test_a_status_from_a_stale_read_is_refused(k8s: Cluster, namespace: str) -> None:
    made = await k8s.create(run_of("a", namespace))
    newer = await k8s.patch_status(made, {"state": "Running", "attempts": 1}, version(made))
    with pytest.raises(Conflict):
        await k8s.patch_status(made, {"state": "Failed"}, version(made))
    newest = await k8s.patch_status(newer, {"attempts": None}, version(newer))
    assert newest["status"] == {"state": "Running"}
    assert newest["spec"] == made["spec"]
    gone = {**made, "metadata": {**made["metadata"], "name": "gone"}}
    with pytest.raises(NotFound):
        await k8s.patch_status(gone, {"state": "Failed"}, version(made))


def job(namespace: str, name: str = "a") -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "x", "image": "x"}], **NOWHERE}}
    meta = {"namespace": namespace, "name": name}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {"template": template}}


async def test_a_deleted_object_is_gone_after_all_that_it_owns(k8s: Cluster, namespace: str) -> None:
    made = await k8s.create(job(namespace))

    async def pods() -> list[dict[str, Any]]:
        return await k8s.list(names.POD, namespace)

    (pod,) = await eventually(pods, within=30)
    await k8s.apply({**_named(pod), "metadata": {**_named(pod)["metadata"], "finalizers": ["example.com/hold"]}})
    await k8s.delete(names.JOB, namespace, "a", made["metadata"]["uid"])

    async def deleting() -> bool:
        (pod,) = await pods()
        return "deletionTimestamp" in pod["metadata"]

    await eventually(deleting, within=30)
    waiting = await k8s.get(names.JOB, namespace, "a")
    assert waiting is not None
    assert waiting["metadata"]["finalizers"] == ["foregroundDeletion"]
    await k8s.delete(names.JOB, namespace, "a", made["metadata"]["uid"])  # once more is no error
    await k8s.apply({**_named(pod), "metadata": {**_named(pod)["metadata"], "finalizers": []}})

    async def gone() -> bool:
        return await k8s.get(names.JOB, namespace, "a") is None

    await eventually(gone, within=30)
    assert await pods() == []
    await k8s.delete(names.JOB, namespace, "a", made["metadata"]["uid"])  # nor when it is gone


async def test_what_owns_nothing_goes_at_once(k8s: Cluster, namespace: str) -> None:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "a"}}}
    meta = {"namespace": namespace, "name": "a"}
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": spec}
    made = await k8s.create(budget)
    await k8s.delete(names.PDB, namespace, "a", made["metadata"]["uid"])
    assert await k8s.get(names.PDB, namespace, "a") is None
    await k8s.create(budget)


async def test_a_namesake_with_another_uid_is_left_alone(k8s: Cluster, namespace: str) -> None:
    made = await k8s.create(job(namespace))
    await k8s.delete(names.JOB, namespace, "a", "00000000-0000-0000-0000-000000000000")
    found = await k8s.get(names.JOB, namespace, "a")
    assert found is not None
    assert found["metadata"]["uid"] == made["metadata"]["uid"]
    assert "deletionTimestamp" not in found["metadata"]


def _named(obj: dict[str, Any]) -> dict[str, Any]:
    """An object that applies nothing yet."""
    meta = {key: obj["metadata"][key] for key in ("namespace", "name")}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": meta}


async def test_writes_are_told_with_their_answer(kubeconfig: Path, namespace: str) -> None:
    told: list[tuple[str, str]] = []
    k8s = await Cluster.connect(kubeconfig=str(kubeconfig), wrote=lambda verb, obj: told.append((verb, version(obj))))
    try:
        made = await k8s.create(run_of("a", namespace))
        patched = await k8s.patch_status(made, {"state": "Running"}, version(made))
        with pytest.raises(Conflict):
            await k8s.patch_status(made, {"state": "Failed"}, version(made))
        await k8s.get(names.SFTRUN, namespace, "a")
        assert told == [("POST", version(made)), ("PATCH", version(patched))]
    finally:
        await k8s.close()


async def test_lists_are_whole_and_their_items_name_their_kind(k8s: Cluster, namespace: str) -> None:
    await asyncio.gather(*(k8s.create(config_map(namespace, f"a{n}")) for n in range(205)))  # more than a page
    await k8s.create(config_map(namespace, "b"))
    listing = await k8s.listing(names.CONFIG_MAP, namespace, selector="test=a")
    assert len(listing.items) == 205
    assert {(obj["apiVersion"], obj["kind"]) for obj in listing.items} == {("v1", "ConfigMap")}
    assert listing.version >= max(int(version(obj)) for obj in listing.items)
    assert [obj["metadata"]["name"] for obj in await k8s.list(names.CONFIG_MAP, namespace, {"test": "b"})] == ["b"]


async def test_warnings_are_found_by_the_kind_of_their_object(k8s: Cluster, namespace: str) -> None:
    one, other = [await k8s.create(run_of(name, namespace)) for name in ("a", "b")]
    await k8s.event(one, "Warning", "QuotaExceeded", "x" * 5000)
    await k8s.event(other, "Normal", "Running", "fine")
    await k8s.settle(10)
    found = await k8s.warnings(names.SFTRUN, namespace)
    assert [(event["involvedObject"]["uid"], event["reason"], len(event["message"])) for event in found] == [
        (one["metadata"]["uid"], "QuotaExceeded", 1024)
    ]
    assert await k8s.warnings(names.JOB, namespace) == []


async def test_an_event_that_cannot_be_posted_fails_nothing(
    k8s: Cluster, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = run_of("a", "no-such-namespace")
    nowhere["metadata"]["uid"] = "u"
    await k8s.event(nowhere, "Normal", "Running", "lost")
    await k8s.settle(10)
    assert "not posted" in caplog.text


async def test_refusals_say_why(k8s: Cluster, namespace: str) -> None:
    with pytest.raises(Refused, match="Invalid value"):
        await k8s.create(config_map(namespace, "Not A Name"))
    with pytest.raises(NotFound):
        await k8s.create(config_map("no-such-namespace"))
    assert await k8s.log_tail(namespace, "no-such-pod", 10) == ""


async def test_no_login(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="KUBECONFIG"):
        await Cluster.connect(kubeconfig=str(tmp_path / "missing"))


async def test_an_api_server_that_is_away_is_a_transient_error(kubeconfig: Path, namespace: str) -> None:
    async with Gate(kubeconfig) as gate:
        k8s = await Cluster.connect(kubeconfig=str(gate.kubeconfig))
        k8s._timeout = 0.5
        try:
            await k8s.list(names.SFTRUN, namespace)
            gate.silence()
            begun = time.monotonic()
            with pytest.raises(Transient):
                await k8s.list(names.SFTRUN, namespace)
            assert time.monotonic() - begun < 5
            gate.refuse()
            with pytest.raises(Transient):
                await k8s.create(config_map(namespace))
            gate.open()
            assert await k8s.list(names.SFTRUN, namespace) == []
        finally:
            await k8s.close()


async def test_a_resync_heals_what_the_watches_lost(k8s: Cluster, namespace: str) -> None:
    controller = Controller(Config(namespaces=(namespace,)))
    made = await k8s.create(run_of("a", namespace))
    ghost = {**made, "metadata": {**made["metadata"], "name": "ghost"}}  # its delete was never told
    controller.store.observe(names.SFTRUN, ghost)
    await controller.resync(k8s)
    assert [obj["metadata"]["name"] for obj in controller.store.list(names.SFTRUN)] == ["a"]
    assert controller.queue.depth == 1
    later = await k8s.create(run_of("b", namespace))
    controller.seen(names.SFTRUN, "ADDED", later)
    controller.seen(names.SFTRUN, "MODIFIED", made)  # a straggler
    assert (controller.store.count(names.SFTRUN), controller.queue.depth) == (2, 2)
