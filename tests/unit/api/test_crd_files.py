"""The generated CRD: up to date, small enough, and well described."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from swiftop.api.crd import crds, definitions, write
from swiftop.api.structural import structural

ROOT = Path(__file__).parents[3]
# kubectl apply keeps the whole object in an annotation, and annotations end at 262,144 bytes.
MAX_JSON = 200_000


def schema() -> dict[str, Any]:
    root: dict[str, Any] = definitions()[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
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
    assert {p.name: p.read_text(encoding="utf-8") for p in (ROOT / "crds").iterdir()} == crds(), "run: make crds"


def test_write_makes_the_files(tmp_path: Path) -> None:
    paths = write(tmp_path / "new")
    assert {p.name: p.read_text(encoding="utf-8") for p in paths} == crds()


def test_generation_is_deterministic() -> None:
    assert crds() == crds()


def test_every_definition_fits_into_the_annotation_of_kubectl_apply() -> None:
    for crd in definitions():
        assert len(json.dumps(crd, separators=(",", ":"))) < MAX_JSON


def test_kustomize_lists_every_definition() -> None:
    files = crds()
    listed = yaml.safe_load(files["Kustomization"])["resources"]
    assert listed == [name for name in files if name.endswith(".yaml")]


def test_every_field_is_described() -> None:
    from_kubernetes = {"apiVersion", "kind", "metadata", "metadata.name"}
    bare = [path for path, node in nodes(schema()) if not path.endswith("[]") and "description" not in node]
    assert set(bare) == from_kubernetes


def test_every_list_says_how_it_merges_and_every_bound_is_there() -> None:
    for path, node in nodes(schema()["properties"]["spec"]):
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


def test_what_has_no_structural_form_is_an_error() -> None:
    class Union(BaseModel):
        value: int | str

    class Bounded(BaseModel):
        value: dict[str, int]
        model_config = {"json_schema_extra": {"dependentRequired": {}}}

    for model in (Union, Bounded):
        with pytest.raises(ValueError, match="structural"):
            structural(model)
