"""One LIST of events for a namespace, and no namespace waits for another's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from swiftop import names
from swiftop.engine import warned
from swiftop.engine.ports import Cluster
from swiftop.engine.warned import Warnings
from swiftop.model.kind import Ask, Object


class Slow:
    """An API server that answers about a namespace once it is let."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.let: dict[str, asyncio.Event] = {}
        self.now = 0.0
        self.read = Warnings(cast("Cluster", self), lambda: self.now)

    async def warnings(self, _kind: names.Resource, namespace: str) -> Sequence[Object]:
        self.calls.append(namespace)
        if namespace in self.let:
            await self.let[namespace].wait()
            self.now += 3
        return [{"involvedObject": {"uid": "u"}, "message": namespace}]

    def ask(self, namespace: str, uid: str = "u") -> asyncio.Task[Any]:
        return asyncio.create_task(cast("Any", self.read.about(Ask("warnings", names.JOB, "a-1", uid), namespace)))


async def test_no_namespace_waits_for_the_list_of_another() -> None:
    slow = Slow()
    slow.let["busy"] = asyncio.Event()
    waiting = [slow.ask("busy"), slow.ask("busy", "other")]
    async with asyncio.timeout(5):
        ((event,), none) = await slow.ask("quiet"), await slow.ask("quiet", "other")
    assert (event["message"], none, slow.calls) == ("quiet", (), ["busy", "quiet"])
    slow.let["busy"].set()
    found = [await task for task in waiting]
    # One LIST answers both, though it took longer than its silence about one of them is believed.
    assert ([len(events) for events in found], slow.calls) == ([1, 0], ["busy", "quiet"])
    assert len(slow.read._locks) == 0


async def test_a_list_that_takes_too_long_tells_nothing_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warned, "_LIST_SECONDS", 0.05)
    slow = Slow()
    slow.let["busy"] = asyncio.Event()
    assert [await slow.ask("busy"), await slow.ask("busy", "other")] == [(), ()]
    slow.now += 9
    assert await slow.ask("busy") == ()
    assert slow.calls == ["busy"]
    slow.let["busy"].set()
    slow.now += 2
    assert len(await slow.ask("busy")) == 1
