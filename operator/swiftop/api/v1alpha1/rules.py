"""A validation rule, written once for the API server (CEL) and once for Python, side by side.

The API server refuses a wrong object at ``kubectl apply``; ``swiftop preview`` has no server and refuses the same
objects by the Python twin. One table of cases (``tests/apiserver/cases.py``) holds both to the same answer.

A rule on one value stands in the ``Annotated`` metadata of its type and is checked while parsing. A rule over several
fields of an object stands in ``Model.RULES`` and is checked by :func:`swiftop.api.validate.problems`, not while
parsing: an upgrade that tightens such a rule must not make a stored, running object unreadable.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

VALIDATIONS = "x-kubernetes-validations"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: ``cel`` over ``self`` for the API server, ``holds`` over the parsed value for Python.

    ``field`` blames a member (in the user's spelling) in place of the whole object. ``message_cel`` and ``describe``
    build a message that quotes the value; ``message`` is what the API server falls back to.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool]
    field: str = ""
    message_cel: str = ""
    describe: Callable[[Any], str] | None = None

    def text(self, value: object) -> str:
        """Message for a value that breaks the rule."""
        return self.describe(value) if self.describe else self.message

    def schema(self) -> dict[str, str]:
        """Entry of ``x-kubernetes-validations``."""
        entry = {"rule": self.cel, "message": self.message}
        if self.field:
            entry["fieldPath"] = f".{self.field}"
        if self.message_cel:
            entry["messageExpression"] = self.message_cel
        return entry

    def _check(self, value: Any) -> Any:
        if not self.holds(value):
            raise ValueError(self.text(value))
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        json_schema = handler(schema)
        json_schema[VALIDATIONS] = [*json_schema.get(VALIDATIONS, []), self.schema()]
        return json_schema


def one_of(*fields: str, cel: dict[str, str] | None = None, message: str) -> Rule:
    """Rule that exactly one of the named members is given; ``cel`` replaces ``has()`` for a member (a boolean)."""
    tests = ", ".join((cel or {}).get(f, f"has(self.{f})") for f in fields)
    return Rule(
        cel=f"[{tests}].filter(given, given).size() == 1",
        message=message,
        holds=lambda value: sum(_member(value, f) not in (None, False) for f in fields) == 1,
    )


def matching(pattern: str, message: str) -> Rule:
    """Rule that a text as a whole matches; unlike a schema's ``pattern`` it can say in words what to write."""
    # A CEL string literal needs its backslashes doubled.
    return Rule(
        cel="self.matches('" + pattern.replace("\\", "\\\\") + "')",
        message=message,
        holds=lambda value: bool(re.fullmatch(pattern, value)),  # match() lets "$" pass before a last newline
    )


def _member(value: BaseModel, alias: str) -> object:
    """Member of a model by its name in the user's spelling."""
    return next(getattr(value, name) for name, field in type(value).model_fields.items() if field.alias == alias)
