"""The port of the endpoint."""

from __future__ import annotations

import asyncio
import socket

import pytest

from swiftop.runner.serve import listener
from swiftop.runner.serve.causes import PORT_TAKEN
from swiftop.runner.task import Refused
from tests.runner.harness import free_port


async def test_connections_of_both_families_are_taken_and_answered_without_delay() -> None:
    port, delayed = free_port(), asyncio.Queue[bool]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken = writer.get_extra_info("socket")
        await delayed.put(not taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async with await asyncio.start_server(answer, sock=listener.bind(port)):
        for address in ("127.0.0.1", "::1") if socket.has_dualstack_ipv6() else ("127.0.0.1",):
            _, writer = await asyncio.open_connection(address, port)
            assert await asyncio.wait_for(delayed.get(), 5) is False
            writer.close()


@pytest.mark.parametrize("address", ["127.0.0.1", ""])
def test_a_port_that_somebody_listens_on_is_refused(address: str) -> None:
    with socket.create_server((address, 0)) as other, pytest.raises(Refused) as refused:
        listener.bind(other.getsockname()[1])
    assert refused.value.judged.cause is PORT_TAKEN


async def test_a_client_that_reads_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "UNREAD_SECONDS", 0.2)
    port, left = free_port(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(bytes(1 << 20))
                await writer.drain()
        except OSError:
            left.set()

    async with await asyncio.start_server(answer, sock=listener.bind(port)):
        with socket.create_connection(("127.0.0.1", port)):
            await asyncio.wait_for(left.wait(), 30)
