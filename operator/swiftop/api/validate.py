"""What the API server cannot check, or has not seen: problems of a resource beyond the form of its fields.

The cross-field rules are the Python twins of the CRD's CEL rules (``swiftop preview`` has no server). The others look
into parts of a pod (``podPatch``, ``affinity``), whose meaning no schema has, or compare items of different lists.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pydantic import BaseModel

from swiftop.api.parse import field_path
from swiftop.api.pod_form import AFFINITY, UNKNOWN, fields_at, mismatches
from swiftop.api.pod_patch import pod_patch_problems
from swiftop.api.v1alpha1.base import CustomResource
from swiftop.api.v1alpha1.rules import Rule
from swiftop.api.v1alpha1.workload import Placement, WorkloadSpec
from swiftop.errors import Problem
from swiftop.model.bounds import excess

_Loc = tuple[int | str, ...]


def problems(resource: CustomResource) -> tuple[Problem, ...]:
    """All problems of a resource, each with the field to fix; empty for a valid one."""
    spec: WorkloadSpec = resource.spec  # type: ignore[attr-defined]  # of every kind that runs pods
    return (
        *_rule_problems(resource, ()),
        *affinity_problems(spec.placement),
        *_duplicates(spec),
        *pod_patch_problems(spec.runtime.pod_patch or {}),
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
    """Problems of an affinity by its form; what else there is, the API server says when it gets the pod."""
    affinity, root = placement.affinity or {}, (*path.split("."), "affinity")
    if why := excess(affinity):
        yield Problem(field_path(root), why)
        return
    for loc, message in mismatches(affinity, AFFINITY):
        known = fields_at(AFFINITY, loc[:-1]) if message == UNKNOWN else ()
        said = ("unknown field", f"use {', '.join(sorted(known))}") if known else (message, "")
        yield Problem(field_path((*root, *loc)), *said)


def _duplicates(spec: WorkloadSpec) -> Iterator[Problem]:
    for path, names in spec.unique().items():
        for name, count in Counter(names).items():
            if count > 1:
                yield Problem(f"spec.{path}", f"{name} is given {count} times: keep one")
