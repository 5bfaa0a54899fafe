"""The gate of a new revision: what each of its pods has to answer before it is ready.

Greedy, so that the same weights answer the same; bounded in tokens by the prompt, in time by the longest answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .. import causes
from ..protocol import GatePrompt
from . import errors, question, requests
from .backend import Backend
from .board import Board
from .causes import ENGINE_DEAD, GATE_FAILED
from .readiness import Readiness

_SHOWN = 80  # characters of what was expected; of the answer twice as many


class Gate:
    """Asked once, after every name has answered with its own weights."""

    def __init__(
        self, prompts: Sequence[GatePrompt], backend: Backend, board: Board, readiness: Readiness, *, seconds: float
    ) -> None:
        self._prompts = tuple(prompts)
        self._backend = backend
        self._board = board
        self._readiness = readiness
        self._seconds = seconds

    async def check(self) -> None:
        """Ask; the first wrong answer is the end of this pod."""
        for number, prompt in enumerate(self._prompts, 1):
            try:
                wrong = await self._wrong(replace(prompt, name=self._readiness.inside(prompt.name)))
            except Exception as error:
                problem = errors.problem_of(error)
                if problem.status >= 500:  # nothing is known of the weights
                    text = f"the model does not answer: {type(error).__name__}: {error}"
                    self._readiness.fail(causes.match(text) or ENGINE_DEAD, text)
                    return
                wrong = f"it is refused: {problem.message}"
            if wrong:
                place = f"prompt {number} of {len(self._prompts)}, asked of {prompt.name}"
                self._readiness.fail(GATE_FAILED, f"{place}: {wrong}")
                return
        self._readiness.passed = True

    async def of_newer(self, name: str, inside: str) -> str:
        """What is wrong with newer weights of a name, which the backend knows by another one; empty when nothing is."""
        for number, prompt in enumerate(self._prompts, 1):
            wrong = await self._wrong(replace(prompt, name=inside)) if prompt.name == name else ""
            if wrong:
                return f"prompt {number} of {len(self._prompts)} of the gate: {wrong}"
        return ""

    async def _wrong(self, prompt: GatePrompt) -> str:
        """What is wrong with the answer; empty when nothing is."""
        turn = {"role": "user", "content": prompt.prompt}
        asked = {"model": prompt.name, "messages": [turn], "max_tokens": prompt.max_tokens, "temperature": 0}
        try:
            found = await asyncio.wait_for(
                question.ask(self._backend, self._board, requests.CHAT, asked), self._seconds
            )
        except asyncio.TimeoutError:
            return f"no answer within {self._seconds:g} s"
        said = _text(found)
        if prompt.contains in said:
            return ""
        return f'the answer does not contain "{prompt.contains[:_SHOWN]}", it was "{said[: 2 * _SHOWN]}"'


def _text(answer: Mapping[str, Any]) -> str:
    try:
        return str(answer["choices"][0]["message"]["content"] or "")
    except (KeyError, IndexError, TypeError):
        return ""
