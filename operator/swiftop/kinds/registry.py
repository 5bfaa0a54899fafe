"""The only list of the kinds that swiftop works on: how each is read, checked, built and shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.api.validate import problems
from swiftop.batch.conditions import ended
from swiftop.errors import Invalid
from swiftop.kinds.sftrun.build import Context, build
from swiftop.kinds.sftrun.status import RunView, view_of
from swiftop.observe.pods import index_of
from swiftop.swift import check
from swiftop.swift.releases import DEFAULT
from swiftop.workload.resolve import merged


@dataclass(frozen=True, slots=True)
class Handler:
    """What the engine and the shell ask of a kind. All of it is pure."""

    resource: names.Resource
    children: tuple[names.Resource, ...]  # watched by label
    over: Callable[[Mapping[str, Any]], bool]  # by its status, whether an object has ended for good
    reports: Callable[[Mapping[str, Any]], bool]  # whether a pod is asked for its progress
    parse: Callable[[Mapping[str, Any]], SFTRun]  # raises Invalid
    view: Callable[[SFTRun], RunView]
    build: Callable[[SFTRun, Context], list[dict[str, Any]]]  # the Job last; raises Invalid


def _read_sftrun(obj: Mapping[str, Any]) -> SFTRun:
    """The status is the engine's own business, and reading it leniently costs more than the whole spec."""
    return SFTRun.from_object({**obj, "status": None})


def _build_sftrun(run: SFTRun, context: Context) -> list[dict[str, Any]]:
    """Children of a run that is checked as a whole first, so that a user sees all mistakes at once."""
    spec = merged(run.spec, context.defaults)
    found = (*problems(run), *check.problems(spec, spec.runtime.swift_version or DEFAULT))
    if found:
        raise Invalid(tuple(dict.fromkeys(found)))  # a rule may be checked by both
    return build(run, context)


KINDS: Mapping[str, Handler] = {
    handler.resource.kind: handler
    for handler in (
        Handler(
            resource=names.SFTRUN,
            children=(names.JOB, names.POD, names.PVC),
            over=ended,
            reports=lambda pod: index_of(pod["metadata"]) == 0,
            parse=_read_sftrun,
            view=view_of,
            build=_build_sftrun,
        ),
    )
}

WATCHED: Mapping[names.Resource, str] = {
    **{kind.resource: "" for kind in KINDS.values()},
    **{child: names.MANAGED_SELECTOR for kind in KINDS.values() for child in kind.children},
}
"""What is watched, with the label selector that the API server applies: of users' own Jobs, pods and claims nothing is
ever sent to us."""
