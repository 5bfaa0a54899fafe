"""Which object that is there already may serve as a child, and what is changed of it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from swiftop import names
from swiftop.engine.adoption import adopted_claim, as_wanted, in_line, name_conflict, owned, terminating
from swiftop.model.facts import Cause
from swiftop.model.kind import Object
from swiftop.model.verdict import Blocked
from tests.support.objects import MINIMAL, TWO_NODES, UID, children_of, run_of

IMAGE = {"image": "registry.example/trainer:4.6"}


def claim(retain: str = "Retain", **volume: Any) -> Object:
    """The claim that a run with such a volume asks for."""
    output = {"volume": {"size": "50Gi", "retain": retain, **volume}}
    return children_of(run_of({**MINIMAL, "output": output, "runtime": IMAGE}))[0]


def of_an_earlier_run(retain: str = "Retain") -> Object:
    """One that is in the cluster: bound, with what the API server and others added."""
    made = copy.deepcopy(claim(retain, size="10Gi", storageClassName="slow"))
    made["metadata"] |= {"uid": "c", "annotations": {"pv.kubernetes.io/bind-completed": "yes"}}
    made["spec"] |= {"volumeName": "pv-1", "volumeMode": "Filesystem"}
    return made


@pytest.mark.parametrize("later", ["Retain", "Delete"])
def test_a_claim_that_an_earlier_run_retained_is_never_given_an_owner(later: str) -> None:
    applied = adopted_claim(of_an_earlier_run(), claim(later))
    assert "ownerReferences" not in applied["metadata"]
    assert applied["spec"]["resources"] == {"requests": {"storage": "10Gi"}}  # what was claimed cannot be changed
    assert as_wanted(of_an_earlier_run(), applied)


def test_a_runs_own_claim_stays_its_own_until_it_is_to_be_retained() -> None:
    own = of_an_earlier_run("Delete")
    kept, given_back = adopted_claim(own, claim("Delete")), adopted_claim(own, claim("Retain"))
    assert [owner["uid"] for owner in kept["metadata"]["ownerReferences"]] == [UID]
    assert as_wanted(own, kept)
    assert "ownerReferences" not in given_back["metadata"]
    assert not as_wanted(own, given_back)


def test_a_label_that_was_removed_is_put_back() -> None:
    known = of_an_earlier_run()
    del known["metadata"]["labels"][names.LABEL_NAME]
    assert not as_wanted(known, adopted_claim(known, claim()))


def test_as_wanted_is_about_what_we_want_and_about_owners() -> None:
    service = next(child for child in children_of(run_of(TWO_NODES)) if child["kind"] == "Service")
    known = copy.deepcopy(service)
    known["spec"] |= {"sessionAffinity": "None"}
    known["metadata"]["annotations"] = {"a": "b"}
    assert as_wanted(known, service)
    foreign = copy.deepcopy(known)
    foreign["metadata"]["ownerReferences"] = []
    assert not as_wanted(foreign, service)
    edited = copy.deepcopy(known)
    edited["spec"]["selector"] = {}
    assert not as_wanted(edited, service)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"ownerReferences": [{"uid": UID, "controller": True}]}, True),
        ({"ownerReferences": [{"uid": "another", "controller": True}]}, False),
        ({"labels": {}}, False),
        ({"labels": {**claim()["metadata"]["labels"], names.LABEL_KIND: "ModelExport"}}, False),
        ({"labels": {**claim()["metadata"]["labels"], names.LABEL_NAME: "other"}}, False),
    ],
)
def test_a_childs_place_may_be_taken_by_our_own_alone(changes: Object, *, expected: bool) -> None:
    known = of_an_earlier_run()
    known["metadata"] |= changes
    assert owned(known, claim(), UID) is expected


@pytest.mark.parametrize(
    ("meta", "text", "advice", "stalled", "seconds"),
    [
        ({}, "Job x-1 exists and is not swiftop's", "delete it, or give this object another name", True, 30.0),
        (
            {"labels": {names.LABEL_MANAGED_BY: "swiftop"}},
            "Job x-1 of an earlier object of this name still exists",
            "delete it if it stays",
            False,
            2.0,
        ),
        (
            {"deletionTimestamp": "2027-01-15T08:00:00Z"},
            "Job x-1 of an earlier object of this name still exists",
            "delete it if it stays",
            False,
            2.0,
        ),
    ],
)
def test_a_name_that_is_in_use(meta: Object, text: str, advice: str, stalled: bool, seconds: float) -> None:
    known = {"kind": "Job", "metadata": {"name": "x-1", **meta}}
    found = name_conflict(known)
    assert found.outlook == Blocked(Cause("NameConflict", text, advice), stalled=stalled)
    assert found.requeue_after == seconds
    assert terminating(known) is ("deletionTimestamp" in meta)


def service() -> Object:
    """One that is asked for, and may change."""
    labels = {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_NAME: "a"}
    owners = [{"uid": "o", "controller": True, "kind": "ModelDeployment", "name": "a"}]
    meta = {"name": "a", "labels": labels, "annotations": {"x": "1"}, "ownerReferences": owners}
    return {"kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}}


def test_what_the_server_and_others_add_is_in_line() -> None:
    known = copy.deepcopy(service())
    known["metadata"] |= {"uid": "u", "annotations": {"x": "1", "theirs": "2"}}
    del known["metadata"]["labels"][names.LABEL_MANAGED_BY]  # as the store keeps it
    known["metadata"]["ownerReferences"] = [{"uid": "o", "controller": True}]  # likewise
    known["spec"] |= {"clusterIP": "10.0.0.1", "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000}]}
    assert in_line(known, service())


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("spec", {"ports": [{"port": 81}], "selector": {"a": "b"}}),
        ("spec", {"ports": [{"port": 80}, {"port": 81}], "selector": {"a": "b"}}),
        ("spec", {"ports": [{"port": 80}], "selector": {"a": "c"}}),
        ("spec", {"ports": [{"port": 80}]}),
        ("metadata", {**service()["metadata"], "annotations": {"x": "2"}}),
        ("metadata", {**service()["metadata"], "labels": {}}),
        ("metadata", {**service()["metadata"], "ownerReferences": []}),
    ],
)
def test_what_was_asked_for_and_differs_is_not(member: str, value: Any) -> None:
    assert not in_line({**service(), member: value}, service())


def test_a_template_is_compared_by_what_it_was_made_from() -> None:
    meta = service()["metadata"]
    one = {"kind": "Deployment", "metadata": {**meta, "annotations": {names.ANNOTATION_DIGEST: "1"}}}
    made = {**one, "spec": {"replicas": 1, "template": {"spec": "as an older version makes it"}}}
    assert in_line(made, {**one, "spec": {"replicas": 1, "template": {"spec": "as this one does"}}})
    other = {**meta, "annotations": {names.ANNOTATION_DIGEST: "2"}}
    assert not in_line(made, {**made, "metadata": other})
