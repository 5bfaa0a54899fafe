"""Pulling progress: the page, the log behind it, and what is not believed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from swiftop.errors import Transient
from swiftop.progress import Progress, Puller, Source, last_in_log, page_url, parse

Object = dict[str, Any]

POD: Object = {
    "metadata": {"namespace": "ns", "name": "a-1-x", "uid": "u"},
    "status": {"podIP": "10.1.2.3", "containerStatuses": [{"name": "trainer", "state": {"running": {}}}]},
}


def test_only_finite_numbers_of_known_names_are_taken() -> None:
    said = '{"version":1,"step":3,"loss":NaN,"epoch":Infinity,"evalLoss":"0.1","maxSteps":true,"gradNorm":null,"x":1,'
    said += f'"learningRate":1e-5,"etaSeconds":{10**400}}}'
    assert parse(said) == {"version": 1, "step": 3, "learningRate": 1e-5}


@pytest.mark.parametrize(
    ("said", "taken"), [('"alice"', {"trackerWorkspace": "alice"}), (f'"{65 * "a"}"', {}), ("5", {})]
)
def test_of_texts_the_trackers_workspace_is_taken(said: str, taken: dict[str, str]) -> None:
    assert parse(f'{{"version":1,"trackerWorkspace":{said}}}') == {"version": 1, **taken}


@pytest.mark.parametrize("text", ["", "[]", "7", '{"version":2}', "{", "[" * 100_000, "1" * 10_000, b"\xff"])
def test_what_is_no_progress_document_is_none(text: str | bytes) -> None:
    assert parse(text) is None


def test_the_last_line_of_the_log_counts() -> None:
    text = (
        'swiftop-progress {"version":1,"step":1}\nnoise\nswiftop-progress {"version":1,"step":2}\nswiftop-progress {\n'
    )
    assert last_in_log(text) == {"version": 1, "step": 2}
    assert last_in_log("nothing") is None


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
        self.news: list[Progress | None] = []
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

    async def log_tail(self, namespace: str, pod: str, lines: int) -> str:
        self.log_reads += 1
        if isinstance(self.log, Exception):
            raise self.log
        return self.log

    async def look(self, times: int = 1) -> Progress | None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.2)) as session:
            for _ in range(times):
                await self.puller.look(session, POD)
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
    assert (said.numbers or {})["step"] == 1
    assert (said.source, len(world.news)) == (Source.PAGE, 1)
    world.step = 2
    await world.look()
    assert len(world.news) == 2


async def test_the_log_is_read_after_three_failed_pages(world: World) -> None:
    world.page, world.log = broken, 'swiftop-progress {"version":1,"step":5}'
    assert await world.look(2) is None
    assert world.log_reads == 0
    assert await world.look() == Progress({"version": 1, "step": 5}, Source.LOG)


async def test_both_ways_down_is_told_and_the_last_numbers_stay(world: World) -> None:
    await world.look()
    world.page, world.log = broken, Transient("kubelet is away")
    last = await world.look(5)
    assert last is not None
    assert (last.source, (last.numbers or {})["step"]) == (Source.NONE, 1)
    assert [said and said.source for said in world.news] == [Source.PAGE, Source.NONE]


async def test_the_page_is_tried_again_now_and_then(world: World) -> None:
    world.page, world.log = broken, 'swiftop-progress {"version":1,"step":5}'
    await world.look(15)
    pages = world.page_reads
    assert pages == 3
    world.page = world.say
    said = await world.look(10)
    assert said is not None
    assert said.source == Source.PAGE
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
