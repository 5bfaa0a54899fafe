"""The chat template of a model against ms-swift's own, token for token, and the one that is baked.

Releases differ: 4.6 puts an empty thought before an answer that a thinking model begins, 3.12 before those that it has
given, 3.7 nowhere; before 4.6 each template tells tools in one way or another.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from tests.swift_versions.environments import environment

RELEASES = ("4.6", "3.12", "3.7")
NO_SYSTEM = "one question: from token 1 on ms-swift has '<|im_start|>system"


@functools.cache
def results(release: str) -> dict[str, Any]:
    """All cases, in one process."""
    output = environment(release).run("tests/swift_versions/export_templates.py")
    found: dict[str, Any] = json.loads(output.rpartition("RESULTS\n")[2])
    return found


def of_each(*cases: tuple[str, str], only: str = "") -> list[tuple[str, str, str]]:
    """The cases in each release, or in one."""
    return [(release, *case) for release in RELEASES if only in ("", release) for case in cases]


@pytest.mark.parametrize(
    ("release", "name", "difference"),
    [
        *of_each(
            ("no default system, no tools", NO_SYSTEM),
            ("no default system", NO_SYSTEM),
            ("trained with a system prompt", NO_SYSTEM),
        ),
        *of_each(
            ("a beginning of its own", "one question: from token 0 on ms-swift has '<|endoftext|>"),
            ("with thoughts and a switch", "ms-swift has 'tant\\n<think>"),
            only="4.6",
        ),
    ],
)
def test_a_template_that_differs_is_told_and_can_be_baked(release: str, name: str, difference: str) -> None:
    before, baked, after = results(release)[name]
    assert (before["templateEqual"], before["baked"]) == (False, False)
    assert difference in before["difference"]
    assert (baked["templateEqual"], baked["baked"], baked["difference"]) == (True, True, "")
    assert (after["templateEqual"], after["baked"]) == (True, False)
    assert before["file"] != baked["file"] == after["file"]


@pytest.mark.parametrize(
    ("release", "name"),
    [
        *((release, name) for release in RELEASES for name in ("no default system", "trained with a system prompt")),
        ("4.6", "with thoughts and a switch"),
    ],
)
def test_the_models_own_template_is_kept_where_defaults_are_enough(release: str, name: str) -> None:
    before, baked, _ = results(release)[name]
    assert baked["file"].endswith(before["file"])


def test_a_template_that_is_equal_is_left_as_it_is() -> None:
    """Calls of tools among the dialogues, which ms-swift 3 takes in words of its own alone."""
    first, baked, _ = results("3.7")["with thoughts and a switch"]
    assert (first["templateEqual"], first["difference"], first["notes"]) == (True, "", [])
    assert (baked["baked"], baked["file"]) == (False, first["file"])


@pytest.mark.parametrize(
    ("release", "name", "difference"),
    [
        *of_each(
            ("another way to tell tools", "spaces around a question: from token 8 on ms-swift has"),
            ("with thoughts", "<think>"),
        ),
        ("3.12", "with thoughts and a switch", "text before a call: from token 608 on ms-swift has 'tant\\n<think>"),
        ("3.12", "a beginning of its own", "one question: from token 0 on ms-swift has '<|endoftext|>"),
        ("3.7", "a beginning of its own", "one question: from token 0 on ms-swift has '<|endoftext|>"),
    ],
)
def test_what_cannot_be_baked_is_said_and_left_as_it_is(release: str, name: str, difference: str) -> None:
    before, baked, after = results(release)[name]
    assert (baked["templateEqual"], baked["baked"]) == (False, False)
    assert difference in baked["difference"]
    assert baked["notes"][-1] == "no chat template was found that renders the same"
    assert before["file"] == baked["file"] == after["file"]


def test_dialogues_that_ms_swift_refuses_are_not_compared() -> None:
    (note,) = results("4.6")["a beginning of its own"][0]["notes"]
    assert note.startswith("not compared, because ms-swift refuses it (tools, system and tools, text before a call, ")


@pytest.mark.parametrize("release", RELEASES)
def test_a_template_that_is_not_valid_differs(release: str) -> None:
    (found,) = results(release)["not valid Jinja"]
    assert found["difference"].startswith("one question: the chat template refuses it: ")


@pytest.mark.parametrize("release", RELEASES)
def test_of_a_model_that_ms_swift_does_not_know_nothing_is_said(release: str) -> None:
    (found,) = results(release)["unknown to ms-swift"]
    assert (found["templateEqual"], found["difference"]) == (None, "")
    assert found["unknown"] == "ms-swift has no template for it: template_type: 'none'"
