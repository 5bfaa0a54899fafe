"""The process around the controller: its page and its socket."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest

from swiftop.model.kind import Key
from swiftop.shell import controller as controller_module
from swiftop.shell.app import _health_page, _listening
from swiftop.shell.config import Config
from swiftop.shell.controller import Controller
from tests.apiserver.process import eventually, free_port


async def pages(port: int) -> dict[str, tuple[int, str]]:
    async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{port}") as client:
        answers = {page: await client.get(page) for page in ("/healthz", "/readyz")}
        return {page: (answer.status_code, answer.text) for page, answer in answers.items()}


async def test_a_key_that_hangs_fails_the_health_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controller_module, "_STUCK", 0.2)
    config = Config(port=free_port(), workers=1)
    controller = Controller(config)
    controller._resynced = asyncio.get_running_loop().time()
    async with _health_page(controller, config):
        assert await pages(config.port) == {"/healthz": (200, "ok\n"), "/readyz": (200, "ok\n")}
        hung = asyncio.Event()

        async def hang(_: Key) -> None:
            hung.set()
            await asyncio.Event().wait()

        working = asyncio.create_task(controller.work(hang))
        controller.queue.add(Key("SFTRun", "ns", "a"))
        await hung.wait()

        async def unhealthy() -> dict[str, tuple[int, str]] | None:
            seen = await pages(config.port)
            return seen if seen["/healthz"][0] != 200 else None

        seen = await eventually(unhealthy, within=10)
        assert seen is not None
        assert (seen["/healthz"][0], seen["/readyz"][0]) == (500, 503)
        assert "no key was finished" in seen["/healthz"][1]
        working.cancel()


async def test_a_refused_lease_makes_unready_and_is_no_reason_to_restart() -> None:
    config = Config(port=free_port())
    controller = Controller(config)
    controller.obstacle = lambda: "the Lease is refused"
    async with _health_page(controller, config):
        assert await pages(config.port) == {"/healthz": (200, "ok\n"), "/readyz": (503, "the Lease is refused\n")}


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_the_page_is_reached_by_every_family_that_the_kernel_has(host: str) -> None:
    with _listening(host, 0) as listening:
        both = not host and socket.has_dualstack_ipv6()
        assert listening.family == (socket.AF_INET6 if both else socket.AF_INET)
        if both:
            assert listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0
        socket.create_connection(("127.0.0.1", listening.getsockname()[1]), timeout=5).close()
