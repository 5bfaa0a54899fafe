"""An HTTP proxy in front of the API server that understands what passes: notes it, holds a request, breaks a watch.

The gate beside it shuts a whole connection as a network does; this one is for faults of single requests.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import tempfile
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml
from aiohttp import web

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_PATH = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)(?:/namespaces/[^/]+)?/(?P<kind>[^/]+)(?:/(?P<name>[^/]+))?(?P<sub>/.+)?"
)


def right_of(request: web.Request) -> tuple[str, str, str] | None:
    """What RBAC is asked for: (group, resource with its subresource, verb); None for discovery."""
    found = _PATH.fullmatch(request.path)
    if found is None:
        return None
    reading = "watch" if "watch" in request.query else "get" if found["name"] else "list"
    verb = _VERBS.get(request.method, reading)
    return found["group"] or "", found["kind"] + (found["sub"] or ""), verb


class Proxy:
    """Speaks plain HTTP on a loopback port; a bearer token is passed on, else it asks as the kubeconfig's user."""

    def __init__(self, kubeconfig: Path, *, token: str = "") -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server = cluster["server"]
        self._ssl = ssl.create_default_context(cadata=b64decode(cluster["certificate-authority-data"]).decode())
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._directory = tempfile.TemporaryDirectory()
        self.kubeconfig = Path(self._directory.name) / "kubeconfig"
        if not token:
            pair = Path(self._directory.name) / "pair.pem"
            pair.write_bytes(b64decode(user["client-certificate-data"]) + b"\n" + b64decode(user["client-key-data"]))
            self._ssl.load_cert_chain(pair)
        self._config = config
        self.rights: set[tuple[str, str, str]] = set()  # that were used
        self.writes: list[str] = []  # what was to be written, in order, the Lease aside
        self.missing: set[str] = set()  # paths that are answered by 404
        self.hold: Callable[[web.Request], bool] = lambda _: False  # requests that get no answer and go nowhere
        self.held = asyncio.Event()
        self._streams: list[tuple[str, web.StreamResponse]] = []

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._ssl, limit=0), trust_env=False)
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self._config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{port}"}
        self._config["users"][0]["user"] = {}
        self.kubeconfig.write_text(yaml.safe_dump(self._config))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()
        self._directory.cleanup()

    async def break_watches(self, resource: str, status: dict[str, Any]) -> None:
        """Send an error within the running watches of a resource, as the API server does."""
        line = json.dumps({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", **status}}).encode()
        for watched, stream in self._streams:
            if watched == resource:
                await stream.write(line + b"\n")

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        if right := right_of(request):
            self.rights.add(right)
            if request.method != "GET" and right[1] != "leases":
                self.writes.append(f"{right[2]} {request.path}")
        if request.path in self.missing:
            return web.Response(status=404)
        if self.hold(request):
            self.held.set()
            await asyncio.Event().wait()
        headers = {k: v for k, v in request.headers.items() if k in ("Accept", "Content-Type", "User-Agent")}
        headers["Accept-Encoding"] = "identity"
        async with self._session.request(
            request.method,
            f"{self._server}{request.path_qs}",
            data=await request.read() or None,
            headers={**headers, **self._headers},
            timeout=aiohttp.ClientTimeout(total=None),
        ) as far:
            if right and (far.status, right[2]) == (201, "patch"):  # an apply that made the object
                self.rights.add((*right[:2], "create"))
            near = web.StreamResponse(status=far.status, headers={"Content-Type": far.content_type})
            with suppress(ConnectionResetError):  # the asker has gone
                await near.prepare(request)
                if right and right[2] == "watch":
                    self._streams.append((right[1], near))
                async for part in far.content.iter_any():
                    await near.write(part)
            return near
