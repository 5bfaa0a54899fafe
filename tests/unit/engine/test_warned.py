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
from swiftop.errors import Forbidden, SwiftopError, Transient
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


async def test_no_namespace_waits_for_the_list_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    monkeypatch.setattr(warned, "_WAIT_SECONDS", 60)
    slow.let["busy"] = asyncio.Event()
    waiting = [slow.ask("busy"), slow.ask("busy", "other")]
    async with asyncio.timeout(5):
        ((event,), none) = await slow.ask("quiet"), await slow.ask("quiet", "other")
    assert (event["message"], none, slow.calls) == ("quiet", (), ["busy", "quiet"])
    slow.let["busy"].set()
    found = [await task for task in waiting]
    # One LIST answers both, though it took longer than its silence about one of them is believed.
    assert ([len(events) for events in found], slow.calls) == ([1, 0], ["busy", "quiet"])
    assert len(slow.read._listing) == 0


async def test_a_list_that_takes_too_long_tells_nothing_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warned, "_LIST_SECONDS", 0.05)
    monkeypatch.setattr(warned, "_WAIT_SECONDS", 60)
    slow = Slow()
    slow.let["busy"] = asyncio.Event()
    assert [await slow.ask("busy"), await slow.ask("busy", "other")] == [(), ()]
    slow.now += 9
    assert await slow.ask("busy") == ()
    assert slow.calls == ["busy"]
    slow.let["busy"].set()
    slow.now += 2
    assert len(await slow.ask("busy")) == 1


async def test_nothing_waits_long_for_a_list_whose_answer_is_found_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warned, "_WAIT_SECONDS", 0.01)
    slow = Slow()
    slow.let["busy"] = asyncio.Event()
    assert [await slow.ask("busy") for _ in range(3)] == [(), (), ()]
    assert slow.calls == ["busy"]  # it goes on
    (listing,) = slow.read._listing.values()
    slow.let["busy"].set()
    await listing
    assert len(await slow.ask("busy")) == 1
    slow.let["busy"].clear()
    slow.now += 9.5
    assert len(await slow.ask("busy")) == 1  # what was read before, as long as it is kept
    assert slow.calls == ["busy"]


@pytest.mark.parametrize("error", [Forbidden("GET /events: 403 no"), Transient("the API server is away")])
async def test_events_that_cannot_be_read_are_none_for_a_while(error: SwiftopError) -> None:
    class Refusing(Slow):
        async def warnings(self, _kind: names.Resource, namespace: str) -> Sequence[Object]:
            self.calls.append(namespace)
            raise error

    refusing = Refusing()
    assert [await refusing.ask("a"), await refusing.ask("a")] == [(), ()]
    assert refusing.calls == ["a"]
