"""Bounds on what a client holds that has asked nothing yet; uvicorn's own class is played."""

from __future__ import annotations

import resource
from types import SimpleNamespace
from typing import Any

import pytest

from swiftop.runner.serve import connections


class Transport:
    def __init__(self) -> None:
        self.closed, self.sent = False, b""

    def write(self, data: bytes) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class Protocol:
    """As that of uvicorn: ``H`` is a piece of a head, ``B`` one of a body, ``N`` begins a request."""

    def __init__(self) -> None:
        self.cycle: Any = None
        self.transport = Transport()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Any) -> None:
        pass

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"N"):
            self.on_message_begin()
        if data.startswith(b"B"):
            self.on_body(data)

    def on_message_begin(self) -> None:
        pass

    def on_body(self, body: bytes) -> None:
        pass


def opened(kind: type[Any]) -> Any:
    made = kind()
    made.connection_made(Transport())
    return made


def test_of_silent_connections_the_oldest_goes() -> None:
    kind = connections.bounded(Protocol, most=3)
    busy = opened(kind)
    busy.cycle = SimpleNamespace(response_complete=False)
    first, second, third = (opened(kind) for _ in range(3))
    first.data_received(b"H")
    fourth = opened(kind)
    gone = [one.transport.closed for one in (busy, first, second, third, fourth)]
    assert gone == [False, False, True, False, False]
    second.connection_lost(None)
    second.data_received(b"H")
    third.cycle = SimpleNamespace(response_complete=True)
    opened(kind)
    assert (third.transport.closed, first.transport.closed) == (True, False)


def test_a_head_is_bounded_and_a_body_is_none() -> None:
    kind = connections.bounded(Protocol)
    connection = opened(kind)
    connection.data_received(b"N")
    for _ in range(100):
        connection.data_received(b"B" * 100_000)
    connection.data_received(b"N")
    for _ in range(64):
        connection.data_received(b"H" * 1024)
    assert not connection.transport.closed
    connection.data_received(b"H")
    assert connection.transport.closed
    assert connection.transport.sent.startswith(b"HTTP/1.1 431 ")


def test_where_the_parser_has_a_bound_of_its_own_nothing_is_counted() -> None:
    class Other:
        cycle = None
        connection_made = Protocol.connection_made

        def data_received(self, data: bytes) -> None:
            """All of it is a body."""

    connection = opened(connections.bounded(Other))
    for _ in range(10):
        connection.data_received(b"B" * 100_000)
    assert not connection.transport.closed


def test_as_many_files_as_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    monkeypatch.setattr(resource, "getrlimit", lambda what: (1024, 524_288))
    monkeypatch.setattr(resource, "setrlimit", lambda what, limits: done.append(limits))
    connections.allow_many()
    assert done == [(65_536, 524_288)]
