"""The fields of a model as a user knows them: where one of that name stands, and which one sets a flag of ms-swift."""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

_AT_A_GLANCE = 16
_FEW = 3
_BELOW_SPEC = 3  # parts of a path: spec itself, a section of it, and what is in the section
_COMMON = ("name", "type", "path", "key", "id", "size")  # names that say little of where they belong
_DEEPEST = 3  # fields of an object; what lies deeper is not what a name at its top was meant to be


@dataclass(frozen=True, slots=True)
class Flag:
    """Mark of a field whose value is passed as it is under this name. An absent one is not passed."""

    name: str

    @property
    def names(self) -> tuple[str, ...]:
        """As of the other mark."""
        return (self.name,)


@dataclass(frozen=True, slots=True, init=False)
class Owns:
    """Mark of a field that decides these flags in another way: a function of the kind renders them."""

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)


def marks(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str]]:
    """Field (in the user's spelling) and flag of all marks of a model and its members."""
    for name, field in model.model_fields.items():
        here = f"{path}.{field.alias or name}".lstrip(".")
        for mark in field.metadata:
            if isinstance(mark, Flag | Owns):
                yield from ((here, flag) for flag in mark.names)
        if (member := model_in(field.annotation)) is not None:
            yield from marks(member, here)


def model_in(annotation: object) -> type[BaseModel] | None:
    """The model inside ``X | None``, ``tuple[X, ...]`` or ``Annotated[X, ...]``."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for a in typing.get_args(annotation) if (found := model_in(a))), None)


def model_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel] | None:
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


def instead_of(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """Which field was probably meant by an unknown one, or where all are told."""
    current, wrong = model_at(model, loc[:-1]), str(loc[-1])
    if current is None:
        return ""
    names = _names(current)
    same = [name for name in names if _bare(name) == _bare(wrong)]
    if told := getattr(current, "INSTEAD", {}).get(wrong, "") if not same else "":
        return str(told)
    several = [name for name in names if _bare(name) in (f"{_bare(wrong)}s", _bare(wrong)[:-1])]  # dataset: datasets
    found = same or several or _below(current, wrong) or _flagged(current, wrong)  # image: runtime.image
    if not found and (elsewhere := _elsewhere(model, loc)):
        return elsewhere
    found = found or (
        difflib.get_close_matches(wrong, names, n=1, cutoff=0.8)
        or [name for name in names if _bare(wrong).endswith(_bare(name))]  # mergeDtype: dtype
        or _alike(names, wrong)
        or difflib.get_close_matches(wrong, names if len(names) > _FEW else (), n=1, cutoff=0.6)
    )
    return f"did you mean {found[0]}?" if found else listed(current) or _explained(model, loc[:-1])


def snake(name: str) -> str:
    """A name as flags of ms-swift are written: ``numTrainEpochs`` and ``--num-train-epochs`` are num_train_epochs."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name.lstrip("-")).replace("-", "_").lower()


def _flagged(model: type[BaseModel], wrong: str) -> list[str]:
    """The field of an object that sets the flag of this name, with the value that says the same: precision: bf16."""
    return [_with_value(model, field, flag) for field, flag in marks(model) if _bare(flag) == _bare(wrong)]


def _with_value(model: type[BaseModel], path: str, word: str) -> str:
    *above, last = path.split(".")
    owner = model_at(model, tuple(above))
    found = [field for field in owner.model_fields.values() if field.alias == last] if owner else []
    return f"{path}: {word}" if any(word in literals_in(field.annotation) for field in found) else path


def literals_in(annotation: object) -> set[object]:
    """The values that a ``Literal`` inside an annotation admits."""
    if typing.get_origin(annotation) is typing.Literal:
        return set(typing.get_args(annotation))
    return {found for inner in typing.get_args(annotation) for found in literals_in(inner)}


def _elsewhere(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """The one field of another part of the spec that sets the flag of this name, or has this name."""
    spec, wrong = model_at(model, ("spec",)), str(loc[-1])
    if spec is None or loc[0] != "spec":
        return ""
    for flag, field in getattr(model, "FLAGS", {}).items():
        if _bare(flag) == _bare(wrong):
            return f"use spec.{_with_value(spec, field, flag)}" if field else "swiftop sets it: remove it"
    for name, field in getattr(model, "ELSEWHERE", {}).items():
        if _bare(name) == _bare(wrong):
            return f"use spec.{field}"
    if len(loc) < _BELOW_SPEC or _bare(wrong) in _COMMON:
        return ""
    paths = [path for path in _paths(spec, 2) if _bare(path.rpartition(".")[2]) == _bare(wrong)]
    return f"use spec.{paths[0]}" if len(paths) == 1 else ""


def listed(model: type[BaseModel] | None) -> str:
    """The fields of an object, while they can be read at a glance."""
    names = _names(model)
    return f"fields here: {', '.join(names)}" if 0 < len(names) <= _AT_A_GLANCE else ""


def listed_with_meaning(model: type[BaseModel] | None) -> str:
    """The fields of an object, and of a small one what it is: its fields' names alone do not tell."""
    about = (model.__doc__ or "").strip().rstrip(".") if model and len(_names(model)) <= _FEW else ""
    return listed(model) + (f": {about[:1].lower()}{about[1:]}" if about else "")


def _explained(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    path = ".".join([model.__name__.lower(), *(part for part in loc if isinstance(part, str))])
    return f"kubectl explain {path} tells all fields" if loc and loc[0] == "spec" else ""


def described(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """What a field is, as ``kubectl explain`` tells it: a path or a pattern alone tells nobody what to write."""
    current = model_at(model, loc[:-1])
    fields = current.model_fields.items() if current else ()
    return next((f.description or "" for name, f in fields if loc[-1] in (f.alias, name)), "").rstrip(".")


def _bare(name: str) -> str:
    """``served_model_name`` and ``servedModelName`` are the same to who writes them."""
    return name.replace("_", "").replace("-", "").lower()


def _below(model: type[BaseModel], wrong: str) -> list[str]:
    """The path of the one field of this name in the object's members, or in theirs; none where several have it."""
    paths = [path for path in _paths(model, _DEEPEST) if _bare(path.rpartition(".")[2]) == _bare(wrong)]
    nearest = min((path.count(".") for path in paths), default=0)
    found = [path for path in paths if path.count(".") == nearest]
    return found if len(found) == 1 else []


def _alike(names: list[str], wrong: str) -> list[str]:
    """The one field that begins as an unknown one does, or ends with the same word: minReplicas, extraArgs."""
    word = _bare(re.split(r"_|(?=[A-Z])", wrong)[-1])
    found = [name for name in names if _bare(wrong).startswith(_bare(name))]
    found = found or [name for name in names if len(word) > _FEW and _bare(name).endswith(word)]
    return found if len(found) == 1 else []


def _paths(model: type[BaseModel], depth: int) -> Iterator[str]:
    for name, field in model.model_fields.items():
        member = model_in(field.annotation) if depth > 1 else None
        if member is not None:
            here = field.alias or name
            yield from (f"{here}.{n}" for n in _names(member))
            yield from (f"{here}.{path}" for path in _paths(member, depth - 1))


def _names(model: type[BaseModel] | None) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()] if model else []
