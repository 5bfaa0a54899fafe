"""Parsing of an object into its model, with errors in the words of the person who wrote it.

pydantic speaks of ``spec.datasets.0.persistentVolumeClaim`` and ``Input should be a valid string``; users know
``spec.datasets[0].persistentVolumeClaim`` and want to read what to write.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from swiftop.api.fields import described, instead_of, listed_with_meaning, model_at
from swiftop.errors import Invalid, Problem

M = TypeVar("M", bound=BaseModel)

_MAP_EXPECTED = ("model_type", "model_attributes_type", "dict_type")
_BADLY_WRITTEN = ("missing", "string_pattern_mismatch", "string_too_short")

_A_LIST = "must be a list: start each item with - on a line of its own, or write [...]"
_MESSAGES = {
    "missing": "required value is missing",
    "literal_error": "unsupported value {!r}: use {expected}",
    "string_pattern_mismatch": "{!r} does not match {pattern}",
    "value_error": "{!r} {error}",
    "string_type": "must be a text",
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
_SMALL = "must be made of small letters, digits and '-'"
_PATTERNS = {
    r"^[a-z]([-a-z0-9]*[a-z0-9])?$": f"{_SMALL}, and begin with a letter",
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$": f"{_SMALL}, with '.' between them",
    r"^(last|best|[1-9][0-9]{0,8})$": "must be last, best or a number",
}
"""What the patterns that people run into say in words; of others the pattern is shown."""


def parse(model: type[M], obj: Mapping[str, Any]) -> M:
    """Model of ``obj``; raises :class:`Invalid` with one problem per wrong field."""
    try:
        return model.model_validate(obj, by_alias=True, by_name=False)
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
        return Problem(path, "unknown field", suggestion=instead_of(model, loc))
    if error["type"] == "string_type" and isinstance(error["input"], int | float):
        return Problem(path, "must be a text", suggestion=f'put it in quotes: "{_yaml(error["input"])}"')
    if error["type"] in _BADLY_WRITTEN:
        return Problem(path, _message(error), suggestion=described(model, loc))
    if error["type"] in _MAP_EXPECTED:
        return Problem(path, "must be a map of fields", suggestion=listed_with_meaning(model_at(model, loc)))
    return Problem(path, _message(error))


def _message(error: ErrorDetails) -> str:
    if error["type"] == "value_error" and not str(error["ctx"]["error"]).startswith("must"):
        return f"{error['input']!r}: {error['ctx']['error']}"
    if error["type"] == "string_pattern_mismatch" and (words := _PATTERNS.get(error["ctx"]["pattern"])):
        return f"{error['input']!r} {words}"
    if known := _MESSAGES.get(error["type"]):
        return known.format(error["input"], **error.get("ctx", {}))
    return error["msg"][:1].lower() + error["msg"][1:]


def _yaml(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def scalars_in(annotation: object) -> set[object]:
    """The types inside ``X | None`` or ``Annotated[X, ...]``; a list or map is one of its own."""
    if typing.get_origin(annotation) is typing.Annotated:
        return scalars_in(typing.get_args(annotation)[0])
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return {found for a in typing.get_args(annotation) for found in scalars_in(a)} - {type(None)}
    return {typing.get_origin(annotation) or annotation}
