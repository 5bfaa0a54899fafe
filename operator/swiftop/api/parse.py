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
        return Problem(path, "unknown field", suggestion=_did_you_mean(model, loc))
    if error["type"] == "string_type" and isinstance(error["input"], int | float):
        return Problem(path, "must be a text", suggestion=f'put it in quotes: "{_yaml(error["input"])}"')
    return Problem(path, _message(error))


def _message(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "missing":
            return "required value is missing"
        case "literal_error":
            return f"unsupported value {error['input']!r}: use {context['expected']}"
        case "string_pattern_mismatch":
            return f"{error['input']!r} does not match {context['pattern']}"
        case "value_error":
            return f"{error['input']!r} {context['error']}"
        case _:
            return error["msg"][:1].lower() + error["msg"][1:]


def _yaml(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _did_you_mean(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """Nearest field of the object in which an unknown field stands."""
    current: type[BaseModel] | None = model
    for part in loc[:-1]:
        if isinstance(part, str) and current is not None:
            current = _member_model(current, part)
    if current is None:
        return ""
    names = [field.alias or name for name, field in current.model_fields.items()]
    close = difflib.get_close_matches(str(loc[-1]), names, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else ""


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
