"""The small API client and what hangs on it: a server that breaks off or is not complete yet is no surprise."""

import http.client
import io
import queue
import socketserver
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tools.cluster import addons, embedded
from tools.cluster.api import Api, ApiError, Object
from tools.cluster.layout import DNS_SERVICE_IP, GPU_RESOURCE, Options

HEADER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEADER + b"Transfer-Encoding: chunked\r\n\r\n"
EVENT = b'{"type": "ADDED"}\n'
WHOLE = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)


class Server(socketserver.ThreadingTCPServer):
    """Sends the same bytes to everybody and hangs up."""

    daemon_threads = True
    answer = b""


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        self.wfile.write(self.server.answer)  # type: ignore[attr-defined]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    def plain(host: str, port: int, *, timeout: float | None, context: object) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(host, port, timeout=timeout)

    monkeypatch.setattr("tools.cluster.api.http.client.HTTPSConnection", plain)
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def api_of(server: Server) -> Api:
    return Api("127.0.0.1", server.server_address[1], ssl.create_default_context())


@pytest.mark.parametrize("rest", [b"ff\r\n{", b"1\r\n{\r\n0\r\n\r\n"], ids=["within a chunk", "within a line"])
def test_a_watch_that_is_cut_off_is_a_lost_connection(server: Server, rest: bytes) -> None:
    server.answer = CHUNKED + WHOLE + rest
    events = api_of(server).watch("/x")
    assert next(events) == {"type": "ADDED"}
    with pytest.raises(ConnectionError, match="the watch broke off"):
        next(events)


def test_a_watch_that_the_server_ends_ends(server: Server) -> None:
    server.answer = CHUNKED + WHOLE + b"0\r\n\r\n"
    assert list(api_of(server).watch("/x")) == [{"type": "ADDED"}]


def test_an_answer_that_is_cut_off_is_a_lost_connection(server: Server) -> None:
    server.answer = HEADER + b"Content-Length: 99\r\n\r\n{"
    with pytest.raises(ConnectionError, match="the answer broke off"):
        api_of(server).get("/x")


def test_whoever_watches_watches_again(monkeypatch: pytest.MonkeyPatch) -> None:
    endings: list[BaseException] = [ConnectionError("broke off"), ApiError(410, "gone"), SystemExit()]

    class Ending:
        def watch(self, path: str) -> Iterator[Object]:
            yield {}
            raise endings.pop(0)

    monkeypatch.setattr(addons, "RETRY_SECONDS", 0.0)
    changed: queue.SimpleQueue[None] = queue.SimpleQueue()
    api: Any = Ending()
    with pytest.raises(SystemExit):
        addons._watch(api, "/x", changed)
    assert changed.qsize() == 3


class Fake:
    """An API server that answers by path: with an object, or with the status that it is made of."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.patched: dict[str, Any] = {}

    def ready(self) -> bool:
        return True

    def get(self, path: str) -> Any:
        answer = self.answers.get(path, 404)
        if isinstance(answer, int):
            raise ApiError(answer, "no")
        return answer

    def patch(self, path: str, body: Object) -> None:
        self.patched[path] = body


SERVICE_ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default"
ALONE = Options(control_plane_only=True)


@pytest.mark.parametrize("status", [404, 429, 500, 503])
def test_a_server_that_is_not_complete_is_waited_for(status: int) -> None:
    api: Any = Fake({SERVICE_ACCOUNT: status})
    assert embedded.unready(api, ALONE) == ["the default service account"]


def test_a_refusal_that_time_does_not_heal_is_shown() -> None:
    api: Any = Fake({SERVICE_ACCOUNT: 403})
    with pytest.raises(ApiError, match="403"):
        embedded.unready(api, ALONE)


def node(**gpus: str) -> Object:
    amount = {GPU_RESOURCE: gpus["gpus"]} if gpus else {}
    ready = [{"type": "Ready", "status": "True"}]
    return {"metadata": {"name": "n"}, "status": {"capacity": amount, "allocatable": amount, "conditions": ready}}


@pytest.mark.parametrize(
    ("have", "wanted", "patched"), [(None, 2, True), ("0", 2, True), ("2", 2, False), (None, 0, False), ("2", 0, True)]
)
def test_gpus_are_what_was_asked_for(have: str | None, wanted: int, patched: bool) -> None:
    api: Any = Fake({"/api/v1/nodes": {"items": [node(gpus=have) if have else node()]}})
    addons.keep_gpus(api, wanted)
    amount = {GPU_RESOURCE: str(wanted)}
    expected = {"/api/v1/nodes/n/status": {"status": {"capacity": amount, "allocatable": amount}}}
    assert api.patched == (expected if patched else {})


@pytest.mark.parametrize(
    ("have", "wanted", "ready"), [(None, 0, True), ("2", 0, False), ("2", 2, True), (None, 2, False)]
)
def test_a_node_is_ready_with_its_gpus(have: str | None, wanted: int, ready: bool) -> None:
    api: Any = Fake({"/api/v1/nodes/node1": node(gpus=have) if have else node()})
    assert ("the node" in embedded.unready(api, Options(gpus=wanted))) == (not ready)


def test_dns_is_published_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    created: list[str] = []

    class Late:
        def create(self, path: str, body: Object, *, exists_ok: bool) -> None:
            created.append(path)
            if len(created) == 1:
                raise ApiError(503, "not yet")
            assert body.get("spec", {}).get("clusterIP", DNS_SERVICE_IP) == DNS_SERVICE_IP

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: io.BytesIO())
    api: Any = Late()
    addons._publish_dns(api)
    services = "/api/v1/namespaces/kube-system/services"
    assert created == [services, services, "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices"]
