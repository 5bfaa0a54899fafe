"""The only module that speaks to the Kubernetes API (apart from kopf's watches): plain dicts in and out, errors mapped.

It uses the official asyncio client's connection, login and TLS, but neither its models nor its generated methods: one
generic request by ``names.Resource`` is less code, and the cheapest way measured. Every call has a timeout, and nothing
is retried here: the work queue is the one place that retries.
"""

# The client library is annotated in parts only.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import asyncio
import logging
import math
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict, Unpack
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config as login
from kubernetes.aio.client import ApiClient, Configuration

from swiftop import names
from swiftop.errors import Conflict, Invalid, NotFound, Problem, Refused, SwiftopError, Transient
from swiftop.shell import told
from swiftop.shell.decode import listed, loads
from swiftop.shell.proxy import proxy_of
from swiftop.shell.rest import error_of, path_of

log = logging.getLogger(__name__)

Object = dict[str, Any]
Objects = list[Object]  # inside a class with a method named list, the type needs another name

_SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_USER_AGENT = f"swiftop/{version('swiftop')}"
_PAGE = 200  # objects per LIST page at most
_PAGE_BYTES = 16 * 1024 * 1024  # of a page: bounds the memory of a resync, whatever people hang on their pods
_EVENTS_AT_ONCE = 4  # Events give way to what runs wait for
# Of a pod's log: what is kept, and what is read at most. A training that prints megabytes must not fill the operator.
_LOG_KEPT = 256 * 1024
_LOG_READ = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach the API server, for the watching library, which brings its own HTTP client."""

    server: str
    ca_path: str | None
    insecure: bool
    certificate_path: str | None
    private_key_path: str | None
    token: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """Answer to a LIST: the objects and the version of the collection that they were read at."""

    items: Objects
    version: int


class _Options(TypedDict, total=False):
    """What a request may have besides its method and path."""

    query: Mapping[str, str]
    body: Object
    content: str  # type of the body, JSON by default


class _TooLarge(Exception):
    """An answer has more bytes than are read of it."""


class Cluster:
    """One API server. Implements what the engine, the Lease and the resync need of it."""

    def __init__(
        self, configuration: Configuration, *, timeout: float = 30.0, wrote: Callable[[str, Object], None] | None = None
    ) -> None:
        """``wrote`` is told each verb and answer of a write, so that a store can know them before the watch does."""
        configuration.connection_pool_maxsize = 64
        # Else aiohttp looks for a .netrc in a thread at every single request.
        configuration.client_session_kwargs = {"trust_env": False}
        self._configuration = configuration
        self._client = ApiClient(configuration)
        self._timeout = timeout
        self._wrote = wrote or (lambda _verb, _obj: None)
        self.may_write: Callable[[], bool] = lambda: True  # asked before each write but the Lease's own
        self.answered: Callable[[float], None] = lambda _seconds: None  # told how long a read of one object took
        self._refresher: asyncio.Task[None] | None = None
        self._posting: set[asyncio.Task[None]] = set()
        self._few_at_once = asyncio.Semaphore(_EVENTS_AT_ONCE)
        self.namespace = "default"  # of the current kubeconfig context

    @classmethod
    async def connect(
        cls,
        *,
        kubeconfig: str | None = None,
        context: str | None = None,
        wrote: Callable[[str, Object], None] | None = None,
    ) -> Cluster:
        """Log in with the pod's service account, or outside of a cluster with this or the current kubeconfig."""
        configuration = Configuration()
        if kubeconfig is None and context is None and in_cluster():
            login.load_incluster_config(client_configuration=configuration)
            return cls(configuration, wrote=wrote)
        try:
            loader = await login.load_kube_config(
                kubeconfig, context=context, client_configuration=configuration, persist_config=False
            )
        except (login.ConfigException, OSError) as error:
            problem = Problem("kubeconfig", str(error), "set KUBECONFIG, or run inside a cluster")
            raise Invalid((problem,)) from error
        configuration.proxy = configuration.proxy or proxy_of(configuration.host)
        self = cls(configuration, wrote=wrote)
        self.namespace = loader.current_context.get("context", {}).get("namespace") or self.namespace
        # Tokens of exec plugins (cloud providers) live for minutes; without such a plugin this ends at once.
        self._refresher = asyncio.create_task(login.refresh_token(loader, configuration), name="token-refresh")
        self._refresher.add_done_callback(_tell_death)
        return self

    async def close(self) -> None:
        """Close the connections; aiohttp complains about a session that is left open."""
        if self._refresher is not None:
            self._refresher.cancel()
            # It may have died of its own: that is logged where it happens and must not keep the session open.
            await asyncio.gather(self._refresher, return_exceptions=True)
        await self._client.close()

    async def connection(self) -> Connection:
        """Login data of this moment."""
        cfg = self._configuration
        bearer = (await cfg.auth_settings()).get("BearerToken")
        return Connection(
            server=cfg.host,
            ca_path=cfg.ssl_ca_cert,
            insecure=not cfg.verify_ssl,
            certificate_path=cfg.cert_file,
            private_key_path=cfg.key_file,
            token=re.sub("^bearer ", "", bearer["value"] or "", flags=re.IGNORECASE) if bearer else None,
        )

    # Reading

    async def get(self, kind: names.Resource, namespace: str, name: str) -> Object | None:
        """One object, or None when there is none."""
        # A write may wait for somebody's webhook, and that of one namespace: a read is the API server's own work.
        begun, found = time.monotonic(), None
        with suppress(NotFound):
            found = await self._json("GET", path_of(kind, namespace, name))
        self.answered(time.monotonic() - begun)  # not of a refusal: those of a server that is too busy come at once
        return found

    async def list(self, kind: names.Resource, namespace: str = "", labels: Mapping[str, str] | None = None) -> Objects:
        """Objects with these labels, in one namespace or (empty) in all."""
        selector = ",".join(f"{key}={value}" for key, value in (labels or {}).items())
        return (await self.listing(kind, namespace, selector=selector)).items

    async def listing(
        self, kind: names.Resource, namespace: str = "", *, selector: str = "", fields: str = ""
    ) -> Listing:
        """A whole LIST."""
        items: Objects = []
        version = 0
        async for page in self.pages(kind, namespace, selector=selector, fields=fields):
            items += page.items
            version = page.version
        return Listing(items, version)

    async def pages(
        self,
        kind: names.Resource,
        namespace: str = "",
        *,
        selector: str = "",
        fields: str = "",
        limit: int = _PAGE,
        cut: Callable[[Object], Object] = lambda obj: obj,
    ) -> AsyncIterator[Listing]:
        """LIST in pages of one version. Items get the ``apiVersion`` and ``kind`` that the API leaves out of lists.

        A page of too many bytes is asked for again with fewer objects; a single object is bounded by etcd. ``cut``
        leaves of each object what is needed of it, before the next one is read.
        """
        query, most = {}, limit

        def named(item: Object) -> Object:
            return cut({"apiVersion": kind.api_version, "kind": kind.kind, **item})

        if selector:
            query["labelSelector"] = selector
        if fields:
            query["fieldSelector"] = fields
        while True:
            query["limit"] = str(limit)
            try:
                raw = await self._page(path_of(kind, namespace), query, _PAGE_BYTES if limit > 1 else math.inf)
            except _TooLarge:
                limit = max(limit // 4, 1)
                continue
            limit, page = min(limit * 2, most), listed(raw, named)
            del raw
            yield Listing(page["items"], int(page["metadata"]["resourceVersion"]))
            following = page["metadata"].get("continue")
            if not following:
                return
            query["continue"] = following

    async def _page(self, path: str, query: Mapping[str, str], most: float) -> bytes:
        parts, read = [], 0
        async with self._response("GET", path, query=query) as response:
            async for part in response.content.iter_any():
                parts.append(part)
                read += len(part)
                if read > most:
                    raise _TooLarge
        return b"".join(parts)

    async def warnings(self, kind: names.Resource, namespace: str) -> Objects:
        """Kubernetes Events of type Warning about all objects of a kind. They cannot be selected by label."""
        fields = f"involvedObject.kind={kind.kind},type=Warning"
        found: Objects = []
        async for page in self.pages(names.EVENT, namespace, fields=fields, limit=told.PAGE, cut=told.essence_of):
            found += page.items
            if len(found) >= told.MOST:
                break
        return found

    async def log_tail(self, namespace: str, pod: str, seconds: int) -> str:
        """End of what the main container wrote in the last ``seconds``; empty when that is nothing or it is gone.

        The server's own limit of bytes counts from the oldest line and cuts the newest off, so the cut is made here.
        """
        path = path_of(names.POD, namespace, pod) + "/log"
        query = {"container": names.CONTAINER, "sinceSeconds": str(seconds)}
        kept, read = bytearray(), 0
        try:
            async with self._response("GET", path, query=query) as response:
                async for part in response.content.iter_any():
                    kept += part
                    if len(kept) > 2 * _LOG_KEPT:  # not for each part: they may be small and many
                        del kept[:-_LOG_KEPT]
                    read += len(part)
                    if read > _LOG_READ:
                        break
        except (NotFound, Refused):  # 400 while the container is still being created
            return ""
        return kept[-_LOG_KEPT:].decode("utf-8", "replace")

    async def serves(self, kind: names.Resource) -> bool:
        """Whether discovery lists the kind. A new CRD answers requests before that, which a watching library needs."""
        try:
            if kind.group:
                groups = (await self._json("GET", "/apis"))["groups"]
                versions = {v["groupVersion"] for group in groups for v in group["versions"]}
                if kind.api_version not in versions:
                    return False
            root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
            resources = (await self._json("GET", root))["resources"]
        except NotFound:
            return False
        return any(resource["name"] == kind.plural for resource in resources)

    # Writing

    async def create(self, obj: Object) -> Object:
        """POST. Under a deterministic name, ``AlreadyExists`` means that an earlier try got through."""
        return await self._write("POST", path_of(names.RESOURCES[obj["kind"]], obj["metadata"]["namespace"]), obj)

    async def replace(self, obj: Object) -> Object:
        """PUT with the resource version that it was read at: ``Conflict`` when somebody was faster."""
        meta = obj["metadata"]
        return await self._write("PUT", path_of(names.RESOURCES[obj["kind"]], meta["namespace"], meta["name"]), obj)

    async def delete(self, kind: names.Resource, namespace: str, name: str, uid: str) -> None:
        """Delete the object of this UID after all that it owns: its name is free only when its pods are gone.

        What owns nothing goes at once, and its name is free for the next.
        """
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background" if kind in names.CHILDLESS else "Foreground",
            "preconditions": {"uid": uid},
        }
        self._check_right(body)
        try:
            answer = await self._json("DELETE", path_of(kind, namespace, name), body=body)
        except (NotFound, Conflict):  # gone, or another's by now
            return
        if answer.get("kind") == kind.kind:
            self._wrote("DELETE", answer)

    async def apply(self, obj: Object) -> Object:
        """Server-side apply of the fields that are ours."""
        meta = obj["metadata"]
        path = path_of(names.RESOURCES[obj["kind"]], meta["namespace"], meta["name"])
        return await self._write("PATCH", path, obj, content="application/apply-patch+yaml", query={"force": "true"})

    async def patch_status(self, obj: Object, status: Object, resource_version: str) -> Object:
        """Merge patch of /status, refused as ``Conflict`` when the object is newer than what it was computed from."""
        meta = obj["metadata"]
        path = path_of(names.RESOURCES[obj["kind"]], meta["namespace"], meta["name"]) + "/status"
        body = {"metadata": {"resourceVersion": resource_version}, "status": status}
        return await self._write("PATCH", path, body, content="application/merge-patch+json")

    async def edit(self, kind: names.Resource, namespace: str, name: str, patch: Object) -> Object:
        """Merge patch on behalf of a person at the command line: the operator itself never edits a spec."""
        return await self._json(
            "PATCH",
            path_of(kind, namespace, name),
            query={"fieldManager": "swiftop-cli"},
            body=patch,
            content="application/merge-patch+json",
        )

    async def make(self, kind: names.Resource, namespace: str, obj: Object) -> Object:
        """POST on behalf of a person at the command line."""
        return await self._json("POST", path_of(kind, namespace), query={"fieldManager": "swiftop-cli"}, body=obj)

    async def event(self, obj: Object, type_: str, reason: str, message: str) -> None:
        """Post a Kubernetes Event in the background. It is a courtesy: nothing waits for it or fails with it."""
        meta, now = obj["metadata"], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{meta['name']}.", "namespace": meta["namespace"]},
            "involvedObject": {
                "apiVersion": obj["apiVersion"],
                "kind": obj["kind"],
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
            "type": type_,
            "reason": reason,
            "message": message[:1024],  # longer ones are refused
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": names.FIELD_MANAGER},
            "reportingComponent": names.FIELD_MANAGER,
        }
        task = asyncio.create_task(self._post(body), name="event")
        self._posting.add(task)
        task.add_done_callback(self._posting.discard)

    async def settle(self, seconds: float) -> None:
        """Wait for the Events that are on their way, but not for long."""
        if self._posting:
            await asyncio.wait(self._posting, timeout=seconds)

    async def _post(self, event: Object) -> None:
        meta = event["metadata"]
        try:
            async with self._few_at_once:
                self._check_right(event)
                await self._json("POST", path_of(names.EVENT, meta["namespace"]), body=event)
        except SwiftopError as error:
            log.warning("event %s of %s not posted: %s", event["reason"], event["involvedObject"]["name"], error)

    # Transport

    async def _write(self, method: str, path: str, obj: Object, /, **options: Unpack[_Options]) -> Object:
        self._check_right(obj)
        options["body"] = obj
        options["query"] = {**options.get("query", {}), "fieldManager": names.FIELD_MANAGER}
        answer = await self._json(method, path, **options)
        self._wrote(method, answer)
        return answer

    def _check_right(self, body: Object) -> None:
        if body.get("kind") != names.LEASE.kind and not self.may_write():
            raise Transient("not written: another operator may lead by now")

    async def _json(self, method: str, path: str, **options: Unpack[_Options]) -> Object:
        async with self._response(method, path, **options) as response:
            raw = await response.read()
        answer: Object = loads(raw)
        return answer

    @asynccontextmanager
    async def _response(
        self, method: str, path: str, **options: Unpack[_Options]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, unread, once it is known to be no error."""
        content, query = options.get("content", "application/json"), options.get("query")
        headers = {"Accept": "application/json", "Content-Type": content, "User-Agent": _USER_AGENT}
        url = self._configuration.host + path + (f"?{urlencode(query)}" if query else "")
        try:
            await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
            timeout = aiohttp.ClientTimeout(total=self._timeout)
            answer = await self._client.call_api(method, url, headers, options.get("body"), _request_timeout=timeout)
            response: aiohttp.ClientResponse = answer.response
            async with response:
                if response.status >= 400:
                    raise error_of(response.status, await response.read(), f"{method} {path}")
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Transient(f"{method} {path}: {str(error) or type(error).__name__}") from error


def _tell_death(refresher: asyncio.Task[None]) -> None:
    """Without new tokens the API server answers 401 at some point; this line tells why."""
    if not refresher.cancelled() and (error := refresher.exception()) is not None:
        log.error("the token is renewed no longer: %s", error)


def in_cluster() -> bool:
    """Whether this is a pod's process that nobody gave a kubeconfig."""
    return _SERVICE_ACCOUNT_TOKEN.exists() and not os.environ.get("KUBECONFIG")
