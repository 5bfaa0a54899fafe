"""The form of a pod's parts: as the Kubernetes client knows it, as a schema, and as a check of values."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swiftop.api import pod_form
from swiftop.api.pod_form import AFFINITY, TEMPLATE, UNKNOWN, fields_at, mismatches, schema_of
from tools.extract_pod_fields import as_text, pod_fields

LONG = "has 20,000 characters: keep it to 16,384, and move files and scripts into a ConfigMap"
MANY = {str(n): "" for n in range(200)}


def test_the_fields_are_those_of_the_kubernetes_client() -> None:
    assert files("swiftop.api").joinpath("pod_fields.json").read_text() == as_text(pod_fields())


def levels(schema: dict[str, Any]) -> int:
    members = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return 1 + max((levels(member) for member in members if member), default=0)


def test_the_depth_of_a_pod_has_an_end() -> None:
    assert (levels(schema_of(TEMPLATE)), levels(schema_of(AFFINITY))) == (13, 10)


@pytest.mark.parametrize("type_", [TEMPLATE, AFFINITY])
def test_a_schema_bounds_all_that_has_a_length(type_: str) -> None:
    waiting = [schema_of(type_)]
    while waiting:
        node = waiting.pop()
        assert node["type"] != "string" or "maxLength" in node
        assert node["type"] != "array" or "maxItems" in node
        assert "additionalProperties" not in node or "maxProperties" in node
        assert "x-kubernetes-preserve-unknown-fields" not in node
        waiting += [*node.get("properties", {}).values()]
        waiting += [node[member] for member in ("items", "additionalProperties") if member in node]


@pytest.mark.parametrize(
    ("value", "loc", "message"),
    [
        ({"template": {}}, ("template",), UNKNOWN),
        ({"spec": "text"}, ("spec",), "must be an object"),
        ({"metadata": {"labels": {1: "a"}}}, ("metadata", "labels", "1"), pod_form.QUOTED),
        ({"metadata": {"labels": {"a": True}}}, ("metadata", "labels", "a"), pod_form.QUOTED),
        ({"metadata": {"labels": ["a"]}}, ("metadata", "labels"), "must be an object"),
        ({"spec": {"hostname": "x" * 20_000}}, ("spec", "hostname"), LONG),
        ({"metadata": {"labels": MANY}}, ("metadata", "labels"), "has 200 keys: keep it to 128"),
        ({"spec": {"hostUsers": "no"}}, ("spec", "hostUsers"), "must be true or false"),
        ({"spec": {"priority": "1"}}, ("spec", "priority"), "must be a whole number"),
        ({"spec": {"priority": 1.5}}, ("spec", "priority"), "must be a whole number"),
        ({"spec": {"priority": 2**31}}, ("spec", "priority"), "must be between -2147483647 and 2147483647"),
        ({"spec": {"overhead": {"cpu": 0.5}}}, ("spec", "overhead", "cpu"), pod_form.QUOTED),
        ({"spec": {"overhead": {"cpu": "5" * 65}}}, ("spec", "overhead", "cpu"), "has 65 characters: keep it to 64"),
        ({"spec": {"overhead": {"cpu": 2**63}}}, ("spec", "overhead", "cpu"), pod_form.QUOTED),
        ({"spec": {"overhead": {"cpu": 1e21}}}, ("spec", "overhead", "cpu"), pod_form.QUOTED),
        ({"spec": {"tolerations": {}}}, ("spec", "tolerations"), "must be a list"),
        ({"spec": {"tolerations": [{}] * 200}}, ("spec", "tolerations"), "has 200 items: keep it to 128"),
        ({"spec": {"tolerations": [None]}}, ("spec", "tolerations", 0), "must be an object"),
        ({1: {}}, ("1",), pod_form.QUOTED),
    ],
)  # fmt: skip
def test_what_the_api_server_would_say(value: Any, loc: tuple[str, ...], message: str) -> None:
    assert list(mismatches(value, TEMPLATE)) == [(loc, message)]


def test_a_right_value_is_right() -> None:
    value = {
        "metadata": {"labels": {"a": "b"}, "annotations": None},
        "spec": {
            "priority": 1.0,
            "overhead": {"cpu": 1, "memory": "1Gi"},
            "containers": [{"name": "swift", "env": [{"name": "A", "value": "b"}], "tty": False}],
        },
    }
    assert list(mismatches(value, TEMPLATE)) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(sorted(fields_at(TEMPLATE, ("spec",)))), inner),
)


@given(json_values)
def test_any_value_is_told_of_or_taken(value: Any) -> None:
    for _, message in mismatches({"spec": value}, TEMPLATE):
        assert message
