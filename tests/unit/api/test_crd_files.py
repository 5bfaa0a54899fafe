"""The generated CRD: up to date, small enough, and well described."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from swiftop.api.crd import crds, definition, write
from swiftop.api.structural import structural
from swiftop.api.v1alpha1.base import CustomResource
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.kinds.registry import MODELS
from swiftop.kinds.sftrun.status import SHOWN
from swiftop.runner.report import TRAINING

ROOT = Path(__file__).parents[3]
# kubectl apply keeps the whole object in an annotation, and annotations end at 262,144 bytes.
MAX_JSON = 200_000


def schema(model: type[CustomResource] = SFTRun) -> dict[str, Any]:
    root: dict[str, Any] = definition(model)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return root


def nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All value schemas with their paths."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}".lstrip("."))
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from nodes(node[key], f"{path}[]")


def test_the_checked_in_files_are_those_of_the_models() -> None:
    assert {p.name: p.read_text(encoding="utf-8") for p in (ROOT / "crds").iterdir()} == crds(MODELS), "run: make crds"


def test_write_makes_the_files(tmp_path: Path) -> None:
    paths = write(tmp_path / "new", MODELS)
    assert {p.name: p.read_text(encoding="utf-8") for p in paths} == crds(MODELS)


def test_generation_is_deterministic() -> None:
    assert crds(MODELS) == crds(MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_every_definition_fits_into_the_annotation_of_kubectl_apply(model: type[CustomResource]) -> None:
    assert len(json.dumps(definition(model), separators=(",", ":"))) < MAX_JSON


def test_kustomize_lists_every_definition() -> None:
    files = crds(MODELS)
    listed = yaml.safe_load(files["Kustomization"])["resources"]
    assert listed == sorted(name for name in files if name.endswith(".yaml"))


@pytest.mark.parametrize("model", MODELS)
def test_every_field_is_described(model: type[CustomResource]) -> None:
    from_kubernetes = {"apiVersion", "kind", "metadata", "metadata.name"}
    bare = [path for path, node in nodes(schema(model)) if not path.endswith("[]") and "description" not in node]
    of_pods = re.compile(r"\.(podPatch|affinity)\.\w+\.")  # what kubectl explain says of a pod
    assert {path for path in bare if not of_pods.search(path)} == from_kubernetes


@pytest.mark.parametrize("model", MODELS)
def test_every_list_says_how_it_merges_and_every_bound_is_there(model: type[CustomResource]) -> None:
    for path, node in nodes(schema(model)["properties"]["spec"]):
        if node.get("type") == "array":
            assert "x-kubernetes-list-type" in node, path
            assert "maxItems" in node, path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path
        if node.get("type") == "string" and "enum" not in node:
            assert "maxLength" in node, path


def test_training_has_no_defaults() -> None:
    training = schema()["properties"]["spec"]["properties"]["training"]
    assert [path for path, node in nodes(training) if "default" in node] == []


_JSON_TYPES = {"int": "integer", "float": "number"}


def test_progress_has_exactly_the_members_that_are_shown_of_a_report() -> None:
    reported = {member.name: _JSON_TYPES.get(member.type, "string") for member in TRAINING}
    members = schema()["properties"]["status"]["properties"]["progress"]["properties"]
    assert {name: node["type"] for name, node in members.items()} == {name: reported[name] for name in SHOWN}


def test_all_but_what_may_change_is_fixed_by_the_start_of_the_first_container() -> None:
    rules = {
        rule.get("fieldPath", ""): rule for rule in schema()["x-kubernetes-validations"] if "oldSelf" in rule["rule"]
    }
    fixed = {f".spec.{name}" for name in schema()["properties"]["spec"]["properties"]} - {
        ".spec.suspend",
        ".spec.lifecycle",
    }
    assert rules.keys() == fixed
    assert rules[".spec.model"]["rule"] == (
        "!has(oldSelf.status) || !has(oldSelf.status.startTime) || self.spec.model == oldSelf.spec.model"
    )
    assert rules[".spec.cache"]["rule"] == (
        "!has(oldSelf.status) || !has(oldSelf.status.startTime) || has(self.spec.cache) == has(oldSelf.spec.cache) && "
        "(!has(self.spec.cache) || self.spec.cache == oldSelf.spec.cache)"
    )
    assert rules[".spec.model"]["message"] == (
        "spec.model is fixed since the first container has started: create another SFTRun instead "
        "(spec.suspend and spec.lifecycle may still change)"
    )


def test_what_has_no_structural_form_is_an_error() -> None:
    class Union(BaseModel):
        value: int | str

    class Bounded(BaseModel):
        value: dict[str, int]
        model_config = {"json_schema_extra": {"dependentRequired": {}}}

    for model in (Union, Bounded):
        with pytest.raises(ValueError, match="structural"):
            structural(model)
