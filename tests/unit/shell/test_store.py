"""The store: never back to an older version, no ghosts, children by label."""

from __future__ import annotations

import json
import time
from itertools import permutations
from typing import Any

import pytest

from swiftop import names
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.api.validate import problems
from swiftop.model.kind import Key
from swiftop.shell import slim
from swiftop.shell import store as store_module
from swiftop.shell.decode import loads
from swiftop.shell.store import Store
from tests.apiserver.cases import merged
from tests.apiserver.sftrun_patches import MINIMAL

Object = dict[str, Any]


def job(name: str = "a-1", *, version: int = 1, run: str = "a", namespace: str = "ns") -> Object:
    labels = {names.LABEL_KIND: "SFTRun", names.LABEL_NAME: run}
    meta = {"namespace": namespace, "name": name, "resourceVersion": str(version), "labels": labels}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {}, "status": {"v": version}}


def version(store: Store, name: str = "a-1") -> int | None:
    obj = store.get(names.JOB, "ns", name)
    return int(obj["metadata"]["resourceVersion"]) if obj else None


def listed(store: Store) -> list[str]:
    return sorted(obj["metadata"]["name"] for obj in store.list(names.JOB))


def relist(store: Store, *objects: Object, version: int = 10, namespace: str = "") -> bool:
    """A resync's LIST; whether it found that the cluster was restored."""
    listing = store.relist(names.JOB, namespace)
    listing.page(objects, version=version)
    listing.end()
    return listing.restored


def children(store: Store, owner: str, resource: names.Resource = names.JOB) -> list[str]:
    return [obj["metadata"]["name"] for obj in store.children(resource, Key("SFTRun", "ns", owner))]


def test_an_older_or_equal_version_is_no_news() -> None:
    store = Store()
    assert store.observe(names.JOB, job(version=9))
    assert not store.observe(names.JOB, job(version=9))
    assert not store.observe(names.JOB, job(version=8))
    assert store.observe(names.JOB, job(version=10))  # 10 > 9 as a number, not as a text
    assert version(store) == 10


def test_a_straggler_does_not_bring_a_deleted_object_back() -> None:
    store = Store()
    store.observe(names.JOB, job(version=5))
    assert store.forget(names.JOB, job(version=6))
    assert not store.observe(names.JOB, job(version=5))
    assert version(store) is None
    assert store.observe(names.JOB, job(version=7))  # a new object of that name


def test_a_straggler_does_not_bring_back_what_a_list_had_no_more() -> None:
    store = Store()
    relist(store, version=10)
    assert not store.observe(names.JOB, job(version=9))
    assert store.observe(names.JOB, job(version=11))


def test_a_list_of_one_namespace_says_nothing_of_others() -> None:
    store = Store()
    relist(store, version=10, namespace="elsewhere")
    assert store.observe(names.JOB, job(version=9))


def test_a_late_delete_does_not_take_the_successor() -> None:
    store = Store()
    store.observe(names.JOB, job(version=8))
    assert not store.forget(names.JOB, job(version=6))
    assert version(store) == 8


def test_any_order_of_events_ends_the_same() -> None:
    ends = set()
    for order in permutations([("put", 1), ("put", 2), ("delete", 3), ("put", 4)]):
        store = Store()
        for what, at in order:
            (store.forget if what == "delete" else store.observe)(names.JOB, job(version=at))
        ends.add(version(store))
    assert ends == {4}


def test_a_resync_removes_ghosts_and_keeps_what_is_newer_than_the_list() -> None:
    store = Store()
    for name, at in (("kept", 3), ("ghost", 4)):
        store.observe(names.JOB, job(name, version=at))
    listing = store.relist(names.JOB)
    store.observe(names.JOB, job("younger", version=12))
    store.observe(names.JOB, job("changed-later", version=13))
    store.forget(names.JOB, job("deleted-later", version=11))
    listing.page([job("kept", version=6), job("new", version=2)], version=10)
    listing.page([job("deleted-later", version=5), job("changed-later", version=7)], version=10)
    listing.end()
    assert not listing.restored
    assert version(store, "changed-later") == 13
    store.forget(names.JOB, job("changed-later", version=14))
    assert listed(store) == ["kept", "new", "younger"]
    assert version(store, "kept") == 6


def test_a_resync_of_one_namespace_leaves_the_others_alone() -> None:
    store = Store()
    store.observe(names.JOB, job("here", namespace="ns"))
    store.observe(names.JOB, job("there", namespace="other"))
    relist(store, namespace="ns")
    assert listed(store) == ["there"]


def test_a_resync_after_a_restore_from_a_backup_replaces_the_store() -> None:
    """Versions go back: what is known is newer than anything that the cluster will say for long, and not true."""
    store = Store()
    for name in ("kept", "changed", "not-in-the-backup"):
        store.observe(names.JOB, job(name, version=500))
    store.forget(names.JOB, job("deleted", version=510))
    assert relist(
        store, job("kept", version=300), job("changed", version=420), job("deleted", version=310), version=450
    )
    assert {name: version(store, name) for name in listed(store)} == {"changed": 420, "deleted": 310, "kept": 300}
    assert store.observe(names.JOB, job("kept", version=451))
    assert not relist(store, job("kept", version=451), version=460)


def test_a_restore_is_noticed_object_by_object_when_the_versions_have_caught_up() -> None:
    store = Store()
    store.observe(names.JOB, job("changed", version=500))
    store.forget(names.JOB, job("deleted", version=510))
    assert not relist(store, job("changed", version=420), job("deleted", version=310), version=600)
    assert {name: version(store, name) for name in listed(store)} == {"changed": 420, "deleted": 310}


def test_a_resync_forgets_the_dead() -> None:
    """Deleted names would otherwise stay in memory for ever; to know a straggler, the LIST is enough."""
    store = Store()
    store.forget(names.JOB, job(version=6))
    relist(store)
    assert not store._table(names.JOB).tombstones
    assert not store.observe(names.JOB, job(version=5))


def test_children_by_label_in_order_of_name() -> None:
    store = Store()
    for name, run in (("a-2", "a"), ("a-1", "a"), ("b-1", "b")):
        store.observe(names.JOB, job(name, run=run))
    store.observe(names.JOB, job("a-1", run="a", namespace="other"))
    assert children(store, "a") == ["a-1", "a-2"]
    store.observe(names.JOB, job("a-2", run="b", version=2))
    assert children(store, "a") == ["a-1"]
    store.forget(names.JOB, job("a-1", version=3))
    assert children(store, "a") == []
    assert children(store, "a", names.POD) == []


def test_any_number_of_children_takes_no_more_time_than_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may label objects may label a hundred thousand as those of one run."""
    store, count = Store(), 5000
    for n in range(count):
        store.observe(names.JOB, job(f"a-{n}", version=n + 1))
    before = time.process_time()
    for n in range(count):
        store.observe(names.JOB, job("a-4999", version=count + n + 1))
    assert time.process_time() - before < 1  # 3.5 s when the siblings are gone through each time
    monkeypatch.setattr(store_module, "_MOST_CHILDREN", 3)
    assert children(store, "a") == ["a-0", "a-1", "a-10"]


def test_kinds_do_not_mix() -> None:
    store = Store()
    store.observe(names.JOB, job())
    assert store.get(names.POD, "ns", "a-1") is None
    assert (store.count(names.JOB), store.count(names.POD)) == (1, 0)


def test_of_a_child_that_is_compared_whole_copies_of_itself_are_dropped() -> None:
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "x"}
    given = {"metadata": {"name": "x", "managedFields": [1], "annotations": annotations}, "spec": {"template": 1}}
    before = repr(given)
    kept = {"metadata": {"name": "x", "annotations": {"mine": "x"}}, "spec": {"template": 1}}
    assert slim.active(names.SERVICE, given) == kept
    assert repr(given) == before


def test_of_an_active_owner_the_spec_is_kept_and_of_the_metadata_what_is_read() -> None:
    owners: list[Object] = [{"uid": "o", "controller": True, "name": "x"}, *({"uid": str(n)} for n in range(99))]
    large = {f"key-{n}": "x" for n in range(9_999)}
    read = {"name": "x", "namespace": "ns", "uid": "u", "resourceVersion": "1", "generation": 2}
    given = {
        "apiVersion": names.API_VERSION,
        "kind": "ModelExport",
        "metadata": {
            **read,
            "labels": {names.LABEL_REVISION: "r", **large},
            "annotations": large,
            "ownerReferences": owners,
            "finalizers": [*large],
            "managedFields": [large],
        },
        "spec": {"placement": {"affinity": {"nodeAffinity": {}}, "nodeSelector": {"a": "b"}}, "runtime": {}},
        "status": {"state": "Pending"},
    }
    before = repr(given)
    kept = {**read, "labels": {names.LABEL_REVISION: "r"}, "ownerReferences": [{"uid": "o", "controller": True}]}
    assert slim.active(names.MODELEXPORT, given) == {**given, "metadata": kept}
    assert repr(given) == before


@pytest.mark.parametrize("value", [[[]] * 300_000, "x" * 70_000, loads("[" * 60 + "]" * 60)])
@pytest.mark.parametrize(("group", "member"), [("placement", "affinity"), ("runtime", "podPatch")])
def test_what_is_over_its_bounds_is_not_kept_and_invalid_for_the_same_reason(
    group: str, member: str, value: Any
) -> None:
    """A list of empty lists takes twenty times its size as JSON."""
    run = merged(MINIMAL, {"spec": {group: {member: {"nodeAffinity": value}}}})
    kept = slim.active(names.SFTRUN, run)
    assert len(json.dumps(kept)) < 70_000
    assert problems(SFTRun.from_object(kept)) == problems(SFTRun.from_object(run)) != ()
    again = slim.active(names.SFTRUN, merged(MINIMAL, {"spec": {group: {member: {"podAffinity": value}}}}))
    assert kept["spec"][group][member] is again["spec"][group][member]  # one for all of them


def test_of_a_pod_without_a_node_what_it_asks_for_is_kept() -> None:
    amounts = {"cpu": "8", "memory": "64Gi", "ephemeral-storage": "20Gi"}
    limits, requests = {"memory": "64Gi", "example.com/gpu": "1"}, {**amounts, "example.com/gpu": "1"}
    main: Object = {"name": "swift", "image": "x", "resources": {"limits": limits, "requests": requests}}
    given: Object = {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "sidecar"}, main]}}
    kept = slim.active(names.POD, given)["spec"]
    asked = {"limits": {"example.com/gpu": "1"}, "requests": amounts}
    assert kept == {"containers": [{"name": "swift", "resources": asked}]}
    main["resources"] = {"limits": {f"example.com/{n}": "1" for n in range(99)}}
    assert slim.active(names.POD, given)["spec"] == {}


@pytest.mark.parametrize(
    ("kind", "spec", "kept"),
    [
        (names.JOB, {"template": {"big": 1}, "activeDeadlineSeconds": 5}, {"activeDeadlineSeconds": 5}),
        (names.POD, {"containers": [1], "x": 1, "nodeName": "n", "hostNetwork": True}, {"nodeName": "n"}),
        (names.PVC, {"volumeName": "x"}, {}),
    ],
)
def test_of_an_active_child_what_is_read_is_kept(kind: names.Resource, spec: Object, kept: Object) -> None:
    read = {names.LABEL_UID: "u"}, {"batch.kubernetes.io/job-completion-index": "1", names.ANNOTATION_DIGEST: "d"}
    identity = {"name": "x", "namespace": "ns", "uid": "u", "resourceVersion": "1", "generation": 2}
    times = {"creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z"}
    given = {
        "metadata": {
            **identity,
            **times,
            "labels": {**read[0], "big": "x"},
            "annotations": {**read[1], "big": "x"},
            "ownerReferences": [{"uid": "o", "controller": True, "name": "x"}, *({"uid": str(n)} for n in range(99))],
            "finalizers": ["x"],
            "managedFields": [1],
        },
        "spec": spec,
        "status": {"phase": "Bound"},
    }
    before, owners = repr(given), [{"uid": "o", "controller": True}]
    if kind is names.POD:
        kept = {**kept, "hostNetwork": True}
    assert slim.active(kind, given) == {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {**identity, **times, "labels": read[0], "annotations": read[1], "ownerReferences": owners},
        "spec": kept,
        **({} if kind is names.PVC else {"status": {"phase": "Bound"}}),
    }
    assert repr(given) == before


def sftrun(*, version: int, uid: str = "u", state: str = "Succeeded", over: str = "True") -> Object:
    conditions = [{"type": "Stalled", "status": "False"}, {"type": "Succeeded", "status": over}]
    return {
        "apiVersion": names.API_VERSION,
        "kind": "SFTRun",
        "metadata": {
            "namespace": "ns",
            "name": "a",
            "uid": uid,
            "resourceVersion": str(version),
            "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"team": "nlp"},
            "annotations": {"big": "x"},
            "managedFields": [1],
        },
        "spec": {"model": {"id": "m"}},
        "status": {
            "observedGeneration": 3,
            "state": state,
            "conditions": conditions,
            "progress": {"step": 5},
            "checkpoint": {"step": 4, "path": "/x"},
            "failure": {"log": "x" * 2000},
        },
    }


def pod(*, version: int, uid: str = "u") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "ns",
            "name": "a-1-x",
            "uid": "pod",
            "resourceVersion": str(version),
            "labels": {names.LABEL_KIND: "SFTRun", names.LABEL_NAME: "a", names.LABEL_UID: uid},
            "ownerReferences": [{"kind": "Job", "name": "a-1", "uid": "job", "controller": True}],
            "managedFields": [1],
        },
        "spec": {"nodeName": "n"},
        "status": {"phase": "Succeeded"},
    }


SLIM_POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "namespace": "ns",
        "name": "a-1-x",
        "uid": "pod",
        "resourceVersion": "5",
        "labels": {names.LABEL_KIND: "SFTRun", names.LABEL_NAME: "a", names.LABEL_UID: "u"},
        "ownerReferences": [{"uid": "job", "controller": True}],
    },
}


def test_of_a_deployment_all_is_kept_that_is_compared_but_the_template() -> None:
    labels = {names.LABEL_KIND: "ModelDeployment", names.LABEL_NAME: "a", "theirs": "x"}
    annotations = {names.ANNOTATION_DIGEST: "d", names.ANNOTATION_RESOLVED: "{}", "theirs": "x"}
    meta = {"namespace": "ns", "name": "a-mdep", "uid": "d", "resourceVersion": "5", "generation": 2}
    spec = {"replicas": 2, "strategy": {}, "selector": {}}
    status = {"readyReplicas": 1}
    store = Store()
    store.observe(
        names.DEPLOYMENT,
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {**meta, "labels": labels, "annotations": annotations, "managedFields": [1]},
            "spec": {**spec, "template": {"spec": {"containers": []}}, "paused": False},
            "status": status,
        },
    )
    assert store.get(names.DEPLOYMENT, "ns", "a-mdep") == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            **meta,
            "labels": {key: value for key, value in labels.items() if key != "theirs"},
            "annotations": {key: value for key, value in annotations.items() if key != "theirs"},
        },
        "spec": spec,
        "status": status,
    }


def test_of_a_config_map_its_texts_are_kept() -> None:
    given = {**job(), "kind": "ConfigMap", "data": {"a.json": "{}"}, "binaryData": {"runner.pyz": "eA=="}}
    kept = slim.active(names.CONFIG_MAP, given)
    assert (kept["data"], "binaryData" in kept) == ({"a.json": "{}"}, False)


def test_of_a_config_map_that_is_larger_than_any_of_ours_no_text_is_kept() -> None:
    """Whoever may write ConfigMaps with our labels could fill the operator's memory."""
    given = {"metadata": {"name": "chat-mdep-adapters"}, "data": {"a.json": "x" * (1 << 18), "b.json": "x"}}
    assert slim.active(names.CONFIG_MAP, given)["data"] == {}


def test_of_an_object_that_is_over_its_identity_and_its_results_are_kept() -> None:
    store = Store()
    store.observe(names.SFTRUN, sftrun(version=7))
    assert store.get(names.SFTRUN, "ns", "a") == {
        "apiVersion": names.API_VERSION,
        "kind": "SFTRun",
        "metadata": {
            "namespace": "ns",
            "name": "a",
            "uid": "u",
            "resourceVersion": "7",
            "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "status": {
            "observedGeneration": 3,
            "state": "Succeeded",
            "conditions": [{"type": "Succeeded", "status": "True"}],
            "checkpoint": {"step": 4, "path": "/x"},
        },
    }


def test_what_a_deployment_had_made_is_known_as_its_own_when_it_is_over() -> None:
    """And of a run, what its result is."""
    labels = {names.LABEL_KIND: "ModelDeployment", names.LABEL_NAME: "chat", names.LABEL_UID: "d"}
    owner = {"uid": "d", "controller": True}
    made = sftrun(version=7)
    made["metadata"] |= {"labels": labels, "ownerReferences": [{"kind": "ModelDeployment", **owner}, {"uid": "x"}]}
    made["spec"] |= {"tuner": {"type": "lora", "rank": 64, "targets": ["q_proj"]}}
    source = {"uid": "r", "claimName": "c", "path": "p"}
    made["status"]["resolved"] = {"image": "x/y:1", "source": source}
    store = Store()
    store.observe(names.SFTRUN, made)
    (found,) = store.children(names.SFTRUN, Key("ModelDeployment", "ns", "chat"))
    assert found["metadata"]["ownerReferences"] == [owner]
    assert found["spec"] == {"tuner": {"type": "lora", "rank": 64}}
    assert found["status"]["resolved"] == {"source": source}  # what it was made of


@pytest.mark.parametrize("owner_first", [True, False])
def test_of_the_children_of_an_object_that_is_over_the_identity_is_kept(owner_first: bool) -> None:
    store = Store()
    steps = [(names.SFTRUN, sftrun(version=7)), (names.POD, pod(version=5))]
    for resource, obj in steps if owner_first else reversed(steps):
        store.observe(resource, obj)
    assert store.get(names.POD, "ns", "a-1-x") == SLIM_POD
    assert children(store, "a", names.POD) == ["a-1-x"]


def test_a_pod_of_a_later_namesake_is_kept_whole() -> None:
    store = Store()
    store.observe(names.SFTRUN, sftrun(version=7))
    store.observe(names.POD, pod(version=8, uid="later"))
    store.observe(names.SFTRUN, sftrun(version=9, uid="later", over="Unknown"))
    assert (store.get(names.POD, "ns", "a-1-x") or {})["status"] == {"phase": "Succeeded"}


def test_an_end_that_a_person_took_back_leaves_no_part_that_looks_like_a_pod() -> None:
    store = Store()
    store.observe(names.SFTRUN, sftrun(version=7))
    store.observe(names.POD, pod(version=5))
    store.observe(names.SFTRUN, sftrun(version=9, over="Unknown"))
    assert store.get(names.POD, "ns", "a-1-x") is None
    listing = store.relist(names.POD)
    listing.page([pod(version=5)], version=10)
    listing.end()
    assert (store.get(names.POD, "ns", "a-1-x") or {})["status"] == {"phase": "Succeeded"}


def test_the_labels_of_a_child_make_no_child_of_a_run() -> None:
    store = Store()
    posing = sftrun(version=6, over="Unknown")
    labels = {names.LABEL_KIND: "SFTRun", names.LABEL_NAME: "a", names.LABEL_UID: "u"}
    posing["metadata"] |= {"name": "b", "uid": "other", "labels": labels}
    store.observe(names.SFTRUN, posing)
    store.observe(names.SFTRUN, sftrun(version=7))
    assert (store.get(names.SFTRUN, "ns", "b") or {})["metadata"]["generation"] == 3
