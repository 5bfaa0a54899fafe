"""kopf against a server of our own: what it lists and watches reaches one function, past its handlers."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any, cast

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kopf._cogs.clients import api
from kopf._core.reactor import processing

from swiftop import names
from swiftop.shell import watch
from swiftop.shell.cluster import Connection

Object = dict[str, Any]

LISTED = ("Namespace", "namespaces"), ("Pod", "pods")
CRDS = ("CustomResourceDefinition", "customresourcedefinitions")
VERSION = {"groupVersion": "apiextensions.k8s.io/v1", "version": "v1"}


def pod(name: str, version: int) -> Object:
    meta = {"namespace": "ns", "name": name, "uid": name, "resourceVersion": str(version), "managedFields": [{}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"x": 1}, "status": {}}


def discovered(*resources: tuple[str, str]) -> Object:
    verbs = ["list", "watch", "patch"]
    found = [{"name": n, "kind": k, "singularName": "", "namespaced": True, "verbs": verbs} for k, n in resources]
    return {"resources": found}


class Server:
    """One pod in the LIST, and what happens to it and another."""

    def __init__(self) -> None:
        app = web.Application()
        self.selectors: list[str] = []
        for path, answer in (
            ("/api", {"versions": ["v1"]}),
            (
                "/apis",
                {"groups": [{"name": "apiextensions.k8s.io", "versions": [VERSION], "preferredVersion": VERSION}]},
            ),
            ("/api/v1", discovered(*LISTED)),
            ("/apis/apiextensions.k8s.io/v1", discovered(CRDS)),
        ):
            app.router.add_get(path, self._answering(answer))
        app.router.add_get("/api/v1/pods", self._pods)
        self.server = TestServer(app)

    @staticmethod
    def _answering(answer: Object) -> Any:
        async def handler(_: web.Request) -> web.Response:
            return web.json_response(answer)

        return handler

    async def _pods(self, request: web.Request) -> web.StreamResponse:
        self.selectors.append(request.query.get("labelSelector", ""))
        if not request.query.get("watch"):
            return web.json_response({"metadata": {"resourceVersion": "5"}, "items": [pod("a", 4)]})
        response = web.StreamResponse()
        await response.prepare(request)
        for type_, obj in (("MODIFIED", pod("a", 6)), ("ADDED", pod("odd", 7)), ("DELETED", pod("a", 8))):
            await response.write(json.dumps({"type": type_, "object": obj}).encode() + b"\n")
        await asyncio.Event().wait()
        return response


def nested(name: str, version: int) -> str:
    """A pod as text, with more levels than Python's decoder reads."""
    text = json.dumps(pod(name, version))
    return text.replace('"x": 1', '"x": ' + "[" * 9_990 + "]" * 9_990)


class DeepServer(Server):
    """An object of many levels among others, in the LIST and in the watch."""

    async def _pods(self, request: web.Request) -> web.StreamResponse:
        if not request.query.get("watch"):
            items = ", ".join((nested("deep", 3), json.dumps(pod("a", 4))))
            text = f'{{"metadata": {{"resourceVersion": "5"}}, "items": [{items}]}}'
            return web.Response(text=text, content_type="application/json")
        response = web.StreamResponse()
        await response.prepare(request)
        for obj in (nested("deep", 6), json.dumps(pod("a", 7))):
            await response.write(f'{{"type": "MODIFIED", "object": {obj}}}\n'.encode())
        await asyncio.Event().wait()
        return response


# In a loop of its own: 25 s after its end kopf kills the process, by a timer of the loop.
own_loop = pytest.mark.asyncio(loop_scope="function")


@own_loop
async def test_an_object_too_deep_to_decode_hides_none_of_the_others() -> None:
    server, seen, everything = DeepServer(), [], asyncio.Event()
    await server.server.start_server()

    def note(_resource: names.Resource, _type: str | None, obj: Object) -> None:
        seen.append((obj["metadata"]["name"], obj["metadata"]["resourceVersion"]))
        if len(seen) == 4:
            everything.set()

    async def connection() -> Connection:
        return Connection(str(server.server.make_url("")).rstrip("/"), None, False, None, None, None)

    older, originals = asyncio.all_tasks(), (api.get, vars(api)["json"])
    with watch.passed_on([names.POD], note):
        tasks = await kopf.spawn_tasks(
            registry=watch.registry(resources=[names.POD], connection=connection),
            settings=watch.settings(selectors={}),
            clusterwide=True,
            identity=cast("Any", "test"),
        )
    with watch.of_any_size([names.POD]):
        running = asyncio.create_task(kopf.run_tasks(tasks, ignored=older))
        await asyncio.wait({running, asyncio.create_task(everything.wait())}, timeout=30, return_when="FIRST_COMPLETED")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await server.server.close()
    assert sorted(seen) == [("a", "4"), ("a", "7"), ("deep", "3"), ("deep", "6")]
    assert (api.get, vars(api)["json"]) == originals


@own_loop
async def test_events_are_passed_on_and_an_error_about_one_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    server, seen, everything = Server(), [], asyncio.Event()
    await server.server.start_server()
    original = processing.process_resource_event

    def note(resource: names.Resource, type_: str | None, obj: Object) -> None:
        seen.append((resource, type_, obj["metadata"]["name"], obj["metadata"]["resourceVersion"], "spec" in obj))
        if len(seen) == 4:
            everything.set()
        if obj["metadata"]["name"] == "odd":
            raise ZeroDivisionError("what is this")

    async def connection() -> Connection:
        return Connection(str(server.server.make_url("")).rstrip("/"), None, False, None, None, None)

    older = asyncio.all_tasks()
    with watch.passed_on([names.POD], note):
        tasks = await kopf.spawn_tasks(
            registry=watch.registry(resources=[names.POD], connection=connection),
            settings=watch.settings(selectors={names.POD: "a=b"}),
            clusterwide=True,
            identity=cast("Any", "test"),
        )
    assert processing.process_resource_event is original
    running = asyncio.create_task(kopf.run_tasks(tasks, ignored=older))
    await asyncio.wait_for(everything.wait(), 30)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await server.server.close()
    of_a = [(type_, version) for _, type_, name, version, _ in seen if name == "a"]
    assert of_a == [(None, "4"), ("MODIFIED", "6"), ("DELETED", "8")]
    assert {(resource, has_spec) for resource, *_, has_spec in seen} == {(names.POD, True)}
    assert set(server.selectors) == {"a=b"}
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.getMessage() for record in errors] == ["an event of pods was not noted"]
