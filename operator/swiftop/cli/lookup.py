"""The kind that a word of the command line names, as kubectl would take it."""

from __future__ import annotations

from swiftop.api.v1alpha1.base import CustomResource
from swiftop.errors import Invalid, Problem
from swiftop.kinds.registry import MODELS


def model_of(word: str) -> type[CustomResource]:
    """Model of a kind by its name, singular, plural or short name, in any case."""
    for model in MODELS:
        resource = model.DEFINITION.resource
        if word.lower() in (resource.kind.lower(), resource.plural, model.DEFINITION.short):
            return model
    known = ", ".join(model.DEFINITION.resource.kind.lower() for model in MODELS)
    raise Invalid((Problem("--kind", f"there is no kind {word!r}", f"use one of: {known}"),))
