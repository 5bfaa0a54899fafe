"""What `kubectl apply` refuses the preview refuses, and the other way round: the same objects and texts to both."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swiftop.api.crd import PARTS_OF_PODS, schema_of
from swiftop.api.validate import problems
from swiftop.cli.kubectl_yaml import documents
from swiftop.cli.manifests import STDIN, manifests
from swiftop.cli.preview import previews
from swiftop.errors import Invalid
from swiftop.kinds.registry import MODELS
from tests.apiserver import deployment_cases, export_cases, sftrun_cases, upload_cases
from tests.apiserver.test_crd import _client
from tests.cluster.fixture import KubectlError
from tests.support.mutations import changed, places, values

pytestmark = pytest.mark.cluster

CASES = {
    "SFTRun": sftrun_cases.ACCEPTED,
    "ModelExport": export_cases.ACCEPTED,
    "DatasetUpload": upload_cases.ACCEPTED,
    "ModelDeployment": deployment_cases.ACCEPTED,
}
BY_KIND = {model.DEFINITION.resource.kind: model for model in MODELS}
PLACES = {kind: list(places(schema_of(model)["properties"]["spec"], ("spec",))) for kind, model in BY_KIND.items()}
OF_PODS = [(kind, *place) for kind, known in PLACES.items() for place in known if PARTS_OF_PODS & set(place[0])]


@pytest.fixture(scope="module")
def server(kubeconfig: Path) -> Iterator[httpx.Client]:
    with _client(kubeconfig) as client:
        yield client


def refused_by_the_server(server: httpx.Client, obj: dict[str, Any]) -> str:
    """What the API server says against a new object, as kubectl sends it; empty when it takes it."""
    plural = BY_KIND[obj["kind"]].DEFINITION.resource.plural
    answer = server.post(
        f"/apis/swiftop.dev/v1alpha1/namespaces/default/{plural}",
        params={"fieldValidation": "Strict", "dryRun": "All"},
        json=obj,
    )
    assert answer.status_code in (201, 400, 422), answer.text
    return "" if answer.status_code == 201 else str(answer.json()["message"])


def refused_here(obj: dict[str, Any]) -> str:
    """What the preview says against it, but for what only a release of ms-swift or a whole pod can tell."""
    (manifest,) = manifests(STDIN, json.dumps(obj))
    found = [*manifest.problems]
    try:
        resource = BY_KIND[obj["kind"]].from_object(manifest.obj)
        found += [problem for problem in problems(resource) if "times: keep one" not in problem.message]
    except Invalid as error:
        found += error.problems
    return "; ".join(map(str, found))


@st.composite
def objects(draw: st.DrawFn) -> dict[str, Any]:
    """An accepted object with one or two values changed."""
    kind = draw(st.sampled_from(sorted(CASES)))
    obj = draw(st.sampled_from(CASES[kind])).object()
    for _ in range(draw(st.integers(1, 2))):
        path, schema = draw(st.sampled_from([place for place in PLACES[kind] if not PARTS_OF_PODS & set(place[0])]))
        obj = changed(obj, path, draw(st.sampled_from(values(schema))))
    return obj


@settings(max_examples=600, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(obj=objects())
def test_the_same_objects_are_refused(server: httpx.Client, obj: dict[str, Any]) -> None:
    (manifest,) = manifests(STDIN, json.dumps(obj))
    theirs, ours = refused_by_the_server(server, manifest.obj), refused_here(obj)
    assert bool(theirs) == bool(ours), f"API server: {theirs or 'accepted'}; preview: {ours or 'accepted'}"


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_is_refused_of_a_pod_is_refused_here(server: httpx.Client, data: st.DataObject) -> None:
    """And more of it: what a training pod may not have, no schema says."""
    kind, path, schema = data.draw(st.sampled_from(OF_PODS))
    obj = data.draw(st.sampled_from(CASES[kind])).object()
    obj = changed(obj, path, data.draw(st.sampled_from(values(schema))))
    (manifest,) = manifests(STDIN, json.dumps(obj))
    theirs, ours = refused_by_the_server(server, manifest.obj), refused_here(obj)
    assert ours or not theirs, f"API server: {theirs}; preview: accepted"


# Of YAML, what people and tools write in more than one way: the scalars of a list, and whole texts.
WORDS = f"""
y Y n N yes Yes YES yEs on On OFF off true True TRUE tRue ~ null Null NULL nULL '' "1" inf nan NaN << = + . .. _1
010 0o10 0O10 0x1F 0X1F 0b11 -0b11 +1 1_000 1__0 08 09 12:30:00 1:30 190:20:30.15 2025-08-20 2025-08-20T10:00:00Z
1e3 1E3 1e-3 1.e3 .5 5. +.5 1_0.5 1e+3 2.0 -0 0.0002 1e-7 9223372036854775807 1e22 0x1p-2 .e3 1.2.3 0x 00 0_1 1_ 5e
{"9" * 249} 0x{"f" * 300} {"9" * 400}
0777 -010 0xG 0o8 -0o17 0b1_1 1e400 .inf_x
"""
SCALARS = WORDS.split()
HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: "
TEXTS = [
    HEAD + data
    for data in (
        *("{a: .inf}", "{a: .nan}", "{null: a}", "{? [a] : b}", "{1: a, true: b, 1.5: c, 2025-01-01: e, 0x10: f}"),
        *(
            "{<<: {a: 1}, b: 2}",
            "{<<: [{a: 1}, {a: 2, b: 3}], b: 2}",
            "{a: 1, <<: {a: 3}}",
            "{<<: 3}",
            "{'<<': {a: 1}}",
        ),
        *("{a: !!set {x, z}}", "{a: *x}", "{y: 1, no: 2}", "{a: http://x:80/y}", "{a: b:c}", "{a:1}", '{"a":\t1}'),
        *("\n\ta: 1", "{a: &b [1], c: *b}", "[1,2", "{a: @x}", "{a: `x}", "\n  a: x: y", "{a, b}", "{a: b,, c: d}"),
        *("{a: !!str 5, b: !!int '5', c: !!float 5, d: !!bool yes, e: !foo 5}", "{a: !!null x}", "{a: !!int x}"),
        *(
            "{a: !!binary aGk=}",
            "\n  a: |2\n      x\n     y\n  b: >\n    c\n\n    e",
            "{a: \u4e2d}\n...\n",
            "{a: 1}\n--- # b",
        ),
    )
] + [
    '{"apiVersion":"v1","kind":"ConfigMap",\n\t"metadata":{"name":"a"},\n\t"data":{"a":1.0,"b":1e3,"c":1e-7}}',
    "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {a: 1}}",
    "\ufeff" + HEAD + "{a: 1}",
    "# c\n---\n# x\n---\n" + HEAD + "{a: 1}\n",
    HEAD.replace("\n", "\r\n") + '{a: "x\r\n  y"}\r\n',
]


def by_kubectl(cluster: Any, texts: list[str], directory: Path) -> list[Any]:
    """The data of ConfigMaps as kubectl would send them; None for a text that it refuses."""
    names = [f"a{number}" for number in range(len(texts))]
    for name, text in zip(names, texts, strict=True):
        (directory / f"{name}.yaml").write_bytes(re.sub(r'name("?): ?("?)a\b', rf"name\1: \2{name}", text).encode())
    try:
        told = cluster.kubectl("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", str(directory))
    except KubectlError as error:
        told = str(error)
    data = {item["metadata"]["name"]: item["data"] for item in _objects(told[told.index("{\n") :])}
    return [data.get(name) for name in names]


def _objects(told: str) -> Iterator[dict[str, Any]]:
    """One behind the other, as kubectl prints them."""
    while told.strip():
        obj, end = json.JSONDecoder().raw_decode(told)
        told = told[end:].lstrip()
        yield obj


def by_us(text: str) -> Any:
    try:
        (document,) = documents(text)
    except Invalid:
        return None
    return document["data"]


def test_the_same_scalars_are_read(cluster: Any, tmp_path: Path) -> None:
    text = HEAD + "\n  a:\n" + "".join(f"  - {scalar}\n" for scalar in SCALARS)
    (theirs,), ours = by_kubectl(cluster, [text], tmp_path), by_us(text)
    pairs = zip(SCALARS, theirs["a"], ours["a"], strict=True)
    assert [(scalar, a, b) for scalar, a, b in pairs if (a, type(a)) != (b, type(b))] == []


def test_the_same_texts_are_read(cluster: Any, tmp_path: Path) -> None:
    pairs = zip(TEXTS, by_kubectl(cluster, TEXTS, tmp_path), map(by_us, TEXTS), strict=True)
    assert [(text, a, b) for text, a, b in pairs if a != b] == []


WHOLE: dict[str, dict[str, Any]] = {
    "name is missing": {"metadata": {"name": None, "generateName": "a-"}},
    "name is a number": {"metadata": {"name": 5}},
    "label is a number": {"metadata": {"labels": {"a": 1}}},
    "label has a blank": {"metadata": {"labels": {"a": "x y"}}},
    "label has no value": {"metadata": {"labels": {"a": ""}}},
    "annotation with a bad key": {"metadata": {"annotations": {"A B": "x"}}},
    "annotation of many words": {"metadata": {"annotations": {"example.com/a": "x y"}}},
    "unknown metadata": {"metadata": {"foo": 1}},
    "metadata of an object that was read": {"metadata": {"uid": "x", "generation": 3, "creationTimestamp": None}},
    "unknown member": {"data": {}},
    "unknown status": {"status": {"foo": 1}},
    "status of an object that was read": {"status": {"state": "Running"}},
    "other version": {"apiVersion": "swiftop.dev/v1"},
    "no version": {"apiVersion": None},
    "no kind": {"kind": None},
    "null members": {"spec": {"training": {"epochs": None}, "tuner": None, "placement": {"nodeSelector": {"a": None}}}},
}


@pytest.mark.parametrize("what", WHOLE)
def test_the_same_members_beside_the_spec_are_refused(cluster: Any, what: str) -> None:
    obj = sftrun_cases.ACCEPTED[0].object()
    for part, value in WHOLE[what].items():
        obj[part] = {**obj.get(part, {}), **value} if isinstance(value, dict) else value
    try:
        cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(obj))
        theirs = ""
    except KubectlError as error:
        theirs = str(error)
    try:
        list(previews(json.dumps(obj)))
        ours = ""
    except Invalid as error:
        ours = str(error)
    assert bool(theirs) == bool(ours), (theirs, ours)
