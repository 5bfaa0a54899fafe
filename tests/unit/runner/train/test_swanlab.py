"""SwanLab's login is asked before the training starts."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from swiftop.runner.train import swanlab


@contextmanager
def login_server(*codes: int, body: bytes = b"") -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    seen: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append((self.path, self.headers.get("authorization")))
            self.send_response(codes[min(len(seen), len(codes)) - 1])
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()


def never(_: float) -> None:
    pytest.fail("it is not asked again")


@pytest.mark.parametrize(
    ("code", "reason"), [(200, None), (401, "TrackerAuthFailed"), (403, "TrackerAuthFailed"), (404, None)]
)
def test_an_answer_decides_at_once(code: int, reason: str | None) -> None:
    with login_server(code) as (host, seen):
        judged = swanlab.check(host, "the-key", sleep=never).problem
    assert (judged.cause.reason if judged else None) == reason
    assert seen == [("/api/login/api_key", "the-key")]
    assert judged is None or "the-key" not in judged.message


def test_a_server_that_is_starting_is_asked_again() -> None:
    pauses: list[float] = []
    with login_server(503, 429, 200) as (host, seen):
        assert swanlab.check(host, "k", sleep=pauses.append) == swanlab.Answer()
    assert (len(seen), pauses) == (3, [1.0, 2.0])


def test_no_answer_is_unreachable_after_bounded_tries() -> None:
    with login_server(200) as (host, _):
        pass
    pauses: list[float] = []
    judged = swanlab.check(host, "k", sleep=pauses.append).problem
    assert judged is not None
    assert judged.cause.reason == "TrackerUnreachable"
    assert host in judged.message
    assert pauses == list(swanlab.PAUSES)


@pytest.mark.parametrize(
    ("user", "workspace"),
    [("alice", "alice"), ("a.b-c_9", "a.b-c_9"), ("a/b", None), ("", None), ("x" * 65, None), (7, None), (None, None)],
)
def test_the_login_tells_whose_key_it_is(user: object, workspace: str | None) -> None:
    body = json.dumps({"sid": "s", "userInfo": {"username": user}}).encode()
    with login_server(200, body=body) as (host, _):
        assert swanlab.check(host, "k", sleep=never) == swanlab.Answer(workspace=workspace)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"userInfo": null}', b"\xff"])
def test_a_login_that_tells_nothing_is_as_good(body: bytes) -> None:
    with login_server(200, body=body) as (host, _):
        assert swanlab.check(host, "k", sleep=never) == swanlab.Answer()


@pytest.mark.parametrize("key", ["sk-123\n456", "sk-123\r", "sk-\u200b123", "密钥", "\ufeffsk-1"])
def test_a_key_that_no_header_takes(key: str) -> None:
    judged = swanlab.check("http://127.0.0.1:9", key, sleep=never).problem
    assert judged is not None
    assert judged.cause.reason == "TrackerAuthFailed"
    assert "SWANLAB_API_KEY contains a" in judged.message
    assert "sk-1" not in judged.message


@pytest.mark.parametrize("host", ["http://host:abc", "http://[::1"])
def test_a_host_that_is_none(host: str) -> None:
    judged = swanlab.check(host, "k", sleep=never).problem
    assert judged is not None
    assert judged.cause.reason == "TrackerUnreachable"


def test_a_server_that_speaks_something_else_is_asked_again() -> None:
    pauses: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(len(swanlab.PAUSES) + 1):
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"220 mail.example ESMTP\r\n")

        threading.Thread(target=serve, daemon=True).start()
        judged = swanlab.check(f"http://127.0.0.1:{server.getsockname()[1]}", "k", sleep=pauses.append).problem
    assert judged is not None
    assert (judged.cause.reason, pauses) == ("TrackerUnreachable", list(swanlab.PAUSES))
    assert "BadStatusLine" in judged.message


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("https://api.swanlab.cn", "https://api.swanlab.cn/api/login/api_key"),
        ("", "https://api.swanlab.cn/api/login/api_key"),
        ("http://swan.example/", "http://swan.example/api/login/api_key"),
        ("swan.example/api", "https://swan.example/api/login/api_key"),
    ],
)
def test_where_the_login_is(host: str, url: str) -> None:
    assert swanlab.login_url(host) == url
