"""Numbers over HTTP."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import socket

import pytest

from swiftop.runner import server
from swiftop.runner.report import TRAINING
from swiftop.runner.train.log import Report
from tests.runner.harness import wait_until


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str | None, str]:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.getheader("content-type"), response.read().decode()


def test_progress_and_metrics() -> None:
    report = Report(updated=1, phase=1, step=4, max_steps=20, loss=1.5)
    running = server.start(0, report.to_json, TRAINING, {"/more": lambda: ("text/plain", b"more")})
    assert running is not None
    port = running.server_port
    try:
        status, kind, text = get(port, "/progress")
        assert (status, kind, json.loads(text)) == (200, "application/json", report.to_json())
        text = get(port, "/metrics")[2]
        assert "swiftop_run_step 4\n" in text
        assert "# TYPE swiftop_run_loss gauge\nswiftop_run_loss 1.5\n" in text
        assert "eval_loss" not in text
        assert get(port, "/more") == (200, "text/plain", "more")
        assert get(port, "/env")[0] == 404
        assert server.start(port, report.to_json, TRAINING, {}) is None
    finally:
        running.shutdown()
        running.server_close()


def test_requests_are_answered_on_both_families_and_a_few_at_a_time() -> None:
    running = server.start(0, Report().to_json, TRAINING, {})
    assert running is not None
    port = running.server_port
    try:
        hosts = ["127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])]
        assert [get(port, "/progress", host)[0] for host in hosts] == [200] * len(hosts)
        with contextlib.ExitStack() as stack:
            idle = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(server.MAX_REQUESTS)
            ]
            assert len(idle) == server.MAX_REQUESTS
            with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
                get(port, "/progress")
        wait_until(lambda: _answers(port), what="an answer after the idle ones have gone")
    finally:
        running.shutdown()
        running.server_close()


def _answers(port: int) -> bool:
    try:
        return get(port, "/progress")[0] == 200
    except OSError:
        return False


def test_without_ipv6_the_other_family_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(server, "_DualStack", refuse)
    running = server.start(0, Report().to_json, TRAINING, {})
    assert running is not None
    try:
        assert get(running.server_port, "/progress")[0] == 200
    finally:
        running.shutdown()
        running.server_close()
