"""Parsing of an object into its model, with errors in the words of the person who wrote it.

pydantic speaks of ``spec.datasets.0.persistentVolumeClaim`` and ``Input should be a valid string``; users know
``spec.datasets[0].persistentVolumeClaim`` and want to read what to write.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from swiftop.api.fields import described, instead_of, model_at
from swiftop.api.forms import in_quotes, like_another_member, list_of, nothing_less, of_an_id, written_out
from swiftop.errors import Invalid, Problem

M = TypeVar("M", bound=BaseModel)

_MAP_EXPECTED = ("model_type", "model_attributes_type", "dict_type", "mapping_type")
_LIST_EXPECTED = ("tuple_type", "list_type")
_BADLY_WRITTEN = ("missing", "string_pattern_mismatch", "string_too_short")

UNKNOWN_FIELD = "unknown field"
_MESSAGES = {
    "missing": "required value is missing",
    "literal_error": "unsupported value {value}: use {expected}",
    "string_pattern_mismatch": "{value} does not match {pattern}",
    "string_type": "must be a text",
    "tuple_type": "must be a list: start each item with - on a line of its own, or write [...]",
    "list_type": "must be a list: start each item with - on a line of its own, or write [...]",
    "int_type": "{value} must be a whole number",
    "int_from_float": "{value} must be a whole number",
    "int_parsing_size": "{value} is too large",
    "bool_type": "must be true or false",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "{value} is too short: it needs at least {min_length} characters",
    "string_too_long": "is too long: at most {max_length} characters",
    "too_short": "has too few entries: it needs at least {min_length}",
    "too_long": "has too many entries: at most {max_length}",
}
"""What to say of pydantic's kinds of errors."""
_LONGEST = 60  # characters of a value in a message
_SMALL = "must be made of small letters, digits and '-'"
_LABEL = "must be made of letters, digits, '-', '_' and '.'"
_PATTERNS = {
    r"^[a-z]([-a-z0-9]*[a-z0-9])?$": f"{_SMALL}, and begin with a letter",
    r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$": f"{_SMALL}, with '.' between them",
    r"^(last|best|[1-9][0-9]{0,8})$": "must be last, best or a number",
    r"^([1-9][0-9]{0,3}(\.[0-9]{1,15})?|10000|0\.[0-9]{0,15}[1-9][0-9]{0,15})$": "must be a number above 0",
    r"^([1-9][0-9]{0,8}|1000000000|0\.[0-9]{0,15}[1-9][0-9]{0,15})$": "must be a whole number of steps, or a share of "
    "them between 0 and 1",
    r"^([1-9][0-9]*m|[0-9]*[1-9][0-9]*(\.[0-9]{1,3})?|[0-9]+\.(0{0,2}[1-9]|0?[1-9][0-9]|[1-9][0-9]{2}))$": "must be a "
    'number of cores above 0, as 8, "0.5" or 500m',
    r"^[-.a-z0-9]+/[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$": "must be the name of a resource with its domain, as "
    "nvidia.com/gpu",
    r"^([A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?)?$": f"{_LABEL}, the first and last no sign",
    r"^([-.a-z0-9]+/)?[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$": f"{_LABEL}, as in team or example.com/team",
    r"^[^\s]+$": "must be without blanks",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "must be made of letters, digits and '_', and not begin with a digit",
    r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$": f"{_LABEL}, without folders",
    r"^[A-Za-z0-9][A-Za-z0-9._/-]*$": f"{_LABEL} and '/'",
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": _LABEL,
    r"^[A-Za-z0-9_]+$": "must be made of letters, digits and '_'",
    r"^[^:/#\s]+$": "must be one name, without blanks, ':', '/' and '#'",
    r"^https?://[^\s/]+(/[^\s]*)?$": "must be a URL that begins with http:// or https://",
    r"^[^,]+$": "must be without commas: each is an item of its own",
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
    path, kind = field_path(loc), error["type"]
    if kind == "extra_forbidden":
        return Problem(path, UNKNOWN_FIELD, suggestion=instead_of(model, loc))
    if error["input"] is None and kind != "missing":
        return Problem(path, "is empty", suggestion="give it a value, or remove it")
    return Problem(path, _message(error), suggestion=_suggestion(model, loc, error))


def _suggestion(model: type[BaseModel], loc: tuple[int | str, ...], error: ErrorDetails) -> str:
    kind, value = error["type"], error["input"]
    if kind in ("string_type", "literal_error"):
        return in_quotes(model, loc, value) or like_another_member(model, loc, value)
    if kind in _LIST_EXPECTED:
        return list_of(model, loc, value)
    if kind in _MAP_EXPECTED:
        return written_out(model_at(model, loc), value)
    if kind == "value_error":
        return of_an_id(model, loc, value)
    if kind == "greater_than_equal":
        return nothing_less(model, loc, value)
    return described(model, loc) if kind in _BADLY_WRITTEN else ""


def _message(error: ErrorDetails) -> str:
    value = _shown(error["input"])
    if error["type"] == "value_error":
        said = str(error["ctx"]["error"])
        return f"{value} {said}" if said.startswith("must") else f"{value}: {said}"
    if error["type"] == "string_pattern_mismatch" and (words := _PATTERNS.get(error["ctx"]["pattern"])):
        return f"{value} {words}"
    if error["type"] in _MAP_EXPECTED:
        return "must be a map of fields"
    known = _MESSAGES.get(error["type"], "{value} is not allowed here")
    return known.format(value=value, **error.get("ctx", {}))


def _shown(value: object) -> str:
    """A value as YAML has it, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]}...{text[-1]}"


def scalars_in(annotation: object) -> set[object]:
    """The types inside ``X | None`` or ``Annotated[X, ...]``; a list or map is one of its own."""
    if typing.get_origin(annotation) is typing.Annotated:
        return scalars_in(typing.get_args(annotation)[0])
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return {found for a in typing.get_args(annotation) for found in scalars_in(a)} - {type(None)}
    return {typing.get_origin(annotation) or annotation}
