"""Parsing of an object into its model, with errors in the words of the person who wrote it.

pydantic speaks of ``spec.datasets.0.persistentVolumeClaim`` and ``Input should be a valid string``; users know
``spec.datasets[0].persistentVolumeClaim`` and want to read what to write.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from swiftop.errors import Invalid, Problem

M = TypeVar("M", bound=BaseModel)

_MAP_EXPECTED = ("model_type", "model_attributes_type", "dict_type")
_BADLY_WRITTEN = ("missing", "string_pattern_mismatch", "string_too_short")
_AT_A_GLANCE = 16

_A_LIST = "must be a list: start each item with - on a line of its own, or write [...]"
_MESSAGES = {
    "missing": "required value is missing",
    "literal_error": "unsupported value {!r}: use {expected}",
    "string_pattern_mismatch": "{!r} does not match {pattern}",
    "value_error": "{!r} {error}",
    "tuple_type": _A_LIST,
    "list_type": _A_LIST,
    "int_type": "{!r} must be a whole number",
    "int_from_float": "{!r} must be a whole number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "{!r} is too short: it needs at least {min_length} characters",
    "string_too_long": "is too long: at most {max_length} characters",
}
"""What to say of pydantic's kinds of errors; of others its own words."""


def parse(model: type[M], obj: Mapping[str, Any]) -> M:
    """Model of ``obj``; raises :class:`Invalid` with one problem per wrong field."""
    try:
        return model.model_validate(obj)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise Invalid(tuple(_problem(model, detail) for detail in details if not _echo(detail, details))) from None


def field_path(loc: tuple[int | str, ...]) -> str:
    """Path of a value as kubectl writes it: ``spec.datasets[0].id``."""
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip(".")


def _echo(error: ErrorDetails, errors: list[ErrorDetails]) -> bool:
    """Whether a list is too short only because its items are wrong, which is reported already."""
    loc = error["loc"]
    return error["type"] == "too_short" and any(e["loc"][: len(loc)] == loc and e is not error for e in errors)


def _problem(model: type[BaseModel], error: ErrorDetails) -> Problem:
    loc = tuple(part for part in error["loc"] if part != "[key]")
    path = field_path(loc)
    if error["type"] == "extra_forbidden":
        return Problem(path, "unknown field", suggestion=_known_fields(model, loc))
    if error["type"] == "string_type" and isinstance(error["input"], int | float):
        return Problem(path, "must be a text", suggestion=f'put it in quotes: "{_yaml(error["input"])}"')
    if error["type"] in _BADLY_WRITTEN:
        return Problem(path, _message(error), suggestion=_described(model, loc))
    if error["type"] in _MAP_EXPECTED:
        return Problem(path, "must be a map of fields", suggestion=_listed(_model_at(model, loc)))
    return Problem(path, _message(error))


def _message(error: ErrorDetails) -> str:
    if known := _MESSAGES.get(error["type"]):
        return known.format(error["input"], **error.get("ctx", {}))
    return error["msg"][:1].lower() + error["msg"][1:]


def _yaml(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _known_fields(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """Nearest field of the object in which an unknown field stands, or all that there are."""
    current = _model_at(model, loc[:-1])
    wrong, names = str(loc[-1]), _names(current)
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.8)
    near = near or [name for name in names if wrong.lower().endswith(name.lower())]  # mergeDtype: dtype
    near = near or difflib.get_close_matches(wrong, names, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else _listed(current)


def _listed(model: type[BaseModel] | None) -> str:
    """The fields of an object, while they can be read at a glance."""
    names = _names(model)
    return f"fields here: {', '.join(names)}" if 0 < len(names) <= _AT_A_GLANCE else ""


def _described(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """What a field is, as ``kubectl explain`` tells it: a path or a pattern alone tells nobody what to write."""
    current = _model_at(model, loc[:-1])
    fields = current.model_fields.items() if current else ()
    return next((f.description or "" for name, f in fields if loc[-1] in (f.alias, name)), "").rstrip(".")


def _names(model: type[BaseModel] | None) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _model_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model of the object at this place; None where it is not one."""
    current: type[BaseModel] | None = model
    for part in loc:
        if isinstance(part, str) and current is not None:
            current = _member_model(current, part)
    return current


def _member_model(model: type[BaseModel], alias: str) -> type[BaseModel] | None:
    for name, field in model.model_fields.items():
        if alias in (field.alias, name):
            return model_in(field.annotation)
    return None


def model_in(annotation: object) -> type[BaseModel] | None:
    """The model inside ``X | None``, ``tuple[X, ...]`` or ``Annotated[X, ...]``."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for a in typing.get_args(annotation) if (found := model_in(a))), None)


def scalars_in(annotation: object) -> set[object]:
    """The types inside ``X | None`` or ``Annotated[X, ...]``; a list or map is one of its own."""
    if typing.get_origin(annotation) is typing.Annotated:
        return scalars_in(typing.get_args(annotation)[0])
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return {found for a in typing.get_args(annotation) for found in scalars_in(a)} - {type(None)}
    return {typing.get_origin(annotation) or annotation}
