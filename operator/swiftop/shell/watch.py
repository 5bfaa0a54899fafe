"""Watches the cluster through kopf: every event goes to one function, which does nothing but note it.

kopf is used for discovery, LIST + WATCH with reconnects, and server-side selectors, and for none of its handlers: those
keep annotations, finalizers and retries, and even the plainest of them costs ten times of what noting an event does.
The registry is our own, which also means that the login is ours: a registry of one's own has no login handlers.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import kopf
from kopf._cogs.clients import api
from kopf._core.reactor import processing

from swiftop import names
from swiftop.shell import slim
from swiftop.shell.cluster import Connection
from swiftop.shell.decode import listed, loads
from swiftop.shell.rest import path_of

log = logging.getLogger(__name__)

Object = dict[str, Any]


_NAMESPACE = re.compile(r"/namespaces/[^/]+(?=/)")

Seen = Callable[[names.Resource, str | None, Object], None]


def registry(
    *, resources: Iterable[names.Resource], connection: Callable[[], Awaitable[Connection]]
) -> kopf.OperatorRegistry:
    """What is to be watched, and how to log in."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        now = await connection()
        return kopf.ConnectionInfo(
            server=now.server,
            ca_path=now.ca_path,
            insecure=now.insecure,
            certificate_path=now.certificate_path,
            private_key_path=now.private_key_path,
            token=now.token,
        )

    for resource in resources:
        kopf.on.event(resource.group, resource.version, resource.plural, registry=handlers)(_never_called)
    return handlers


async def _never_called(**_: Any) -> None:
    """That there is a handler is why kopf watches; `passed_on` takes its events."""


@contextmanager
def passed_on(resources: Iterable[names.Resource], seen: Seen) -> Iterator[None]:
    """While kopf's tasks are made, put ``seen(resource, type, object)`` where their handlers would be called.

    The type is None for the first LIST. There is no public way to do this. On the way to a handler kopf wraps an object
    in views, loggers and causes, and remembers things of it as long as it exists: a quarter of the processor time of a
    burst of runs.
    """
    by_name = {(resource.group, resource.version, resource.plural): resource for resource in resources}

    async def note(*, resource: Any, raw_event: Any, **_: Any) -> None:
        obj = raw_event["object"]
        try:
            seen(by_name[resource.group, resource.version, resource.plural], raw_event["type"], obj)
        except Exception:  # of one object, whoever wrote it: the others go on, and the resync comes back to it
            log.exception("an event of %s was not noted", resource.plural)
        # kopf keeps the last event of every object for idle_timeout, which at a start is the whole cluster at once.
        # Nothing of it is read after this; what `seen` kept is a copy.
        for part in obj.keys() & {"spec", "status"}:
            del obj[part]
        obj["metadata"].pop("managedFields", None)

    original = processing.process_resource_event
    replacement: Any = note
    processing.process_resource_event = replacement
    try:
        yield
    finally:
        processing.process_resource_event = original


@contextmanager
def of_any_size(resources: Iterable[names.Resource]) -> Iterator[None]:
    """While kopf runs, let it read LISTs and watches that are too deep for Python's decoder, and keep little of them.

    There is no public way to do this either. Without it kopf ends with the operator, again and again while the object
    is there; and what is large as JSON is many times as large in memory, for each object that is listed or in line.
    """
    by_path = {path_of(resource).strip("/"): resource for resource in resources}
    by_kind: dict[Any, names.Resource] = {(resource.api_version, resource.kind): resource for resource in resources}

    async def get(url: str, **options: Any) -> Any:
        async with await api.request("get", url, **options) as response:
            raw = await response.read()
        path = _NAMESPACE.sub("", url.partition("?")[0].strip("/"))
        resource = next((by_path[known] for known in by_path if path.endswith(known)), None)
        return loads(raw) if resource is None else listed(raw, partial(slim.active, resource))

    def event(line: str) -> Any:
        found = loads(line)
        obj = found.get("object") or {}
        resource = by_kind.get((obj.get("apiVersion"), obj.get("kind")))
        return (
            found
            if resource is None or found["type"] == "BOOKMARK"
            else {**found, "object": slim.active(resource, obj)}
        )

    theirs: Any = api
    originals = theirs.get, theirs.json
    theirs.get, theirs.json = get, SimpleNamespace(loads=event)
    try:
        yield
    finally:
        theirs.get, theirs.json = originals


def settings(*, selectors: dict[names.Resource, str]) -> kopf.OperatorSettings:
    """kopf with everything off that we do ourselves or never want. ``selectors`` filter on the server's side."""
    cfg = kopf.OperatorSettings()
    cfg.peering.standalone = True  # else an object named "default" may freeze the operator
    cfg.scanning.disabled = True  # no watching of CRDs and namespaces: less RBAC
    cfg.posting.enabled = False  # our Events are posted on state changes only
    cfg.networking.request_timeout = 30
    cfg.networking.connect_timeout = 10
    cfg.watching.chunk_size = 25  # objects per page of the first LIST: bounds its memory, each may have 1.5 MB
    cfg.queueing.idle_timeout = 0.05  # a worker per object holds its last event for so long
    cfg.process.ultimate_exiting_timeout = 25
    for resource, selector in selectors.items():
        cfg.watching.label_selectors[resource.group, resource.version, resource.plural] = selector
    return cfg
