"""Pulling progress: the page, the log behind it, and what is not believed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from swiftop.errors import Transient
from swiftop.model.kind import Reading
from swiftop.runner.report import TRAINING, Accelerated, Previous
from swiftop.shell.puller import Puller, last_in_log, page_url, parse
from tests.unit.shell.virtual_time import run

Object = dict[str, Any]

POD: Object = {
    "metadata": {"namespace": "ns", "name": "a-1-x", "uid": "u"},
    "status": {"podIP": "10.1.2.3", "containerStatuses": [{"name": "swift", "state": {"running": {}}}]},
}


def test_only_finite_numbers_of_known_names_are_taken() -> None:
    said = '{"version":1,"step":3,"loss":NaN,"epoch":Infinity,"evalLoss":"0.1","maxSteps":true,"gradNorm":null,"x":1,'
    said += f'"learningRate":1e-5,"etaSeconds":{10**400}}}'
    assert parse(said, TRAINING) == Reading({"step": 3, "learningRate": 1e-5})


def test_the_acceleration_is_taken_as_far_as_it_is_sound() -> None:
    said = '{"version":1,"step":3,"acceleration":{"active":true,"parts":["mlp","x"],"perDeviceBatchSize":-1}}'
    assert parse(said, TRAINING) == Reading({"step": 3}, acceleration=Accelerated(active=True, parts=("mlp",)))
    assert parse('{"version":1,"acceleration":[]}', TRAINING) == Reading({})


@pytest.mark.parametrize(
    ("said", "taken"), [('"alice"', {"trackerWorkspace": "alice"}), (f'"{65 * "a"}"', {}), ("5", {})]
)
def test_of_texts_the_trackers_workspace_is_taken(said: str, taken: dict[str, str]) -> None:
    assert parse(f'{{"version":1,"trackerWorkspace":{said}}}', TRAINING) == Reading({**taken})


@pytest.mark.parametrize("text", ["", "[]", "7", '{"version":2}', "{", "[" * 100_000, "1" * 10_000, b"\xff"])
def test_what_is_no_progress_document_is_none(text: str | bytes) -> None:
    assert parse(text, TRAINING) is None


def test_the_last_line_of_the_log_counts() -> None:
    text = (
        'swiftop-progress {"version":1,"step":1}\nnoise\nswiftop-progress {"version":1,"step":2}\nswiftop-progress {\n'
    )
    assert last_in_log(text, TRAINING) == Reading({"step": 2})
    assert last_in_log("nothing", TRAINING) is None


def test_of_lines_that_only_look_like_the_runners_a_few_are_read() -> None:
    """Whoever prints a quarter of a megabyte of them takes no more time than others."""
    said, odd = 'swiftop-progress {"version":1,"step":2}\n', "swiftop-progress {\n"
    assert last_in_log(said + 7 * odd, TRAINING) == Reading({"step": 2})
    assert last_in_log(said + 8 * odd, TRAINING) is None


@pytest.mark.parametrize(
    "ip",
    ["", "127.0.0.1", "169.254.169.254", "::1", "0.0.0.0", "224.0.0.1", "evil.example", "1.2.3.4/x"],  # noqa: S104
)
def test_no_address_but_a_pod_address_is_asked(ip: str) -> None:
    assert page_url({"status": {"podIP": ip}}) is None


def test_page_urls() -> None:
    assert page_url(POD) == "http://10.1.2.3:8080/progress"
    assert page_url({"status": {"podIP": "fd00::7"}}) == "http://[fd00::7]:8080/progress"
    assert page_url({"spec": {"hostNetwork": True}, "status": {"podIP": "10.1.2.3"}}) is None


class World:
    """A pod with a page and a log, each of which can break, and a puller that looks at it."""

    def __init__(self) -> None:
        self.page: Callable[[], Awaitable[web.StreamResponse]] = self.say
        self.step: int | None = 1
        self.log: str | Exception = ""
        self.log_reads = 0
        self.page_reads = 0
        self.news: list[Reading | None] = []
        self.server = TestServer(web.Application())
        self.puller = Puller(
            pods=lambda: [POD],
            log_tail=self.log_tail,
            news=lambda pod: self.news.append(self.puller.latest(pod["metadata"]["uid"])),
            url=lambda _: str(self.server.make_url("/progress")),
            timeout=0.2,
        )
        self.server.app.router.add_get("/progress", self.answer)

    async def answer(self, _: web.Request) -> web.StreamResponse:
        self.page_reads += 1
        return await self.page()

    async def say(self) -> web.StreamResponse:
        return web.json_response({"version": 1, "step": self.step, "updated": self.page_reads})

    async def log_tail(self, namespace: str, pod: str, seconds: int) -> str:
        self.log_reads += 1
        if isinstance(self.log, Exception):
            raise self.log
        return self.log

    async def look(self, times: int = 1) -> Reading | None:
        for _ in range(times):
            await self.puller.look(POD)
        return self.puller.latest("u")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    await world.server.start_server()
    yield world
    await world.server.close()


async def broken() -> web.StreamResponse:
    return web.Response(status=503)


async def test_news_is_told_once(world: World) -> None:
    assert world.puller.latest("u") is None
    said = await world.look(3)  # only the time of writing differs
    assert said is not None
    assert (said.report or {})["step"] == 1
    assert (said.reachable, len(world.news)) == (True, 1)
    world.step = 2
    await world.look()
    assert len(world.news) == 2


async def test_the_log_is_read_after_three_failed_pages(world: World) -> None:
    previous = '{"pod":"p","time":9,"reason":"Lost","keptStep":4}'
    world.page, world.log = broken, f'swiftop-progress {{"version":1,"step":5,"previous":[{previous}]}}'
    assert await world.look(2) is None
    assert world.log_reads == 0
    assert await world.look() == Reading({"step": 5}, (Previous("p", 9, "Lost", kept_step=4),))


async def test_both_ways_down_is_told_and_the_last_numbers_stay(world: World) -> None:
    await world.look()
    world.page, world.log = broken, Transient("kubelet is away")
    last = await world.look(5)
    assert last is not None
    assert (last.reachable, (last.report or {})["step"]) == (False, 1)
    assert [said and said.reachable for said in world.news] == [True, False]


async def test_the_page_is_tried_again_now_and_then(world: World) -> None:
    world.page, world.log = broken, 'swiftop-progress {"version":1,"step":5}'
    await world.look(15)
    pages = world.page_reads
    assert pages == 3
    world.page = world.say
    said = await world.look(10)
    assert said is not None
    assert (said.report or {})["step"] == 1
    assert world.page_reads > pages + 1  # and it stays with the page


@pytest.mark.parametrize("answer", ["redirect", "endless", "slow", "huge number"])
async def test_an_unfriendly_page_is_a_failed_one(world: World, answer: str) -> None:
    async def unfriendly() -> web.StreamResponse:
        if answer == "redirect":
            raise web.HTTPFound("http://169.254.169.254/")
        if answer == "endless":
            return web.Response(text=json.dumps({"version": 1, "step": 1, "x": "y" * 100_000}))
        if answer == "huge number":
            return web.Response(text='{"version":' + "1" * 10_000)
        await asyncio.sleep(60)
        return web.Response()

    world.page = unfriendly
    assert await world.look() is None
    assert world.news == []


Seconds = Callable[[str], float]


def pods(count: int, name: str) -> list[Object]:
    names = [f"{name}{n}" for n in range(count)]
    return [{**POD, "metadata": {"namespace": "ns", "name": n, "uid": n}} for n in names]


class Slow(Puller):
    """Pages and logs that take their time; a page that takes as long as the timeout has failed."""

    def __init__(self, all_pods: list[Object], *, page: Seconds, log: Seconds, chance: float = 0.5) -> None:
        self.looks: dict[str, list[float]] = {}
        self.running, self.page_takes, self.log_takes = all_pods, page, log
        super().__init__(
            pods=lambda: self.running, log_tail=self._tail, news=lambda _: None, chance=lambda: chance, timeout=2.0
        )

    async def _page(self, pod: Object) -> Reading | None:
        name, takes = pod["metadata"]["name"], self.page_takes(pod["metadata"]["name"])
        self.looks.setdefault(name, []).append(now())
        await asyncio.sleep(min(takes, 2.0))
        return None if takes >= 2 else Reading({"step": now()})

    async def _tail(self, namespace: str, pod: str, seconds: int) -> str:
        self.looks.setdefault(pod, []).append(now())
        await asyncio.sleep(self.log_takes(pod))
        return ""

    async def run_for(self, seconds: float, *, meanwhile: Callable[[], None] = lambda: None) -> None:
        running = asyncio.create_task(self.run())
        for _ in range(int(seconds)):
            await asyncio.sleep(1)
            assert not running.done()
            meanwhile()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def now() -> float:
    return asyncio.get_running_loop().time()


def pending() -> int:
    return sum(task.get_name().startswith("progress-") for task in asyncio.all_tasks())


def test_looks_do_not_pile_up_when_a_network_policy_drops_them() -> None:
    async def scenario() -> None:
        puller = Slow(pods(500, "dropped"), page=lambda _: 60.0, log=lambda _: 0.02)

        def not_more_than_pods() -> None:
            assert pending() <= 500

        await puller.run_for(600, meanwhile=not_more_than_pods)
        assert pending() == 0

    run(scenario())


@pytest.mark.parametrize("dead", [8, 16, 64])
def test_a_dead_node_starves_no_other_run(dead: int) -> None:
    async def scenario() -> None:
        everybody = pods(dead, "dead") + pods(100, "good")

        def is_dead(name: str) -> bool:
            return name.startswith("dead")

        puller = Slow(everybody, page=lambda n: 60.0 if is_dead(n) else 0.01, log=lambda _: 1e6)
        await puller.run_for(900)
        for name, at in puller.looks.items():
            gaps = [b - a for a, b in pairwise(at)]
            assert is_dead(name) or max(gaps) <= 15 + 1 + 2 * dead / 16 + 1, name

    run(scenario())


def test_slow_pods_of_one_namespace_leave_room_for_the_others() -> None:
    async def scenario() -> None:
        good = [{**POD, "metadata": {"namespace": "other", "name": "good", "uid": "good"}}]
        puller = Slow(pods(1000, "slow") + good, page=lambda n: 0.01 if n == "good" else 1.9, log=lambda _: 0.01)
        await puller.run_for(600)
        assert max(b - a for a, b in pairwise(puller.looks["good"])) <= 17

    run(scenario())


def test_a_pod_that_answers_no_way_is_asked_less_and_less_often() -> None:
    async def scenario() -> None:
        puller = Slow(pods(1, "dead"), page=lambda _: 60.0, log=lambda _: 1e6)
        await puller.run_for(3600)
        (at,) = puller.looks.values()
        gaps = [b - a for a, b in pairwise(at)]
        assert gaps[0] <= 16
        assert 230 <= max(gaps) <= 241
        assert len(at) < 30
        assert puller.latest("dead0") == Reading(None, reachable=False)

    run(scenario())


def test_pods_that_run_at_the_start_are_spread_and_a_new_one_is_looked_at_at_once() -> None:
    async def scenario() -> None:
        puller = Slow(pods(2, "old"), page=lambda _: 0.01, log=lambda _: 0.01, chance=0.5)

        def another_starts() -> None:
            if now() == 20:
                puller.running = [*puller.running, *pods(1, "new")]

        await puller.run_for(60, meanwhile=another_starts)
        assert puller.looks["old0"][:3] == pytest.approx([8, 23, 38], abs=1.01)
        assert puller.looks["new0"][0] <= 21

    run(scenario())


def test_a_container_that_was_started_again_has_said_nothing_and_is_looked_at_at_once() -> None:
    async def scenario() -> None:
        puller = Slow(pods(1, "old"), page=lambda _: 60.0 if now() >= 20 else 0.01, log=lambda _: 0.01)

        def starts_again() -> None:
            if now() == 20:
                assert puller.latest("old0") is not None
                (pod,) = puller.running
                container = {**POD["status"]["containerStatuses"][0], "restartCount": 1}
                puller.running = [{**pod, "status": {"containerStatuses": [container]}}]

        await puller.run_for(25, meanwhile=starts_again)
        assert puller.latest("old0") is None
        assert puller.looks["old0"][-1] <= 21

    run(scenario())


def test_an_unexpected_error_ends_no_other_look(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        def page(name: str) -> float:
            if name == "odd0":
                raise ZeroDivisionError("what is this")
            return 0.01

        puller = Slow(pods(1, "odd") + pods(1, "good"), page=page, log=lambda _: 0.01)
        await puller.run_for(100)
        assert len(puller.looks["good0"]) >= 6

    run(scenario())
    assert "ns/odd0" in caplog.text
    assert "what is this" in caplog.text
