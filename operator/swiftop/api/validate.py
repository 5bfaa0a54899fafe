"""What the API server cannot check, or has not seen: problems of an SFTRun beyond the form of its fields.

The cross-field rules are the Python twins of the CRD's CEL rules (``swiftop preview`` has no server). The others look
into values that CEL cannot see (``podPatch``, ``affinity``) or compare items of different lists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from swiftop.api.bounds import excess
from swiftop.api.parse import field_path
from swiftop.api.pod_patch import pod_patch_problems
from swiftop.api.v1alpha1.rules import Rule
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.api.v1alpha1.workload import Placement
from swiftop.errors import Problem

_AFFINITIES = ("nodeAffinity", "podAffinity", "podAntiAffinity")
_Loc = tuple[int | str, ...]


def problems(run: SFTRun) -> tuple[Problem, ...]:
    """All problems of a run, each with the field to fix; empty for a valid run."""
    return (
        *_rule_problems(run, ()),
        *affinity_problems(run.spec.placement),
        *_duplicates(run),
        *pod_patch_problems(run.spec.runtime.pod_patch or {}),
    )


def _rule_problems(model: BaseModel, loc: _Loc) -> Iterator[Problem]:
    rules: tuple[Rule, ...] = getattr(model, "RULES", ())
    for rule in rules:
        if not rule.holds(model):
            blamed = (*loc, *rule.field.split(".")) if rule.field else loc
            yield Problem(field_path(blamed), rule.text(model))
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        here = (*loc, field.alias or name)
        if isinstance(value, BaseModel):
            yield from _rule_problems(value, here)
        elif isinstance(value, tuple):
            for i, item in enumerate(value):
                if isinstance(item, BaseModel):
                    yield from _rule_problems(item, (*here, i))


def affinity_problems(placement: Placement, path: str = "spec.placement") -> Iterator[Problem]:
    """Problems of an affinity by its members; what is below them, the API server says when it gets the pod."""
    if why := excess(placement.affinity):
        yield Problem(f"{path}.affinity", why)
        return
    for key, value in (placement.affinity or {}).items():
        if key not in _AFFINITIES:
            yield Problem(f"{path}.affinity.{key}", "unknown field", f"use {', '.join(_AFFINITIES)}")
        elif not isinstance(value, Mapping):
            yield Problem(f"{path}.affinity.{key}", "must be an object")


def _duplicates(run: SFTRun) -> Iterator[Problem]:
    """Names that must be unique in their list. Two files of one name would be mounted at one path."""
    lists = {
        "spec.files": [file.basename for file in run.spec.files],
        "spec.runtime.env": [env.name for env in run.spec.runtime.env],
        "spec.extraArgs": [arg.name for arg in run.spec.extra_args],
    }
    for path, names in lists.items():
        for name, count in Counter(names).items():
            if count > 1:
                yield Problem(path, f"{name} is given {count} times: keep one")
