"""The pure parts of the API access, and what a well-behaved API server never does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import Configuration

from swiftop import names
from swiftop.errors import AlreadyExists, Conflict, Forbidden, NotFound, Refused, Transient
from swiftop.shell import cluster as module
from swiftop.shell.cluster import Cluster
from swiftop.shell.rest import error_of, path_of


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "path"),
    [
        (names.POD, "", "", "/api/v1/pods"),
        (names.POD, "ns", "", "/api/v1/namespaces/ns/pods"),
        (names.PVC, "ns", "x", "/api/v1/namespaces/ns/persistentvolumeclaims/x"),
        (names.JOB, "ns", "x", "/apis/batch/v1/namespaces/ns/jobs/x"),
        (names.SFTRUN, "", "", "/apis/swiftop.dev/v1alpha1/sftruns"),
        (names.POD, "a/b", "../c", "/api/v1/namespaces/a%2Fb/pods/..%2Fc"),
    ],
)
def test_paths(kind: names.Resource, namespace: str, name: str, path: str) -> None:
    assert path_of(kind, namespace, name) == path


@pytest.mark.parametrize(
    ("status", "reason", "error"),
    [
        (400, "BadRequest", Refused),
        (401, "Unauthorized", Transient),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (410, "Expired", Transient),
        (413, "RequestEntityTooLarge", Refused),
        (422, "Invalid", Refused),
        (429, "TooManyRequests", Transient),
        (500, "InternalError", Transient),
        (503, "", Transient),
    ],
)
def test_errors_by_what_to_do_next(status: int, reason: str, error: type[Exception]) -> None:
    raw = json.dumps({"kind": "Status", "reason": reason, "message": "because"}).encode()
    mapped = error_of(status, raw, "POST /x")
    assert type(mapped) is error
    assert str(mapped) == f"POST /x: {status} because"


@pytest.mark.parametrize("raw", [b"<html>bad gateway", b"[]", b"\xff\xfe"])
def test_an_answer_that_is_no_status(raw: bytes) -> None:
    assert type(error_of(502, raw, "GET /x")) is Transient


class Server:
    """An API server that answers as it is told."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._server = TestServer(app)

    async def start(self) -> Cluster:
        await self._server.start_server()
        configuration = Configuration()
        configuration.host = str(self._server.make_url("")).rstrip("/")
        return Cluster(configuration)

    async def stop(self) -> None:
        await self._server.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.method, request.path, dict(request.query)))
        answer = self.answers.get(request.path)
        if callable(answer):
            answer = answer(dict(request.query))
        if isinstance(answer, web.Response):
            return answer
        if isinstance(answer, bytes):
            return web.Response(body=answer)
        return web.json_response(answer) if answer is not None else web.Response(status=404)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    yield server
    await server.stop()


async def test_reads_tell_how_long_they_took_and_refusals_do_not(server: Server) -> None:
    k8s = await server.start()
    told: list[float] = []
    k8s.answered = told.append
    server.answers[path_of(names.POD, "a", "there")] = {"metadata": {"name": "there"}}
    server.answers[path_of(names.POD, "a", "busy")] = lambda _: web.Response(status=429)
    assert await k8s.get(names.POD, "a", "there") == {"metadata": {"name": "there"}}
    assert await k8s.get(names.POD, "a", "gone") is None
    assert len(told) == 2
    with pytest.raises(Transient):
        await k8s.get(names.POD, "a", "busy")
    assert len(told) == 2
    await k8s.close()


async def test_one_object_of_thousands_of_levels_ends_no_list(server: Server) -> None:
    k8s = await server.start()
    deep = '{"metadata": {"name": "deep"}, "spec": ' + "[" * 9_990 + "]" * 9_990 + "}"
    text = f'{{"metadata": {{"resourceVersion": "5"}}, "items": [{deep}, {{"metadata": {{"name": "a"}}}}]}}'
    server.answers[path_of(names.SFTRUN)] = text.encode()
    assert [obj["metadata"]["name"] for obj in await k8s.list(names.SFTRUN)] == ["deep", "a"]
    await k8s.close()


async def test_a_page_of_many_bytes_is_asked_for_again_with_fewer_objects(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE_BYTES", 10_000)
    sizes = [10] * 300 + [3_000] * 30 + [20_000, 10]  # one alone is larger than a page

    def page(query: dict[str, str]) -> dict[str, Any]:
        begin = int(query.get("continue", 0))
        end = min(begin + int(query["limit"]), len(sizes))
        items = [{"metadata": {"name": str(n)}, "spec": "x" * sizes[n]} for n in range(begin, end)]
        following = {"continue": str(end)} if end < len(sizes) else {}
        return {"metadata": {"resourceVersion": "5", **following}, "items": items}

    server.answers[path_of(names.POD)] = page
    k8s = await server.start()
    assert [obj["metadata"]["name"] for obj in await k8s.list(names.POD)] == [str(n) for n in range(len(sizes))]
    await k8s.close()
    limits = [int(query["limit"]) for _, _, query in server.asked]
    assert limits[0] == 200
    assert len(limits) < 60


def event(n: int) -> dict[str, Any]:
    """As the API server gives it, with what takes the memory."""
    return {
        "metadata": {"name": f"e{n}", "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": {"x": "y" * 1000}},
        "involvedObject": {"kind": "Job", "name": "a-1", "uid": f"u{n}", "fieldPath": "x" * 1000},
        "reason": "FailedCreate",
        "message": "m" * 10_000,
        "count": 3,
        "eventTime": None,
        "lastTimestamp": "2026-01-02T00:00:00Z",
        "series": {"count": 2, "lastObservedTime": "2026-01-03T00:00:00.000000Z"},
    }


async def test_of_events_a_bounded_number_is_kept_and_of_each_what_is_read(server: Server) -> None:
    k8s, path = await server.start(), path_of(names.EVENT, "ns")
    more = {"resourceVersion": "5", "continue": "more"}
    server.answers[path] = {"metadata": more, "items": [event(n) for n in range(50)]}
    found = await k8s.warnings(names.JOB, "ns")
    assert (len(found), len(server.asked)) == (2000, 40)
    assert {query["limit"] for _, _, query in server.asked} == {"50"}
    assert found[1] == {
        "involvedObject": {"uid": "u1"},
        "reason": "FailedCreate",
        "message": "m" * 4096,
        "lastTimestamp": "2026-01-02T00:00:00Z",
        "series": {"lastObservedTime": "2026-01-03T00:00:00.000000Z"},
        "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
    }
    server.answers[path] = {"metadata": {"resourceVersion": "5"}, "items": [event(1), {"metadata": {"name": "bare"}}]}
    assert [kept["message"] for kept in await k8s.warnings(names.JOB, "ns")] == ["m" * 4096, ""]
    await k8s.close()


LOG = "/api/v1/namespaces/ns/pods/a-1-x/log"


async def test_the_newest_end_of_a_log_is_kept(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOG_KEPT", 64)
    k8s = await server.start()
    server.answers[LOG] = b"old\n" * 100_000 + b"the newest line\n"
    text = await k8s.log_tail("ns", "a-1-x", 40)
    assert (len(text), text.splitlines()[-1]) == (64, "the newest line")
    assert server.asked == [("GET", LOG, {"container": "swift", "sinceSeconds": "40"})]
    await k8s.close()


async def test_a_log_without_end_is_read_to_a_limit(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOG_READ", 1_000_000)
    monkeypatch.setattr(module, "_LOG_KEPT", 10)
    k8s = await server.start()
    server.answers[LOG] = b"x" * 50_000_000
    assert await k8s.log_tail("ns", "a-1-x", 40) == "x" * 10
    await k8s.close()


async def test_a_pod_without_a_log_has_an_empty_one(server: Server) -> None:
    k8s = await server.start()
    assert await k8s.log_tail("ns", "gone", 40) == ""
    await k8s.close()


async def test_a_kind_is_served_once_discovery_lists_it(server: Server) -> None:
    """A direct LIST answers earlier than that."""
    k8s = await server.start()
    version, page = {"groupVersion": "swiftop.dev/v1alpha1"}, "/apis/swiftop.dev/v1alpha1"
    server.answers[path_of(names.SFTRUN)] = {"metadata": {"resourceVersion": "5"}, "items": []}
    assert await k8s.list(names.SFTRUN) == []
    server.answers["/apis"] = {"groups": [{"versions": [{"groupVersion": "batch/v1"}]}]}
    server.answers[page] = {"resources": [{"name": "sftruns"}]}
    assert not await k8s.serves(names.SFTRUN)
    server.answers["/apis"]["groups"].append({"versions": [version]})
    assert await k8s.serves(names.SFTRUN)
    del server.answers[page]
    assert not await k8s.serves(names.SFTRUN)
    server.answers["/api/v1"] = {"resources": [{"name": "pods"}]}
    assert [await k8s.serves(kind) for kind in (names.POD, names.PVC)] == [True, False]
    await k8s.close()


async def test_without_the_lease_nothing_is_written_but_the_lease(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    k8s = await server.start()
    k8s.may_write = lambda: False
    meta = {"namespace": "ns", "name": "a", "uid": "u", "resourceVersion": "1"}
    run: dict[str, Any] = {"apiVersion": names.API_VERSION, "kind": "SFTRun", "metadata": meta}
    for write in (k8s.create(run), k8s.apply(run), k8s.replace(run), k8s.patch_status(run, {}, "1")):
        with pytest.raises(Transient, match="another operator"):
            await write
    await k8s.event(run, "Normal", "Running", "fine")
    await k8s.settle(5)
    assert "not posted" in caplog.text
    assert server.asked == []
    lease = {"apiVersion": names.LEASE.api_version, "kind": "Lease", "metadata": meta}
    server.answers[path_of(names.LEASE, "ns", "a")] = lease
    assert await k8s.replace(lease) == lease
    await k8s.close()


async def test_a_token_refresher_that_died_keeps_no_connection_open(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    k8s = await server.start()

    async def die() -> None:
        raise RuntimeError("the plugin is gone")

    k8s._refresher = asyncio.create_task(die())
    k8s._refresher.add_done_callback(module._tell_death)
    await asyncio.wait({k8s._refresher})
    server.answers["/api/v1/pods"] = {"metadata": {"resourceVersion": "1"}, "items": []}
    await k8s.list(names.POD)
    await k8s.close()
    pool = k8s._client.rest_client.pool_manager
    assert pool is not None
    assert pool.closed
    assert "the plugin is gone" in caplog.text
