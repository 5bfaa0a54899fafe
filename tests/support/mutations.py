"""Objects with one value in another form than the schema has it: what people write, and what only machines do."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

Path = tuple[str | int, ...]
Schema = Mapping[str, Any]

_ANYTHING: tuple[Any, ...] = (
    *(None, "", "1", "a", "A b", "true", "no", "1e-4", "12:30:00", "2025-08-20", "x\n", "é", "a" * 70),
    *(0, 1, -1, 8, 1.0, 0.5, 1e3, 1e21, 2**31, 2**53, 2**63, True, False),
    *([], [None], ["a"], [1], [{}], [["a"]], {}, {"a": None}, {"a": "b"}, {"a": 1}, {"zz": {}}),
)


def places(schema: Schema, path: Path) -> Iterator[tuple[Path, Schema]]:
    """All places of a schema: the first item stands for those of a list, and one key for those of a map."""
    yield path, schema
    for name, member in schema.get("properties", {}).items():
        yield from places(member, (*path, name))
    if "items" in schema:
        yield from places(schema["items"], (*path, 0))
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from places(schema["additionalProperties"], (*path, "key"))


def values(schema: Schema) -> list[Any]:
    """What may be wrong in a place, and right values near to it."""
    near: list[Any] = [*_ANYTHING, *schema.get("enum", ())]
    for bound in ("minimum", "maximum"):
        near += [schema[bound] + step for step in (-1, 0, 1) if bound in schema]
    for bound in ("minLength", "maxLength"):
        near += ["a" * (schema[bound] + step) for step in (-1, 0, 1) if bound in schema and schema[bound] + step >= 0]
    if "maxLength" in schema:
        near.append("é" * schema["maxLength"])
    if "maxItems" in schema:
        near += [[_example(schema["items"])] * (schema["maxItems"] + step) for step in (0, 1)]
    if "maxProperties" in schema:
        near += [{f"k{n}": "v" for n in range(schema["maxProperties"] + step)} for step in (0, 1)]
    near += [{name: 1} for name in schema.get("properties", ())][:3]
    return near


def _example(schema: Schema) -> Any:
    return {"object": {}, "integer": 1, "boolean": True, "array": []}.get(schema.get("type", ""), "a")


def changed(obj: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """A copy with this value in this place; what leads there is made where it is missing."""
    copied: dict[str, Any] = copy.deepcopy(dict(obj))
    at: Any = copied
    for part, following in pairwise(path):
        at = _member(at, part, [] if isinstance(following, int) else {})
    if isinstance(at, list) and not at:
        at.append(None)
    at[path[-1]] = value
    return copied


def _member(at: Any, part: Any, empty: Any) -> Any:
    if isinstance(at, list) and not at:
        at.append(empty)
    if not isinstance(at[part] if isinstance(at, list) else at.get(part), type(empty)):
        at[part] = empty
    return at[part]
