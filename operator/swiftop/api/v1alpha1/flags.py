"""Which flag of ms-swift a field of a spec sets, said at the field itself, and any other flag that a user may add.

From these marks derive the command (``swift/argv.py``), what ``extraArgs`` refuses, and docs/flags.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.fields import FieldInfo

from swiftop.api.fields import Flag
from swiftop.api.v1alpha1.base import Model
from swiftop.api.v1alpha1.rules import Rule, matching, one_of


def passed_as(field: FieldInfo) -> str | None:
    """Flag that takes the value of a field as it is."""
    return next((mark.name for mark in field.metadata if isinstance(mark, Flag)), None)


def field_of_flag(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Field by flag; several fields that set one flag are joined as in a sentence."""
    fields: dict[str, str] = {}
    for field, flag in pairs:
        fields[flag] = f"{fields[flag]} or {field}" if flag in fields else field
    return fields


# A secret given as a flag stands in the process list, in the first line of the log and in args.json on the volume.
_DENIED_ENDING = r"(_token|_secret|secret_key|password|passwd|api_key|apikey|access_key|webhook_url)$"


def _secret(name: str) -> bool:
    return bool(re.search(_DENIED_ENDING, name.lower())) or name.lower() in ("token", "secret")


NO_SECRET = Rule(
    cel=f"!self.name.lowerAscii().matches('{_DENIED_ENDING}') && !(self.name.lowerAscii() in ['token', 'secret'])",
    message="a secret must not be a flag, where logs and the process list show it: put it into the Secret that "
    "spec.credentials names",
    holds=lambda arg: not _secret(arg.name),
    field="name",
)


def not_owned(field_of: Mapping[str, str], within: str = "extraArgs") -> Rule:
    """Rule against flags with a field of their own (or swiftop's, when ""): given twice, the later one would win."""
    table = "{" + ", ".join(f"'{flag}': '{field_of[flag]}'" for flag in sorted(field_of)) + "}"

    def text(name: str) -> str:
        field = field_of[name]
        return f"{within}.{name}: use spec.{field} instead" if field else f"{within}.{name}: set by swiftop, remove it"

    return Rule(
        cel=f"!(self.name in {table})",
        message=f"this flag is set by a field of the spec or by swiftop itself: remove it from {within}",
        message_cel=f"{table}[self.name] == '' ? '{within}.' + self.name + ': set by swiftop, remove it' : "
        f"'{within}.' + self.name + ': use spec.' + {table}[self.name] + ' instead'",
        holds=lambda arg: arg.name not in field_of,
        describe=lambda arg: text(arg.name),
        field="name",
    )


class ExtraArg(Model):
    """Any further flag of ms-swift, without its leading dashes."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        one_of("value", "values", "json", message="give exactly one of value, values (a list) and json (a JSON text)"),
        NO_SECRET,
    )

    name: Annotated[
        str,
        Field(min_length=1, max_length=64),
        matching(
            r"^[A-Za-z][A-Za-z0-9_]*$", "write the flag without leading dashes and with underscores, as in vit_lr"
        ),
    ] = Field(
        description="Name of the flag without leading dashes and with underscores, for example vit_lr. A flag that the "
        "ms-swift version does not know is refused by the operator, with the nearest name."
    )
    value: Annotated[str, Field(max_length=4096)] | None = Field(
        default=None, description='The value, as a quoted text: "1e-5", "true".'
    )
    values: tuple[Annotated[str, Field(max_length=1024)], ...] | None = Field(
        default=None, min_length=1, max_length=64, description="Several values, for a flag that takes a list."
    )
    json_text: Annotated[str, Field(min_length=2, max_length=4096)] | None = Field(
        default=None, alias="json", description="A JSON text, for a flag that takes an object."
    )

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the value, in whichever way they are given."""
        if self.values is not None:
            return self.values
        return ((self.json_text if self.json_text is not None else self.value) or "",)
