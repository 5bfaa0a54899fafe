"""A guard without a server: what it asks itself, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from swiftop.runner.protocol import ServedAdapter
from swiftop.runner.serve.board import Board
from swiftop.runner.serve.prober import Prober
from swiftop.runner.serve.readiness import Readiness
from swiftop.runner.serve.watch import Watch
from tests.unit.runner.serve.clock import Clock
from tests.unit.runner.serve.fake_backend import FakeBackend, until

BASE = -1.0


class Pod:
    """``weights``: what each name would say, or the exception that it raises."""

    def __init__(self, *adapters: ServedAdapter) -> None:
        self.clock = Clock()
        self.weights: dict[str, list[Any]] = {"base": [BASE]}
        self.backend = FakeBackend()
        self.backend.reply = self._reply
        names = ("base", *(adapter.name for adapter in adapters))
        self.board, self.readiness = Board(names, self.clock), Readiness(names)
        self.prober = Prober(self.backend, self.board, self.readiness, base="base", adapters=adapters)
        self.told: list[Mapping[str, Any]] = []
        self.watch = Watch(
            self.backend, self.board, self.readiness, self.prober,
            tell=self.told.append, stall_seconds=60, load_seconds=12.34, clock=self.clock,
            also={"server": "Swift", "serverWhy": "Asked"},
        )  # fmt: skip

    def _reply(self, asked: Mapping[str, Any]) -> tuple[int, list[Any]]:
        said = self.weights[asked["model"]]
        chance = said.pop(0) if len(said) > 1 else said[0]
        if isinstance(chance, Exception):
            return 200, [chance]
        tops = [{"token": "a", "bytes": [97], "logprob": chance}, {"token": "b", "bytes": [98], "logprob": -9.0}]
        return 200, [json.dumps({"choices": [{"logprobs": {"content": [{"top_logprobs": tops}]}}]}).encode()]

    def why(self) -> dict[str, str]:
        return {name: word for name, (word, _) in self.readiness.bad.items()}


ADA, BOB = ServedAdapter("ada", "alice/ada"), ServedAdapter("bob", "alice/bob")


async def settled(pod: Pod) -> None:
    """Until the question of its own is answered."""
    await until(lambda: pod.watch._probe is not None and pod.watch._probe.done())


async def started(*adapters: ServedAdapter) -> Pod:
    pod = Pod(*adapters)
    pod.weights.update(ada=[-2.0], bob=[-3.0])
    running = asyncio.ensure_future(pod.watch.run())
    await until(lambda: pod.readiness.ready)
    running.cancel()
    await settled(pod)
    pod.backend.asked.clear()
    return pod
