"""Dataclasses as JSON and back: a plan, the settings of a program, the request and the result of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


class BadJSON(ValueError):
    """It does not say what the type needs."""


def to_json(value: Any) -> Any:
    """A dataclass as JSON has it: names in camelCase, what is None left out."""
    if is_dataclass(value):
        members = ((_camel(item.name), getattr(value, item.name)) for item in fields(value))
        return {name: to_json(member) for name, member in members if member is not None}
    return [to_json(item) for item in value] if isinstance(value, tuple) else value


def from_json(cls: type[T], content: object) -> T:
    """A dataclass out of its JSON, each member of the type that it says; raises ``BadJSON``."""
    if not isinstance(content, Mapping):
        raise BadJSON(f"{cls.__name__} is not an object")
    known: Any = cls
    hints = _hints(known)
    found = {name: content[_camel(name)] for name in hints if content.get(_camel(name)) is not None}
    try:
        return cls(**{name: _decoded(hints[name], value, _camel(name)) for name, value in found.items()})
    except TypeError as error:  # a member without a default is missing
        raise BadJSON(f"{cls.__name__}: {error}") from error


@lru_cache(maxsize=None)
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _decoded(hint: Any, value: Any, name: str) -> Any:
    origin = get_origin(hint)
    if origin is Union:  # Optional
        return _decoded(get_args(hint)[0], value, name)
    if origin is tuple:  # of any number of items
        if isinstance(value, list):
            return tuple(_decoded(get_args(hint)[0], item, name) for item in value)
    elif origin is not None:  # the settings of a program, which knows their type
        if isinstance(value, Mapping):
            return dict(value)
    elif is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value)
    elif hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise BadJSON(f"{name} cannot be {value!r}")


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
