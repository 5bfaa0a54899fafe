"""From pydantic's JSON schema to the structural OpenAPI v3 schema that a CustomResourceDefinition takes.

A structural schema has no references and no titles, gives every value one type, and forbids
``additionalProperties: false`` (the API server prunes unknown fields, and refuses them under strict validation, which
is kubectl's default).
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

_REF = "#/$defs/"
# Keys that mean the same in both worlds; whatever is not named here or handled below is an error, never lost silently.
_KEPT = (
    "description",
    "type",
    "format",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
)
_DROPPED = ("title", "default", "required", "additionalProperties", "propertyNames", "$defs", "const")


def structural(model: type[BaseModel]) -> Schema:
    """Structural schema of a model."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(schema, schema.get("$defs", {}))


def _convert(node: Schema, defs: dict[str, Schema]) -> Schema:
    node = _resolve(node, defs)
    unknown = set(node) - {*_KEPT, *_DROPPED, "properties", "items", "patternProperties"}
    if unknown:
        raise ValueError(f"no structural form for {sorted(unknown)} in {node}")
    out: Schema = {key: node[key] for key in _KEPT if key in node}
    if "const" in node:
        out["enum"] = [node["const"]]
    # False, empty and null defaults say what absence says anyway; written out they would make has() true in rules.
    if node.get("default") and isinstance(node["default"], str | int):
        out["default"] = node["default"]
    if out.get("type") == "object":
        out |= _object(node, defs)
    if out.get("type") == "array":
        out.setdefault("x-kubernetes-list-type", "atomic")
        out["items"] = _convert(node["items"], defs)
    if out.get("x-kubernetes-int-or-string"):
        del out["type"]
        out["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return out


def _object(node: Schema, defs: dict[str, Schema]) -> Schema:
    out: Schema = {}
    if "properties" in node:
        out["properties"] = {name: _convert(child, defs) for name, child in node["properties"].items()}
    if node.get("required"):
        out["required"] = node["required"]
    # Keys have no schema in a CRD: one value schema for all of them.
    values = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
    if isinstance(values[0], dict):
        out["additionalProperties"] = _convert(values[0], defs)
    return out


def _resolve(node: Schema, defs: dict[str, Schema]) -> Schema:
    """``node`` with its reference inlined and ``X | None`` taken for ``X``; what stands beside them wins."""
    node = dict(node)
    if "$ref" in node:
        target = _resolve(defs[node.pop("$ref").removeprefix(_REF)], defs)
        return {**target, **node}
    if "anyOf" in node:
        choices = [choice for choice in node.pop("anyOf") if choice != {"type": "null"}]
        if len(choices) != 1:
            raise ValueError(f"a structural schema has no unions: {choices}")
        return {**_resolve(choices[0], defs), **node}
    return node
