"""Watches the cluster through kopf: every event goes to one function, which does nothing but note it.

kopf is used for discovery, LIST + WATCH with reconnects, and server-side selectors, and for none of its handler
machinery that writes to users' objects: ``on.event`` handlers keep no annotations, no finalizers and no retries.
The registry is our own, which also means that the login is ours: a registry of one's own has no login handlers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import kopf
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

from swiftop import names
from swiftop.shell.cluster import Connection

Object = dict[str, Any]


def registry(
    *,
    resources: Iterable[names.Resource],
    seen: Callable[[names.Resource, str | None, Object], None],
    connection: Callable[[], Awaitable[Connection]],
) -> kopf.OperatorRegistry:
    """Handlers that pass each event to ``seen(resource, type, object)``; the type is None for the first LIST."""
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
        _pass_on(handlers, resource, seen)
    return handlers


def _pass_on(
    handlers: kopf.OperatorRegistry,
    resource: names.Resource,
    seen: Callable[[names.Resource, str | None, Object], None],
) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, registry=handlers, id=f"watch-{resource.plural}")
    async def event_seen(event: Any, **_: Any) -> None:
        seen(resource, event["type"], event["object"])
        # kopf keeps the last event of every object for idle_timeout, which at a start is the whole cluster at once.
        # Nothing of it is read after this, the only handler; what `seen` kept is a copy.
        for part in event["object"].keys() & {"spec", "status"}:
            del event["object"][part]
        event["object"]["metadata"].pop("managedFields", None)


class _NoDiffBase(kopf.DiffBaseStorage):
    """kopf compares each event with the last handled state, for handlers of a kind that we have none of.

    Taking the essence of an object is a deep copy of it: a fifth of all that an event costs.
    """

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        pass


class _NoProgress(kopf.StatusProgressStorage):
    """Likewise: ``on.event`` handlers have no progress to be cleaned of."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


class Forgetful(ResourceMemories):
    """kopf remembers things of each object as long as that exists, for handlers of a kind that we have none of.

    Beside tens of thousands of runs that are over, with their Jobs and pods, it adds up.
    """

    async def recall(self, raw_body: kopf.RawBody, **options: Any) -> ResourceMemory:
        """A new memory, that nobody keeps."""
        return await super().recall(raw_body, **{**options, "ephemeral": True})


def settings(*, selectors: dict[names.Resource, str]) -> kopf.OperatorSettings:
    """kopf with everything off that we do ourselves or never want. ``selectors`` filter on the server's side."""
    cfg = kopf.OperatorSettings()
    cfg.peering.standalone = True  # else an object named "default" may freeze the operator
    cfg.scanning.disabled = True  # no watching of CRDs and namespaces: less RBAC
    cfg.posting.enabled = False  # our Events are posted on state changes only
    cfg.networking.request_timeout = 30
    cfg.networking.connect_timeout = 10
    cfg.watching.chunk_size = 200  # objects per page of the first LIST: bounds its memory
    cfg.persistence.diffbase_storage = _NoDiffBase()
    cfg.persistence.progress_storage = _NoProgress()
    cfg.queueing.idle_timeout = 0.05  # a worker per object holds its last event for so long
    cfg.process.ultimate_exiting_timeout = 25
    for resource, selector in selectors.items():
        cfg.watching.label_selectors[resource.group, resource.version, resource.plural] = selector
    return cfg
