"""Names that people know from ms-swift, where the API has no field of that name: the flag can still be given."""

from __future__ import annotations

from dataclasses import replace

from swiftop.api.fields import snake
from swiftop.api.parse import UNKNOWN_FIELD
from swiftop.cli.lookup import model_of
from swiftop.errors import Problem
from swiftop.swift.releases import DEFAULT, Program, table

# Kinds that take any flag, and where.
_ANY_FLAG: dict[str, tuple[Program, str]] = {
    "SFTRun": ("sft", "extraArgs"),
    "ModelDeployment": ("deploy", "engineArgs"),
}


def explained(problem: Problem, kind: str) -> Problem:
    """The problem, with the place for a flag of ms-swift that no field sets."""
    last = problem.path.rpartition(".")[2]
    if problem.message != UNKNOWN_FIELD or kind not in _ANY_FLAG or problem.suggestion.startswith("use "):
        return problem
    program, place = _ANY_FLAG[kind]
    known = snake(last) in table(DEFAULT, program).flags and snake(last) not in model_of(kind).FLAGS
    if not known or _same_word(last, problem.suggestion):
        return problem
    said = f'a flag of ms-swift without a field: add {{name: {snake(last)}, value: "..."}} to spec.{place}'
    return replace(problem, suggestion=said)


def _same_word(name: str, suggestion: str) -> bool:
    """Whether the name itself, spelled otherwise or in another place, or its last part is suggested already."""
    suggested = suggestion.removeprefix("did you mean ").rstrip("?").rpartition(".")[2]
    return snake(name).endswith(snake(suggested))
