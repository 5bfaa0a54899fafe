"""Programs that share one import of ms-swift share nothing else."""

from __future__ import annotations

import json

import pytest

from tests.swift_versions.environments import Environment
from tests.swift_versions.test_acceptance import ready

PROGRAM = "tests/swift_versions/leave_traces.py"
NOTHING = {"left": [False, False, False], "writable": True}


@pytest.fixture(scope="module")
def environment() -> Environment:
    return ready("4.6")


def test_no_program_sees_what_another_has_left(environment: Environment) -> None:
    for words in (("a", "b c"), ()):
        told = json.loads(environment.run(PROGRAM, *words, stdin="你好\n"))
        assert told == {"words": list(words), "input": "你好\n", "imported": True, **NOTHING}


def test_a_program_that_fails_tells_why_and_the_next_one_runs(environment: Environment) -> None:
    with pytest.raises(RuntimeError, match=r"leave_traces.py ended with 1:\nas told"):
        environment.run(PROGRAM, "fail")
    with pytest.raises(RuntimeError, match=r"(?s)nothing.py ended with 1:.*FileNotFoundError"):
        environment.run("tests/swift_versions/nothing.py")
    assert json.loads(environment.run(PROGRAM))["left"] == NOTHING["left"]


def test_a_program_may_ask_for_an_interpreter_that_has_imported_nothing(environment: Environment) -> None:
    told = json.loads(environment.run(PROGRAM, fresh=True))
    assert told == {"words": [], "input": "", "imported": False, **NOTHING}
