"""``GET /progress`` for the operator and ``GET /metrics`` for Prometheus, on one port."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Optional

from .protocol import METRICS_PATH, PROGRESS_PATH
from .report import Member


def exposition(members: tuple[Member, ...], report: Mapping[str, Any]) -> str:
    """Prometheus text format; what is not known yet is left out."""
    lines = []
    for member in members:
        if member.metric and report.get(member.name) is not None:
            name = member.metric
            lines += [f"# HELP {name} {member.help}", f"# TYPE {name} gauge", f"{name} {report[member.name]}"]
    return "\n".join(lines) + "\n"


MAX_REQUESTS = 8  # at a time; more are turned away, for the memory is the work's


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *args: Any) -> None:
        self._slots = threading.BoundedSemaphore(MAX_REQUESTS)
        super().__init__(*args)

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the own name, which waits for a DNS that a pod may not have."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "runner", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, when there are not too many."""
        if self._slots.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except Exception:  # no thread to be had
                self._slots.release()
                raise
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In that thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away: the log belongs to the work."""


class _DualStack(_Server):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        """Take IPv4 as well."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def start(
    port: int,
    report: Callable[[], dict[str, Any]],
    members: tuple[Member, ...],
    routes: Mapping[str, Callable[[], tuple[str, bytes]]],
) -> Optional[_Server]:
    """Serve on all addresses in a thread of its own. None when the port is taken: the work goes on without it."""
    answers: dict[str, Callable[[], tuple[str, bytes]]] = {
        PROGRESS_PATH: lambda: ("application/json", json.dumps(report(), allow_nan=False).encode()),
        METRICS_PATH: lambda: ("text/plain; version=0.0.4", exposition(members, report()).encode()),
        **routes,
    }

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0])
            if answer is None:
                self.send_error(404)
                return
            kind, body = answer()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the log belongs to the work."""

    server = _bind(port, Handler)
    if server is not None:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 1}, name="http", daemon=True).start()
    return server


def _bind(port: int, handler: type[BaseHTTPRequestHandler]) -> Optional[_Server]:
    """On all addresses, for the operator and Prometheus come from other pods: of both families where there are two."""
    with contextlib.suppress(OSError):
        try:
            return _DualStack(("::", port), handler)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return _Server(("0.0.0.0", port), handler)  # noqa: S104 - see above
    return None
