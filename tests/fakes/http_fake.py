"""What the fake servers share: one pure function answers, this module does the sockets and keeps the record.

Standard library only, because the servers run from a ConfigMap inside whatever image the cluster already has.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

RECORD = "/_recorded"
RECORD_LIMIT = 20_000


@dataclass(frozen=True)
class Request:
    """One request, decoded as far as every fake needs it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Body as JSON; an empty or binary one is an empty object."""
        try:
            return json.loads(self.body)
        except ValueError:
            return {}


@dataclass(frozen=True)
class Reply:
    """One answer. ``note`` goes into the record: what the request meant, as the fake understood it."""

    body: bytes = b"{}"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    note: dict[str, Any] | None = None
    lost: bool = False  # the connection is closed instead


def as_json(value: Any, *, status: int = 200, note: dict[str, Any] | None = None) -> Reply:
    """Answer with JSON."""
    body = json.dumps(value, ensure_ascii=False).encode()
    return Reply(body=body, status=status, headers={"Content-Type": "application/json"}, note=note)


class Recorder:
    """What arrived, in order. Header values are left out, so that a record never holds a credential."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[dict[str, Any]] = []

    def add(self, request: Request, reply: Reply) -> None:
        """Keep one exchange."""
        entry = {"method": request.method, "path": request.path, "query": request.query, "status": reply.status}
        with self._lock:
            if len(self._entries) < RECORD_LIMIT:
                self._entries.append({**entry, **(reply.note or {})})

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._entries.clear()

    def entries(self) -> list[dict[str, Any]]:
        """All exchanges so far."""
        with self._lock:
            return list(self._entries)


def _decoded(body: bytes, encoding: str) -> bytes:
    """Body as the client meant it; SwanLab's compresses what is large."""
    if encoding == "gzip":
        return gzip.decompress(body)
    return zlib.decompress(body) if encoding == "deflate" else body


def never(_method: str, _path: str) -> int | None:
    """No connection is cut."""
    return None


def serve(
    answer: Callable[[Request], Reply],
    *,
    port: int,
    recorder: Recorder,
    cut: Callable[[str, str], int | None] = never,
) -> None:
    """Answer on all addresses of this pod until the process ends; ``GET /_recorded`` shows the record.

    ``cut`` tells of a request after how many bytes of its body the connection is closed, None for most.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent: the record is the log."""

        def handle_any(self) -> None:
            """Decode, answer, record."""
            enough = cut(self.command, urlsplit(self.path).path)
            if enough is not None:
                self.rfile.read(min(enough, self._length()))
                self._hang_up()
                return
            request = self._request()
            if request.path == RECORD:
                reply = as_json(recorder.entries())
            else:
                reply = answer(request)
                if reply.note is not None or not request.path.startswith("/_"):
                    recorder.add(request, reply)
            if reply.lost:
                self._hang_up()
            else:
                self._send(reply)

        def _hang_up(self) -> None:
            self.close_connection = True
            with contextlib.suppress(OSError):  # the client was faster
                self.connection.shutdown(socket.SHUT_RDWR)

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.body)

        def _request(self) -> Request:
            parts = urlsplit(self.path)
            return Request(
                method=self.command,
                path=parts.path,
                query={k: v[0] for k, v in parse_qs(parts.query).items()},
                headers={k.lower(): v for k, v in self.headers.items()},
                body=_decoded(self._body(), self.headers.get("content-encoding", "")),
            )

        def _length(self) -> int:
            return int(self.headers.get("content-length") or 0)

        def _body(self) -> bytes:
            if "chunked" not in (self.headers.get("transfer-encoding") or ""):
                return self.rfile.read(self._length())
            whole = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                whole += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return whole

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

    ThreadingHTTPServer(("0.0.0.0", port), Handler).serve_forever()  # noqa: S104 - a pod is reached by its address
