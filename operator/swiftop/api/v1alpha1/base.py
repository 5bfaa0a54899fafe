"""The model bases, and what all kinds have of Kubernetes: metadata and conditions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationInfo, field_validator
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from swiftop.api.fields import literals_in
from swiftop.api.parse import parse, scalars_in
from swiftop.api.v1alpha1.rules import VALIDATIONS, Rule
from swiftop.names import MAX_NAME, Resource

_UNQUOTED = ", without quotes"


class Model(BaseModel):
    """Base of everything a user writes: unknown fields are errors, values never change after parsing."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    RULES: ClassVar[tuple[Rule, ...]] = ()
    INSTEAD: ClassVar[Mapping[str, str]] = {}
    """What to do instead, by a name that people know from elsewhere and that no field or flag has."""
    WORD: ClassVar[str] = ""
    """Path of the field that is meant when somebody writes one word in place of the object."""

    @field_validator("*", mode="before")
    @classmethod
    def _as_the_api_server_reads(cls, value: object, info: ValidationInfo) -> object:
        """pydantic takes "true" for true and "5" for 5, which the API server refuses."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        wanted = scalars_in(annotation)
        if wanted == {bool} and not isinstance(value, bool | None):
            raise ValueError("must be true or false" + _UNQUOTED * (value in ("true", "false")))
        if wanted == {int} and isinstance(value, bool | str):
            raise ValueError("must be a whole number" + _UNQUOTED * (isinstance(value, str) and value.isdecimal()))
        if isinstance(value, bool) and value in literals_in(annotation):  # True == 1
            raise ValueError("must be a whole number")
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        json_schema = handler(schema)
        if cls.RULES:
            handler.resolve_ref_schema(json_schema)[VALIDATIONS] = [rule.schema() for rule in cls.RULES]
        return json_schema


class Reported(BaseModel):
    """Base of everything the operator writes: unknown fields are ignored, they may come from another version."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class ObjectMeta(Reported):
    """The part of Kubernetes' metadata that swiftop reads. Times are RFC 3339 texts, as Kubernetes writes them."""

    name: str = ""
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Condition(Reported):
    """``metav1.Condition``: one aspect of the state, with the generation of the spec that it speaks of."""

    type: str = Field(description="Aspect of the state, in CamelCase.")
    status: str = Field(description="True, False or Unknown.", json_schema_extra={"enum": ["True", "False", "Unknown"]})
    reason: str = Field(default="Unknown", description="Why, as one CamelCase word out of a closed list.")
    message: str = Field(default="", description="Why, for people.")
    observed_generation: int = Field(default=0, description="Generation of the spec that this condition speaks of.")
    last_transition_time: str = Field(
        default="",
        description="When the status last changed.",
        json_schema_extra={"format": "date-time"},
    )


@dataclass(frozen=True, slots=True)
class Column:
    """One column of ``kubectl get``; ``wide`` ones are shown with ``-o wide`` only."""

    name: str
    type: str
    path: str
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Scale:
    """Paths of the scale subresource, as ``kubectl scale`` and autoscalers read it."""

    wanted: str
    running: str
    selector: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What a CustomResourceDefinition says besides the schema."""

    resource: Resource
    short: str
    columns: tuple[Column, ...]
    conditions: tuple[str, ...]  # types that the kind has besides the common ones, in printed order
    summary: str = "Succeeded"  # the condition that says in one word how it stands
    scale: Scale | None = None
    changeable: tuple[str, ...] | None = None
    """Members of the spec that may still change once ``status.startTime`` is set; None: all of them."""


class CustomResource(Reported):
    """Base of the kinds. The subclass says which word ``kind`` has, and adds ``spec`` and ``status``."""

    DEFINITION: ClassVar[Definition]
    RULES: ClassVar[tuple[Rule, ...]] = ()
    FLAGS: ClassVar[Mapping[str, str]] = {}
    """Field of the spec by the flag of ms-swift that it sets; empty when swiftop alone decides."""
    ELSEWHERE: ClassVar[Mapping[str, str]] = {}
    """Field of the spec by the name that other trainers, or older releases of ms-swift, have for it."""

    api_version: Literal["swiftop.dev/v1alpha1"] = "swiftop.dev/v1alpha1"
    kind: str
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)

    @classmethod
    def from_object(cls, obj: Mapping[str, Any]) -> Self:
        """Parse an object of the API server or of a file; raises ``Invalid`` with paths in the user's spelling.

        The status is left out: it is the operator's own, and another version may have written it.
        """
        return parse(cls, {**obj, "status": None})


_NAME = rf"^[a-z]([-a-z0-9]{{0,{MAX_NAME - 2}}}[a-z0-9])?$"
_NAME_TEXT = f"a DNS label of at most {MAX_NAME} characters that starts with a letter"
_BETTER_NAME = "(self.metadata.name.matches('^[a-z]') ? self.metadata.name : 'x-' + self.metadata.name)"


def better_name(name: str) -> str:
    """Nearest name that is allowed: ``qwen2.5-7b`` becomes ``qwen2-5-7b``."""
    label = re.sub(r"[^-a-z0-9]", "-", name.lower())
    label = label if re.match("[a-z]", label) else f"x-{label}"
    return label[:MAX_NAME].rstrip("-")


def _instead_of(name: str) -> str:
    return "a shorter one" if len(name) > MAX_NAME else better_name(name)


NAME_RULE = Rule(
    cel=f"self.metadata.name.matches('{_NAME}')",
    message=f"metadata.name must be {_NAME_TEXT}: use letters, digits and '-'",
    message_cel=f"'metadata.name must be {_NAME_TEXT}: use ' + (size(self.metadata.name) > {MAX_NAME} ? "
    f"'a shorter one' : {_BETTER_NAME}.replace('.', '-'))",
    holds=lambda obj: bool(re.fullmatch(_NAME, obj.metadata.name)),
    describe=lambda obj: (
        f"metadata.name must be {_NAME_TEXT}"
        + (f": use {_instead_of(obj.metadata.name)}" if obj.metadata.name else ", and is missing")
    ),
    field="metadata.name",
)
"""Names of children are made of the object's own, and Indexed Jobs and Services cannot carry a dot."""
