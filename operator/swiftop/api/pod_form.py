"""The form of a pod template, which ``podPatch`` and ``affinity`` are parts of: for the CRDs, and to check values.

The API server refuses what is not of this form when it is applied, and never keeps what is deeper, longer or of other
names. ``pod_fields.json`` has the fields of each object, as the Kubernetes client knows them
(`tools/extract_pod_fields.py`). Nothing is required, since a patch has parts of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

Schema = dict[str, Any]
Loc = tuple[int | str, ...]

TEMPLATE, AFFINITY = "PodTemplate", "Affinity"
UNKNOWN = "is no field of a pod"
QUOTED = "must be a text: put it in quotes"

_TEXT, _SHORT = 16 * 1024, 64  # characters of a text, and of a quantity or the name of a port
_ITEMS = 128  # of a list, and keys of a map
_LARGEST = 2**31 - 1
_WHOLE = 2**53  # up to which the API server takes a number with a point or an exponent for a whole one
_SCALARS: Mapping[str, Schema] = {
    "text": {"type": "string", "maxLength": _TEXT},
    "int": {"type": "integer", "minimum": -_LARGEST, "maximum": _LARGEST},
    "bool": {"type": "boolean"},
    "number or text": {"type": "string", "x-kubernetes-int-or-string": True, "maxLength": _SHORT},
}


@cache
def _types() -> Mapping[str, Mapping[str, str]]:
    types: Mapping[str, Mapping[str, str]] = json.loads(files(__package__).joinpath("pod_fields.json").read_text())
    return types


def in_schema(type_: str, **descriptions: str) -> Callable[[Schema], None]:
    """What gives a field's JSON schema the form of a type, with descriptions of its members."""

    def add(schema: Schema) -> None:
        schema["properties"] = {
            name: {"description": descriptions[name], **schema_of(member)} for name, member in _types()[type_].items()
        }

    return add


def schema_of(type_: str) -> Schema:
    """JSON schema of a type."""
    if type_ in _SCALARS:
        return dict(_SCALARS[type_])
    if type_[0] == "[":
        return {"type": "array", "maxItems": _ITEMS, "items": schema_of(type_[1:-1])}
    if type_[0] == "{":
        return {"type": "object", "maxProperties": _ITEMS, "additionalProperties": schema_of(type_[1:-1])}
    return {"type": "object", "properties": {name: schema_of(member) for name, member in _types()[type_].items()}}


def type_at(type_: str, loc: Loc) -> str:
    """Type of the value at this place; empty where there is none."""
    for part in loc:
        type_ = type_[1:-1] if type_[:1] in ("[", "{") else _types().get(type_, {}).get(str(part), "")
    return type_


def fields_at(type_: str, loc: Loc) -> frozenset[str]:
    """Names that an object at this place may have; empty for what is no object, or for any map."""
    return frozenset(_types().get(type_at(type_, loc), ()))


def mismatches(value: Any, type_: str, loc: Loc = ()) -> Iterator[tuple[Loc, str]]:
    """What the API server says against a value of a type, by place. Its depth is bounded by the type, not its size."""
    if type_[0] == "[":
        yield from _of_list(value, type_[1:-1], loc)
    elif type_ in _SCALARS:
        if why := _of_scalar(value, type_):
            yield loc, why
    else:
        yield from _of_object(value, type_, loc)


def _of_list(value: Any, type_: str, loc: Loc) -> Iterator[tuple[Loc, str]]:
    if not isinstance(value, list):
        yield loc, "must be a list"
    elif len(value) > _ITEMS:
        yield loc, f"has {len(value):,} items: keep it to {_ITEMS}"
    else:
        for number, item in enumerate(value):
            yield from mismatches(item, type_, (*loc, number))


def _of_object(value: Any, type_: str, loc: Loc) -> Iterator[tuple[Loc, str]]:
    """An object of known fields, or a map, which has any keys but not any number of them."""
    free = type_[0] == "{"
    if not isinstance(value, Mapping):
        yield loc, "must be an object"
    elif free and len(value) > _ITEMS:
        yield loc, f"has {len(value):,} keys: keep it to {_ITEMS}"
    else:
        for key, item in value.items():
            here = (*loc, str(key))
            if not isinstance(key, str):
                yield here, QUOTED
            elif not (member := type_at(type_, (key,))):
                yield here, UNKNOWN
            elif item is not None:  # an absent one to the API server
                yield from mismatches(item, member, here)


def _of_scalar(value: Any, type_: str) -> str:
    """Why the API server takes it for none of this type."""
    if type_ == "bool":
        return "" if isinstance(value, bool) else "must be true or false"
    whole = type(value) is int and -(2**63) <= value < 2**63
    whole = whole or (type(value) is float and abs(value) < _WHOLE and value.is_integer())
    if type_ == "int":
        if not whole:
            return "must be a whole number"
        return "" if abs(value) <= _LARGEST else f"must be between -{_LARGEST} and {_LARGEST}"
    if isinstance(value, str):
        longest = _TEXT if type_ == "text" else _SHORT
        aside = ", and move files and scripts into a ConfigMap" if type_ == "text" else ""
        return "" if len(value) <= longest else f"has {len(value):,} characters: keep it to {longest:,}{aside}"
    return "" if whole and type_ == "number or text" else QUOTED
