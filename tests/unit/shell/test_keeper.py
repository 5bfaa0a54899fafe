"""The Lease is renewed whatever the loop that works is busy with."""

from __future__ import annotations

import asyncio
import threading
import time

from swiftop.shell.keeper import Keeper, Standstill
from swiftop.shell.lease import Lease, LeaseLost, Timing
from tests.unit.shell.test_lease import Api

FAST = Timing(duration=1.0, deadline=0.7, renew=0.05, poll=0.05, call_timeout=0.2)


def candidate(api: Api) -> Lease:
    return Lease(api, namespace="ns", identity="a", timing=FAST)


async def test_a_loop_that_is_busy_loses_no_lease() -> None:
    lost: list[BaseException] = []
    api = Api()
    async with Keeper(lost.append) as keeper:
        lease = candidate(api)
        await keeper.run(lease.acquire())
        await keeper.keep(lease)
        time.sleep(1.5)  # noqa: ASYNC251 - what a tenant would make it do
        assert lease.valid()
        assert api.version > 5
        await keeper.cease()
        written = api.version
        time.sleep(0.2)  # noqa: ASYNC251
        assert api.version == written
        await keeper.run(lease.release())
        assert (api.holder, lost) == ("", [])


async def test_a_lease_that_is_lost_is_told_in_the_thread_at_once() -> None:
    told = threading.Event()
    lost: list[tuple[BaseException, str]] = []

    def note(error: BaseException) -> None:
        lost.append((error, threading.current_thread().name))
        told.set()

    api = Api()
    async with Keeper(note) as keeper:
        lease = candidate(api)
        await keeper.run(lease.acquire())
        await keeper.keep(lease)
        api.down = True
        assert told.wait(5)  # while this loop stands still
    ((error, thread),) = lost
    assert isinstance(error, LeaseLost)
    assert thread == "lease"


async def test_a_loop_that_stands_still_for_long_leads_nobody() -> None:
    told = threading.Event()
    lost: list[BaseException] = []

    def note(error: BaseException) -> None:
        lost.append(error)
        told.set()

    api = Api()
    async with Keeper(note, standstill=1.0) as keeper:
        lease = candidate(api)
        await keeper.run(lease.acquire())
        await keeper.keep(lease)
        assert told.wait(20)
    assert isinstance(lost[0], Standstill)


async def test_a_thread_that_ends_is_told() -> None:
    lost: list[BaseException] = []
    async with Keeper(lost.append) as keeper:
        keeper._loop.call_soon_threadsafe(keeper._loop.stop)
        async with asyncio.timeout(5):
            while not lost:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    assert len(lost) == 1


async def test_a_wait_for_the_lease_can_be_given_up() -> None:
    api = Api()
    api.down = True
    async with Keeper(lambda _: None) as keeper:
        waiting = asyncio.create_task(keeper.run(candidate(api).acquire()))
        await asyncio.sleep(0.1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        calls = len(api.calls)
        await keeper.run(asyncio.sleep(0.3))
        assert len(api.calls) <= calls + 1
