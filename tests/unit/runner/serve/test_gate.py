"""What the gate asks, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from swiftop.runner import causes
from swiftop.runner.protocol import GatePrompt
from swiftop.runner.serve.board import Board
from swiftop.runner.serve.errors import Problem
from swiftop.runner.serve.gate import Gate
from swiftop.runner.serve.readiness import Readiness
from tests.unit.runner.serve.fake_backend import FakeBackend

NAMES = ("base", "ada")
PROMPTS = (GatePrompt("base", "Who?", "swift"), GatePrompt("ada", "1+1?", "2", max_tokens=4))


class Asked:
    """A loaded model whose answers are given by name; an exception is raised."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {"base": "I am swift.", "ada": "It is 2.", **answers}
        self.backend = FakeBackend()
        self.backend.reply = self._reply
        self.board, self.readiness = Board(NAMES), Readiness(NAMES, gated=True)
        for name in NAMES:
            self.readiness.answered(name)

    def _reply(self, asked: Mapping[str, Any]) -> tuple[int, list[Any]]:
        said = self.answers[asked["model"]]
        if isinstance(said, Exception | asyncio.Event):
            return 200, [said]
        return 200, [json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]}).encode()]

    async def check(self, *, seconds: float = 60.0) -> tuple[str, str]:
        """Reason and text of a failure."""
        await Gate(PROMPTS, self.backend, self.board, self.readiness, seconds=seconds).check()
        cause = self.readiness.cause
        return (cause.reason if cause else "", self.readiness.failure)


async def test_right_answers_open_it() -> None:
    asked = Asked()
    assert not asked.readiness.ready
    assert asked.readiness.told()["gate"] == "not passed"
    assert await asked.check() == ("", "")
    assert asked.readiness.ready
    turn = {"role": "user", "content": "1+1?"}
    assert asked.backend.asked[1] == (
        "/v1/chat/completions",
        {"model": "ada", "messages": [turn], "max_tokens": 4, "temperature": 0},
    )
    assert asked.board.requests() == 0  # no client's


@pytest.mark.parametrize("said", ["Swift", "", None, "x" * 5000])
async def test_a_wrong_answer_is_told_and_is_the_end(said: Any) -> None:
    asked = Asked(base=said)
    reason, text = await asked.check()
    shown = (said or "")[:160]
    assert reason == causes.BY_REASON["GateFailed"].reason
    assert text == f'prompt 1 of 2, asked of base: the answer does not contain "swift", it was "{shown}"'
    assert len(asked.backend.asked) == 1
    assert not asked.readiness.healthy


async def test_the_second_prompt_counts_as_well() -> None:
    reason, text = await Asked(ada="3").check()
    assert (reason, text[:30]) == ("GateFailed", "prompt 2 of 2, asked of ada: t")


async def test_an_answer_that_never_comes_is_none() -> None:
    asked = Asked(base=asyncio.Event())
    assert await asked.check(seconds=0.01) == (
        "GateFailed",
        "prompt 1 of 2, asked of base: no answer within 0.01 s",
    )
    assert asked.backend.given_up == 1
    assert asked.board.calls == set()


@pytest.mark.parametrize(
    ("error", "reason", "said"),
    [
        (Problem(400, "it is too long"), "GateFailed", "it is refused: it is too long"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "CUDAOutOfMemory", "the model does not answer"),
        (RuntimeError("nobody knows"), "EngineDead", "the model does not answer"),
    ],
)
async def test_an_engine_that_fails_says_nothing_of_the_weights(error: Exception, reason: str, said: str) -> None:
    found, text = await Asked(base=error).check()
    assert found == reason
    assert said in text
