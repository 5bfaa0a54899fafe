"""A value that is right but for its form: how to write what was meant. No suggestion is given that would be refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticUndefined

from swiftop.api.fields import described, listed_with_meaning, literals_in, model_at
from swiftop.api.shorthand import as_object, instead_of_id, quoted

Loc = tuple[int | str, ...]
_LONGEST = 200  # characters of a suggestion that repeats what was written


def in_quotes(model: type[BaseModel], loc: Loc, value: object) -> str:
    """How a text is written that YAML took for something else, or a number that stands in quotes."""
    words = _literals(model, loc)
    if isinstance(value, str):
        return "write it without quotes" if value in {str(n) for n in words if isinstance(n, int)} else ""
    if not isinstance(value, int | float):
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    read_so = {"true": {"yes", "on", "true"}, "false": {"no", "off", "false"}}.get(text, {text})
    if words & read_so or (not words and _fits(model, loc, text)):
        return "put it in quotes: " + (f"YAML reads it as {text}" if isinstance(value, bool) else f'"{text}"')
    return "" if words else described(model, loc)


def like_another_member(model: type[BaseModel], loc: Loc, value: object) -> str:
    """Where an object or a list is given as a text: the member that takes it, or the text."""
    owner = model_at(model, loc[:-1])
    names = {field.alias for field in owner.model_fields.values()} if owner else set()
    if not isinstance(value, dict | list) or len(text := json.dumps(value, ensure_ascii=False, default=str)) > _LONGEST:
        return ""
    if isinstance(value, list) and loc[-1] == "value" and "values" in names:
        return f"use values: [{', '.join(quoted(str(item)) for item in value)}]"
    if "json" in names and loc[-1] in ("value", "json") and "'" not in text:
        return f"use json: '{text}'" if loc[-1] == "value" else f"put it in quotes: '{text}'"
    return described(model, loc)


def list_of(model: type[BaseModel], loc: Loc, value: object) -> str:
    """The list that was meant by one item, by several in one text, or by a map of names to values."""
    item = model_at(model, loc)
    if isinstance(value, str) and item is not None:
        written = _object(item, value)
        return f"write [{written}]" if written else ""
    if isinstance(value, str):
        words = [word for word in re.split(r"[,\s]+", value.strip("[] ")) if word]
        return f"write [{', '.join(map(quoted, words))}]" if words and len(value) <= _LONGEST else ""
    if isinstance(value, Mapping) and item is not None and not set(value) & set(_fields(item)):
        return "; ".join(f"write [{named}]" for named in _named(item, list(value.items())[:1]))
    return ""


def written_out(model: type[BaseModel] | None, value: object) -> str:
    """The object that was meant by one word, or the fields that it may have."""
    if model is not None and isinstance(value, str) and (written := _object(model, value)):
        return f"write {written}"
    return listed_with_meaning(model)


def of_an_id(model: type[BaseModel], loc: Loc, value: object) -> str:
    """The id without what other members say: hub, revision, subsets, the file that it is in truth."""
    owner = model_at(model, loc[:-1])
    if loc[-1] != "id" or owner is None or not isinstance(value, str) or len(value) > _LONGEST:
        return ""
    written = instead_of_id(value, _fields(owner))
    return f"write {written}" if written else ""


def nothing_less(model: type[BaseModel], loc: Loc, value: object) -> str:
    """Elsewhere -1 says that something is not set; here an absent field does."""
    owner = model_at(model, loc[:-1])
    field = next((f for f in owner.model_fields.values() if f.alias == loc[-1]), None) if owner else None
    return (
        "remove it, if -1 is to say that it is not set"
        if value == -1 and field is not None and field.default is None
        else ""
    )


def _object(model: type[BaseModel], word: str) -> str:
    if written := as_object(word, _fields(model)):
        known = [name for name in _fields(model) if f"{name}: " in written]
        return "{" + ", ".join([written[1:-1], *_others(model, *known)]) + "}"
    if {"name", "value"} <= set(_fields(model)):
        name, _, text = word.lstrip("-").replace("=", " ", 1).partition(" ")
        return next(iter(_named(model, [(name, text)])), "") if text else ""
    path = getattr(model, "WORD", "")
    if not path or len(word) > _LONGEST or not _fits(model, tuple(path.split(".")), word):
        return ""
    written = quoted(word)
    for place, part in reversed(list(enumerate(path.split(".")))):
        owner = model_at(model, tuple(path.split(".")[:place]))
        written = "{" + ", ".join([f"{part}: {written}", *_others(owner, part)]) + "}"
    return written


def _named(model: type[BaseModel], pairs: list[tuple[Any, Any]]) -> list[str]:
    """Items of a list that has a name and a value in each, where the names may stand there."""
    if not {"name", "value"} <= set(_fields(model)):
        return []
    texts = [(str(name), str(text).lower() if isinstance(text, bool) else str(text)) for name, text in pairs]
    return [
        f"{{name: {name}, value: {json.dumps(text, ensure_ascii=False)}}}"
        for name, text in texts
        if len(text) <= _LONGEST and _fits(model, ("name",), name) and not _secret(model, name)
    ]


def _secret(model: type[BaseModel], name: str) -> bool:
    """Whether a rule refuses the name: then its value is not repeated either."""
    rules = getattr(model, "RULES", ())
    item = model.model_construct(name=name, value="", values=None, json_text=None)
    return any(rule.field == "name" and not rule.holds(item) for rule in rules)


def _others(model: type[BaseModel] | None, *known: str) -> list[str]:
    """What else the object has to have."""
    fields = model.model_fields.values() if model else ()
    return [f"{f.alias}: {(f.alias or '').upper()}" for f in fields if f.is_required() and f.alias not in known]


def _fields(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _literals(model: type[BaseModel], loc: Loc) -> set[object]:
    owner = model_at(model, loc[:-1])
    fields = owner.model_fields.values() if owner else ()
    return {word for field in fields if field.alias == loc[-1] for word in literals_in(field.annotation)}


def _fits(model: type[BaseModel], loc: Loc, text: str) -> bool:
    """Whether the field takes the text; of what is no field, such as an item of a list, nobody knows better."""
    owner = model_at(model, loc[:-1])
    adapter = _adapter(owner, str(loc[-1])) if owner else None
    try:
        return adapter is None or adapter.validate_python(text) is not PydanticUndefined
    except ValidationError:
        return False


@lru_cache(256)
def _adapter(model: type[BaseModel], alias: str) -> TypeAdapter[Any] | None:
    field = next((field for field in model.model_fields.values() if field.alias == alias), None)
    if field is None or field.annotation is None:
        return None
    wanted: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return TypeAdapter(wanted)
