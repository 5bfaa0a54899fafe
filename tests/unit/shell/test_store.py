"""The store: never back to an older version, no ghosts, children by label."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from swiftop import names
from swiftop.shell.store import Store, slim

Object = dict[str, Any]


def job(name: str = "a-1", *, version: int = 1, run: str = "a", namespace: str = "ns") -> Object:
    labels = {names.LABEL_NAME: run}
    meta = {"namespace": namespace, "name": name, "resourceVersion": str(version), "labels": labels}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {}, "status": {"v": version}}


def version(store: Store, name: str = "a-1") -> int | None:
    obj = store.get(names.JOB, "ns", name)
    return int(obj["metadata"]["resourceVersion"]) if obj else None


def listed(store: Store) -> list[str]:
    return sorted(obj["metadata"]["name"] for obj in store.list(names.JOB))


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
    for name, at in (("kept", 3), ("ghost", 4), ("younger", 12)):
        store.observe(names.JOB, job(name, version=at))
    store.forget(names.JOB, job("deleted-later", version=11))
    store.replace(
        names.JOB, [job("kept", version=6), job("new", version=2), job("deleted-later", version=5)], version=10
    )
    assert listed(store) == ["kept", "new", "younger"]
    assert version(store, "kept") == 6


def test_a_resync_of_one_namespace_leaves_the_others_alone() -> None:
    store = Store()
    store.observe(names.JOB, job("here", namespace="ns"))
    store.observe(names.JOB, job("there", namespace="other"))
    store.replace(names.JOB, [], version=10, namespace="ns")
    assert listed(store) == ["there"]


def test_a_resync_forgets_the_dead() -> None:
    """Deleted names would otherwise stay in memory for ever."""
    store = Store()
    store.forget(names.JOB, job(version=6))
    store.replace(names.JOB, [], version=10)
    assert store.observe(names.JOB, job(version=5))


def test_children_by_label_in_order_of_name() -> None:
    store = Store()
    for name, run in (("a-2", "a"), ("a-1", "a"), ("b-1", "b")):
        store.observe(names.JOB, job(name, run=run))
    store.observe(names.JOB, job("a-1", run="a", namespace="other"))
    assert [obj["metadata"]["name"] for obj in store.children(names.JOB, "ns", "a")] == ["a-1", "a-2"]
    store.observe(names.JOB, job("a-2", run="b", version=2))
    assert [obj["metadata"]["name"] for obj in store.children(names.JOB, "ns", "a")] == ["a-1"]
    store.forget(names.JOB, job("a-1", version=3))
    assert store.children(names.JOB, "ns", "a") == []
    assert store.children(names.POD, "ns", "a") == []


def test_kinds_do_not_mix() -> None:
    store = Store()
    store.observe(names.JOB, job())
    assert store.get(names.POD, "ns", "a-1") is None
    assert (store.count(names.JOB), store.count(names.POD)) == (1, 0)


@pytest.mark.parametrize(
    ("kind", "spec", "kept"),
    [
        (names.JOB, {"template": {"big": 1}, "suspend": True}, {"suspend": True}),
        (names.POD, {"containers": [1], "nodeName": "n"}, {"nodeName": "n"}),
        (names.SFTRUN, {"template": 1}, {"template": 1}),
    ],
)
def test_what_nobody_reads_is_dropped(kind: names.Resource, spec: Object, kept: Object) -> None:
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "x"}
    given = {"metadata": {"name": "x", "managedFields": [1], "annotations": annotations}, "spec": spec}
    before = repr(given)
    assert slim(kind, given) == {"metadata": {"name": "x", "annotations": {"mine": "x"}}, "spec": kept}
    assert repr(given) == before
