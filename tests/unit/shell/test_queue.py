"""The work queue, on virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from swiftop.errors import Conflict, Transient
from swiftop.shell.line import Line
from swiftop.shell.queue import Backoff, Queue
from tests.unit.shell.virtual_time import run

Handler = Callable[[str], Awaitable[float | None]]


def now() -> float:
    return asyncio.get_running_loop().time()


class Recorder:
    """A handler that notes when it was called with what, and answers from a script."""

    def __init__(self, *script: float | Exception | None, takes: float = 0.0) -> None:
        self.calls: list[tuple[float, str]] = []
        self.script = list(script)
        self.takes = takes
        self.running: set[str] = set()

    async def __call__(self, key: str) -> float | None:
        assert key not in self.running, "two workers have one key"
        self.running.add(key)
        self.calls.append((round(now(), 3), key))
        await asyncio.sleep(self.takes)
        self.running.discard(key)
        answer = self.script.pop(0) if self.script else None
        if isinstance(answer, Exception):
            raise answer
        return answer


async def work(queue: Queue[str], handler: Handler, *, seconds: float, workers: int = 2) -> None:
    """Let the workers work for so long, then stop them."""
    asyncio.get_running_loop().call_later(seconds, queue.stop)
    await queue.run(handler, workers=workers)


def no_chance() -> float:
    return 0.0


def test_adding_twice_is_adding_once() -> None:
    async def scenario() -> None:
        queue, handler = Queue[str](), Recorder()
        for _ in range(3):
            queue.add("a")
        assert queue.depth == 1
        await work(queue, handler, seconds=1)
        assert handler.calls == [(0.0, "a")]

    run(scenario())


def test_a_long_line_of_work_that_waits_for_nothing_gives_way_to_others() -> None:
    async def scenario() -> None:
        queue, turns, seen = Queue[int](), 0, list[int]()

        async def handler(key: int) -> None:
            seen.append(turns)
            if key == 99:
                queue.stop()

        async def renew() -> None:
            nonlocal turns
            while len(seen) < 100:
                turns += 1
                await asyncio.sleep(0)

        for key in range(100):
            queue.add(key)
        async with asyncio.TaskGroup() as group:
            group.create_task(renew())
            group.create_task(queue.run(handler, workers=2))
        assert seen[-1] - seen[0] >= 45  # once for two keys

    run(scenario())


def test_a_key_added_during_its_work_runs_once_more_and_never_beside_itself() -> None:
    async def scenario() -> None:
        queue, handler = Queue[str](), Recorder(takes=5)
        queue.add("a")
        for second in (1, 2, 3):
            asyncio.get_running_loop().call_later(second, queue.add, "a")
        await work(queue, handler, seconds=60, workers=4)
        assert handler.calls == [(0.0, "a"), (5.0, "a")]

    run(scenario())


def test_workers_take_different_keys_side_by_side_in_order() -> None:
    async def scenario() -> None:
        queue, handler = Queue[str](), Recorder(takes=2)
        for key in "abcd":
            queue.add(key)
        await work(queue, handler, seconds=60, workers=2)
        assert handler.calls == [(0.0, "a"), (0.0, "b"), (2.0, "c"), (2.0, "d")]

    run(scenario())


@pytest.mark.parametrize("delays", [(10, 5), (5, 10)])
def test_of_two_delayed_adds_the_earliest_counts(delays: tuple[float, float]) -> None:
    async def scenario() -> None:
        queue, handler = Queue[str](), Recorder()
        for delay in delays:
            queue.add_after("a", delay)
        await work(queue, handler, seconds=60)
        assert handler.calls == [(5.0, "a")]

    run(scenario())


def test_an_add_replaces_a_delayed_add() -> None:
    async def scenario() -> None:
        queue, handler = Queue[str](), Recorder()
        queue.add_after("a", 10)
        queue.add("a")
        queue.add_after("a", 20)  # in line already: nothing to wait for
        await work(queue, handler, seconds=60)
        assert handler.calls == [(0.0, "a")]

    run(scenario())


def test_the_handler_may_ask_to_be_called_again() -> None:
    async def scenario() -> None:
        queue, handler = Queue[str](), Recorder(30.0, None)
        queue.add("a")
        await work(queue, handler, seconds=100)
        assert handler.calls == [(0.0, "a"), (30.0, "a")]

    run(scenario())


def test_failures_come_back_with_growing_pauses_and_a_success_forgets_them() -> None:
    async def scenario() -> None:
        down = Transient("down")
        queue = Queue[str](backoff=Backoff(first=1, longest=4), chance=no_chance)
        handler = Recorder(down, down, down, down, 10.0, down)
        queue.add("a")
        await work(queue, handler, seconds=60)
        # 1, 2, 4, 4 after the failures; 10 as asked for by the success; then 1 again.
        assert [at for at, _ in handler.calls] == [0, 1, 3, 7, 11, 21, 22]

    run(scenario())


def test_failures_are_told_with_the_number_of_alike_ones_in_a_row() -> None:
    async def scenario() -> None:
        down, odd = Transient("down"), KeyError("odd")
        queue = Queue[str](backoff=Backoff(first=1, longest=1), chance=no_chance)
        handler = Recorder(down, down, odd, odd, down, None)
        told: list[tuple[str, str, int]] = []

        async def failed(key: str, error: Exception, failures: int) -> None:
            told.append((key, type(error).__name__, failures))
            raise RuntimeError("what a report meets changes nothing")

        queue.add("a")
        asyncio.get_running_loop().call_later(60, queue.stop)
        await queue.run(handler, workers=1, failed=failed)
        alike = [("Transient", 1), ("Transient", 2), ("KeyError", 1), ("KeyError", 2), ("Transient", 1)]
        assert told == [("a", *item) for item in alike]
        assert len(handler.calls) == 6

    run(scenario())


def test_a_stale_read_comes_back_at_once() -> None:
    async def scenario() -> None:
        queue, handler = Queue[str](chance=no_chance), Recorder(Conflict("stale"))
        queue.add("a")
        await work(queue, handler, seconds=1)
        assert handler.calls == [(0.0, "a"), (0.05, "a")]

    run(scenario())


def test_jitter_spreads_the_pauses() -> None:
    backoff, error = Backoff(first=10, jitter=0.5), Transient("down")
    assert backoff.pause(error, failures=1, chance=0.0) == 10
    assert backoff.pause(error, failures=1, chance=1.0) == 5
    assert backoff.pause(error, failures=10_000, chance=0.0) == backoff.longest


def test_an_unexpected_error_is_told_with_its_traceback_and_kills_no_worker(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        queue, handler = Queue[str](chance=no_chance), Recorder(KeyError("oops"))
        queue.add("a")
        queue.add("b")
        await work(queue, handler, seconds=5, workers=1)
        assert handler.calls == [(0.0, "a"), (0.0, "b"), (1.0, "a")]

    run(scenario())
    assert [(r.levelno, bool(r.exc_info)) for r in caplog.records] == [(logging.ERROR, True)]


def test_news_during_a_failing_work_does_not_wait_for_the_pause() -> None:
    async def scenario() -> None:
        queue, handler = Queue[str](chance=no_chance), Recorder(Transient("down"), takes=2)
        queue.add("a")
        asyncio.get_running_loop().call_later(1, queue.add, "a")
        await work(queue, handler, seconds=30)
        assert [at for at, _ in handler.calls] == [0, 2]

    run(scenario())


def test_stopping_finishes_what_is_in_work_and_starts_nothing_more() -> None:
    async def scenario() -> None:
        queue, handler = Queue[str](), Recorder(takes=10)
        for key in "abcde":
            queue.add(key)
        queue.add_after("later", 3)
        await work(queue, handler, seconds=1, workers=2)
        assert now() == 10
        assert [key for _, key in handler.calls] == ["a", "b"]
        assert handler.running == set()
        queue.add("f")
        assert queue.depth == 3

    run(scenario())


def test_age_grows_while_a_key_waits_or_hangs() -> None:
    async def scenario() -> None:
        waits: list[float] = []
        queue, handler = Queue[str](waited=waits.append), Recorder(takes=100)
        assert queue.oldest() == 0
        queue.add("a")
        queue.add("b")
        working = asyncio.create_task(work(queue, handler, seconds=250, workers=1))
        await asyncio.sleep(50)
        assert (queue.depth, queue.oldest()) == (1, 50)
        await asyncio.sleep(100)
        assert (queue.depth, queue.oldest()) == (0, 50)  # b, in work since 100
        await working
        assert (queue.depth, queue.oldest(), waits) == (0, 0, [0, 100])

    run(scenario())


def test_a_long_line_that_advances_is_not_stuck() -> None:
    async def scenario() -> None:
        queue, handler = Queue[str](), Recorder(takes=10)
        for key in range(100):
            queue.add(f"{key}")
        working = asyncio.create_task(work(queue, handler, seconds=945, workers=1))
        for _ in range(90):
            await asyncio.sleep(10)
            assert queue.stuck() <= 10
        assert queue.oldest() >= 900
        await working

    run(scenario())


def test_a_key_in_work_or_a_line_without_a_free_worker_is_stuck() -> None:
    async def scenario() -> None:
        queue, handler = Queue[str](), Recorder(takes=1000)
        assert queue.stuck() == 0
        await asyncio.sleep(500)
        queue.add("a")
        working = asyncio.create_task(work(queue, handler, seconds=700, workers=1))
        await asyncio.sleep(300)
        assert queue.stuck() == 300
        queue.add("b")
        await asyncio.sleep(300)
        assert queue.stuck() == 600
        await working

    run(scenario())


def by_namespace(key: str) -> str:
    return key.partition("/")[0]


def test_namespaces_take_turns() -> None:
    async def scenario() -> None:
        queue, handler = Queue[str](group=by_namespace), Recorder(takes=1)
        for n in range(1000):
            queue.add(f"a/{n}")
        queue.add("b/0")
        queue.add("b/1")
        queue.add("c/0")
        await work(queue, handler, seconds=5.5, workers=1)
        assert [key for _, key in handler.calls] == ["a/0", "b/0", "c/0", "a/1", "b/1", "a/2"]

    run(scenario())


def test_keys_of_one_namespace_that_all_hang_leave_workers_to_others() -> None:
    async def scenario() -> None:
        async def hang(key: str) -> None:
            calls.append((now(), key))
            await asyncio.sleep(30 if key.startswith("a/") else 0.1)

        calls: list[tuple[float, str]] = []
        queue = Queue[str](group=by_namespace)
        for n in range(100):
            queue.add(f"a/{n}")
        asyncio.get_running_loop().call_later(1, queue.add, "b/0")
        await work(queue, hang, seconds=100, workers=8)
        assert (1.0, "b/0") in calls
        assert sum(at == 0 for at, _ in calls) == 6
        assert len(calls) == 1 + 4 * 6  # and whoever is done makes room for the next of its own

    run(scenario())


def test_a_namespace_has_its_share_again_once_the_loop_lags_no_more() -> None:
    async def scenario() -> None:
        loop: Any = asyncio.get_running_loop()
        begun, working = 0, 0
        later: list[int] = []

        async def handler(_key: str) -> None:
            nonlocal begun, working
            begun, working = begun + 1, working + 1
            if begun <= 200:
                loop._selector.now += 0.06  # what the processor takes
                await asyncio.sleep(0.01)
                loop._selector.now += 0.06
            else:
                later.append(working)
                await asyncio.sleep(1)
            working -= 1

        queue = Queue[str](group=by_namespace)
        for n in range(500):
            queue.add(f"a/{n}")
        await work(queue, handler, seconds=60, workers=32)
        assert max(later) == 24

    run(scenario())


def test_a_namespace_whose_work_is_the_processor_s_has_few_in_work_beside_others() -> None:
    async def scenario() -> None:
        loop: Any = asyncio.get_running_loop()
        begun: list[str] = []

        async def busy(key: str) -> None:
            begun.append(key)
            loop._selector.now += 0.06  # what the processor takes
            await asyncio.sleep(0.01)
            loop._selector.now += 0.01

        queue = Queue[str](group=by_namespace)
        for n in range(300):
            queue.add(f"a/{n}")
        for n in range(20):
            loop.call_later(5, queue.add, f"b/{n}")
        await work(queue, busy, seconds=30, workers=32)
        first, last = (begun.index(f"b/{n}") for n in (0, 19))
        assert last - first <= 2 * 20  # turn by turn, and not behind what has been begun
        assert sorted(begun) == sorted([f"a/{n}" for n in range(300)] + [f"b/{n}" for n in range(20)])

    run(scenario())


def test_a_namespace_has_few_in_work_while_the_api_server_is_slow() -> None:
    async def scenario() -> None:
        working: dict[str, int] = {"a": 0, "b": 0}
        seen: list[tuple[float, int, int]] = []

        async def write(key: str) -> None:
            working[by_namespace(key)] += 1
            seen.append((now(), working["a"], working["b"]))
            queue.answered(0.01 if now() < 1 or now() > 20 else 0.5)
            await asyncio.sleep(0.5)
            working[by_namespace(key)] -= 1

        queue = Queue[str](group=by_namespace)
        for n in range(2000):
            queue.add(f"a/{n}")
        for n in range(8):
            asyncio.get_running_loop().call_later(10, queue.add, f"b/{n}")
        await work(queue, write, seconds=40, workers=32)
        assert max(a for at, a, _ in seen if at < 1) == 24
        assert max(a for at, a, _ in seen if 3 < at < 10) == 8
        assert max(a for at, a, b in seen if 10.5 < at < 12 and b) == 2
        assert max(a for at, a, _ in seen if at > 30) == 24

    run(scenario())


@pytest.mark.parametrize("answers", [[0.13] * 50, [0.2] * 5 + [0.1] * 50, [0.01] * 50 + [30.0]])
def test_a_long_way_and_a_read_that_hangs_make_no_slow_api_server(answers: list[float]) -> None:
    line = Line[str](by_namespace)
    line.workers = 32
    for seconds in answers:
        line.answered(seconds)
    for number in range(30):
        line.put(f"a/{number}")
    assert sum(line.take() is not None for _ in range(30)) == 24


def test_an_api_server_that_stays_slow_is_not_taken_for_a_long_way() -> None:
    line = Line[str](by_namespace)
    line.workers = 32
    for seconds in [0.01] * 50 + [0.5] * 10_000:
        line.answered(seconds)
    for number in range(30):
        line.put(f"a/{number}")
    assert sum(line.take() is not None for _ in range(30)) == 8
