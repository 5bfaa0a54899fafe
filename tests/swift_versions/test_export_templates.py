"""The chat template of a model against ms-swift's own, token for token, and the one that is baked."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from tests.swift_versions.environments import environment


@functools.cache
def results() -> dict[str, Any]:
    """All cases, in one process."""
    output = environment("4.6").run("tests/swift_versions/export_templates.py")
    found: dict[str, Any] = json.loads(output.rpartition("RESULTS\n")[2])
    return found


@pytest.mark.parametrize(
    ("name", "difference"),
    [
        ("no default system, no tools", "one question: from token 1 on ms-swift has '<|im_start|>system"),
        ("no default system", "one question: from token 1 on ms-swift has '<|im_start|>system"),
        ("trained with a system prompt", "one question: from token 1 on ms-swift has '<|im_start|>system"),
        ("a beginning of its own", "one question: from token 0 on ms-swift has '<|endoftext|>"),
        ("with thoughts and a switch", "ms-swift has 'tant\\n<think>"),
    ],
)
def test_a_template_that_differs_is_told_and_can_be_baked(name: str, difference: str) -> None:
    before, baked, after = results()[name]
    assert (before["templateEqual"], before["baked"]) == (False, False)
    assert difference in before["difference"]
    assert (baked["templateEqual"], baked["baked"], baked["difference"]) == (True, True, "")
    assert (after["templateEqual"], after["baked"]) == (True, False)
    assert before["file"] != baked["file"] == after["file"]


@pytest.mark.parametrize("name", ["no default system", "trained with a system prompt", "with thoughts and a switch"])
def test_the_models_own_template_is_kept_where_defaults_are_enough(name: str) -> None:
    before, baked, _ = results()[name]
    assert baked["file"].endswith(before["file"])


@pytest.mark.parametrize(
    ("name", "difference"),
    [
        ("another way to tell tools", "spaces around a question: from token 8 on ms-swift has"),
        ("with thoughts", "<think>"),
    ],
)
def test_what_cannot_be_baked_is_said_and_left_as_it_is(name: str, difference: str) -> None:
    before, baked, after = results()[name]
    assert (baked["templateEqual"], baked["baked"]) == (False, False)
    assert difference in baked["difference"]
    assert baked["notes"][-1] == "no chat template was found that renders the same"
    assert before["file"] == baked["file"] == after["file"]


def test_dialogues_that_ms_swift_refuses_are_not_compared() -> None:
    (note,) = results()["a beginning of its own"][0]["notes"]
    assert note.startswith("not compared, because ms-swift refuses it (tools, system and tools, text before a call, ")


def test_a_template_that_is_not_valid_differs() -> None:
    (found,) = results()["not valid Jinja"]
    assert found["difference"].startswith("one question: the chat template refuses it: ")


def test_a_model_that_ms_swift_does_not_know_is_not_equal() -> None:
    (found,) = results()["unknown to ms-swift"]
    assert (found["templateEqual"], found["difference"]) == (
        False,
        "ms-swift has no template for it: template_type: 'none'",
    )
