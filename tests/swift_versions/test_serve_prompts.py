"""Would an engine's own server get the prompts that ms-swift's would make? With each release's own arguments."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from tests.swift_versions.environments import environment

RELEASES = ("4.6", "3.12", "3.7")
pytestmark = pytest.mark.parametrize("release", RELEASES)


@functools.cache
def results(release: str) -> dict[str, Any]:
    """All cases, in one process."""
    output = environment(release).run("tests/swift_versions/serve_prompts.py")
    found: dict[str, Any] = json.loads(output.rpartition("RESULTS\n")[2])
    return found


@pytest.mark.parametrize("name", ["equal", "a short limit"])
def test_the_same_prompts(release: str, name: str) -> None:
    found = results(release)[name]
    assert (found["equal"], found["difference"]) == (True, "")
    assert found["made"].endswith(found["own"])
    assert found["agentTemplate"] == "hermes"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no default system, no tools", "You are Qwen, created by Alibaba Cloud."),
        ("a system prompt of the spec", "Answer in rhymes."),
        ("a system prompt of the training", "Answer in rhymes."),
    ],
)
def test_a_template_is_made_that_gives_them(release: str, name: str, text: str) -> None:
    found = results(release)[name]
    assert found["equal"] is True
    assert "from token" in found["difference"]
    assert text in found["made"]


@pytest.mark.parametrize("name", ["equal", "no default system, no tools"])
def test_what_a_server_makes_up_of_a_tool_is_no_part_of_the_prompt(release: str, name: str) -> None:
    """vLLM hands on null for what the client leaves out."""
    asked, dumped = results(release)[name]["tools"]
    assert asked == dumped
    assert '"name": "f"' in asked


def test_a_difference_that_stays_is_told(release: str) -> None:
    found = results(release)["none can be made"]
    assert (found["equal"], found["made"]) == (False, "")
    assert "ms-swift has" in found["difference"]


@pytest.mark.parametrize(
    ("name", "why"), [("unknown to ms-swift", "nonsense"), ("an unknown flag", "unknown flags: --nonsense 1")]
)
def test_what_cannot_be_compared_is_said(release: str, name: str, why: str) -> None:
    found = results(release)[name]
    assert found["equal"] is None
    assert why in found["unknown"]


def test_ends_that_the_model_itself_does_not_know_are_told(release: str) -> None:
    """The end of a text ends an answer in ms-swift, too; a base model knows that one alone."""
    end_of_text, end_of_turn = 0, 2
    assert results(release)["equal"]["stopTokens"] == [end_of_text]
    assert results(release)["no end but that of a text"]["stopTokens"] == [end_of_turn]
