"""How a server ends: asked to, or because its engine does not answer any more. No answer is cut without a word."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

from tests.runner.harness import Bench, descendants, free_port, wait_until
from tests.runner.serve.served import BASE, Served, adapter, events, start


class Streaming(threading.Thread):
    """A client in the middle of a long answer."""

    def __init__(self, server: Served, tokens: int, model: str = BASE) -> None:
        super().__init__(daemon=True)
        self._server, self._tokens, self._model = server, tokens, model
        self.found: list[Any] = []
        self.start()
        wait_until(lambda: server.metric("swiftop_serve_in_flight") >= 1, what="the stream")

    def run(self) -> None:
        with self._server.stream(self._model, max_tokens=self._tokens) as response:
            self.found = events(response)


def test_it_drains(volume: Bench) -> None:
    server = start(volume, adapter("ada"), drain_seconds=3.0)
    server.wait_until_ready()
    with server.demanding(slow="0.05"):
        stream = Streaming(server, tokens=150)
        begun = time.monotonic()
        server.execution.terminate()
        server.wait_for_state("draining", seconds=5)
        ready = server.client.get("/ready")
        assert (ready.status_code, ready.headers["connection"]) == (503, "close")
        waiting = Streaming(server, tokens=2)  # taken while it drains, and answered after the stream
        wait_until(lambda: _refused(server.port), seconds=60, what="the closed port")
        assert time.monotonic() - begun >= 3
        assert stream.is_alive()
        stream.join(60)
        waiting.join(60)
    for found, tokens in ((stream.found, 150), (waiting.found, 2)):
        assert found[-1] == "[DONE]"
        assert found[-2]["choices"][0]["finish_reason"] == "length", tokens
    code, told = server.execution.end(30)
    assert (code, told["reason"]) == (0, "Drained"), told


def test_an_answer_that_takes_too_long_ends_with_an_error(volume: Bench) -> None:
    server = start(volume, drain_seconds=0.5, answer_seconds=2.0)
    server.wait_until_ready()
    with server.demanding(slow="0.2"):
        stream = Streaming(server, tokens=900)
        server.execution.terminate()
        code, told = server.execution.end(30)
        stream.join(10)
    assert stream.found[-1]["error"]["type"] == "server_error"
    assert (code, told["reason"]) == (0, "Drained"), told


def test_a_stop_while_it_loads_ends_it_at_once(volume: Bench) -> None:
    server = start(volume)
    wait_until(lambda: server.execution.progress().get("phase") == 1, what="loading")
    begun = time.monotonic()
    server.execution.terminate()
    code, told = server.execution.end(20)
    assert (code, told["outcome"]) == (75, "interrupted"), told
    assert time.monotonic() - begun < 15


def test_a_port_that_is_taken_is_told_and_no_other_one_is_used(volume: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = start(volume, port=taken.getsockname()[1])
        code, told = server.execution.end(60)
    assert (code, told["reason"]) == (3, "PortTaken"), told


def test_an_engine_that_hangs_is_told_by_readiness_and_ends_the_process(volume: Bench) -> None:
    server = start(volume, stall_seconds=4.0, drain_seconds=3.0)
    server.wait_until_ready()
    with server.demanding(slow="0.3"):  # busy is not hung
        stream = Streaming(server, tokens=30)
        while stream.is_alive():
            assert server.client.get("/ready").status_code == 200
            stream.join(0.5)
    with server.demanding(hang="yes"):
        answer = server.chat()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_failed")
        assert server.client.get("/ready").status_code == 503
        assert server.client.get("/health").status_code == 503
        assert server.chat().status_code == 503
        code, told = server.execution.end(60)
    assert (code, told["reason"]) == (9, "EngineStalled"), told
    assert told["progress"]["phase"] == 3


def test_an_idle_engine_that_dies_is_found(volume: Bench) -> None:
    server = start(volume, stall_seconds=4.0, drain_seconds=0.0)
    server.wait_until_ready()
    with server.demanding(**{"raise": "CUDA error: an illegal memory access was encountered"}):
        code, told = server.execution.end(60)
    assert (code, told["reason"]) == (13, "EngineDead"), told
    assert "illegal memory access" in told["message"]


def test_a_connection_that_still_closes_does_not_move_the_port_and_a_killed_guard_is_told(volume: Bench) -> None:
    port = free_port()
    _leave_in_time_wait(port)
    server = start(volume, port=port)
    server.wait_until_ready()
    assert server.chat().status_code == 200
    (guard,) = [pid for pid in descendants(server.execution.runner_pid) if _is_guard(pid)]
    os.kill(guard, signal.SIGKILL)
    code, told = server.execution.end(30)
    assert (code, told["outcome"]) != (0, "finished"), told


def test_a_key_that_is_missing_is_told(volume: Bench) -> None:
    code, told = start(volume, key_env="SERVE_API_KEY").execution.end(30)
    assert (code, told["reason"]) == (3, "SecretMissing"), told


def _is_guard(pid: int) -> bool:
    return b".serve.guard" in Path(f"/proc/{pid}/cmdline").read_bytes()


def _refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def _leave_in_time_wait(port: int) -> None:
    """A connection that the server closed first, as after each probe of the kubelet."""
    with socket.create_server(("127.0.0.1", port)) as server:
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()
        client.recv(1)
        client.close()
