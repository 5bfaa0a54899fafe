"""The model bases, and what all kinds have of Kubernetes: metadata and conditions."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from swiftop.api.v1alpha1.rules import VALIDATIONS, Rule


class Model(BaseModel):
    """Base of everything a user writes: unknown fields are errors, values never change after parsing."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    RULES: ClassVar[tuple[Rule, ...]] = ()

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
    resource_version: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class Condition(Reported):
    """``metav1.Condition``: one aspect of the state, with the generation of the spec that it speaks of."""

    type: str = Field(description="Aspect of the run, in CamelCase.")
    status: str = Field(description="True, False or Unknown.", json_schema_extra={"enum": ["True", "False", "Unknown"]})
    reason: str = Field(default="Unknown", description="Why, as one CamelCase word out of a closed list.")
    message: str = Field(default="", description="Why, for people.")
    observed_generation: int = Field(default=0, description="Generation of the spec that this condition speaks of.")
    last_transition_time: str = Field(
        default="",
        description="When the status last changed.",
        json_schema_extra={"format": "date-time"},
    )
