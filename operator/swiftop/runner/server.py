"""``GET /progress`` for the operator and ``GET /metrics`` for Prometheus, on one port."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Optional

METRICS = {
    "phase": ("swiftop_run_phase", "0 preparing, 1 training, 2 evaluating, 3 saving, 4 finished"),
    "step": ("swiftop_run_step", "Optimizer steps done"),
    "maxSteps": ("swiftop_run_max_steps", "Optimizer steps in all"),
    "epoch": ("swiftop_run_epoch", "Epochs done"),
    "loss": ("swiftop_run_loss", "Last logged training loss"),
    "evalLoss": ("swiftop_run_eval_loss", "Last evaluation loss"),
    "learningRate": ("swiftop_run_learning_rate", "Last logged learning rate"),
    "gradNorm": ("swiftop_run_grad_norm", "Last logged gradient norm"),
    "secondsPerStep": ("swiftop_run_step_seconds", "Mean seconds per step of this execution"),
    "etaSeconds": ("swiftop_run_eta_seconds", "Expected seconds until the last step"),
    "memoryGiB": ("swiftop_run_gpu_memory_gib", "Highest GPU memory reserved, GiB"),
    "checkpointStep": ("swiftop_run_checkpoint_step", "Step of the newest complete checkpoint"),
    "checkpointTime": ("swiftop_run_checkpoint_timestamp_seconds", "Time of the newest complete checkpoint"),
    "bestStep": ("swiftop_run_best_step", "Step of the best checkpoint"),
    "bestMetric": ("swiftop_run_best_metric", "Metric of the best checkpoint"),
}


def exposition(progress: dict[str, Any]) -> str:
    """Prometheus text format; what is not known yet is left out."""
    lines = []
    for member, (name, text) in METRICS.items():
        if progress.get(member) is not None:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name} {progress[member]}"]
    return "\n".join(lines) + "\n"


MAX_REQUESTS = 8  # at a time; more are turned away, for the memory is the training's


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
        """Say nothing of clients that go away: the log belongs to the training."""


class _DualStack(_Server):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        """Take IPv4 as well."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def start(port: int, snapshot: Callable[[], dict[str, Any]]) -> Optional[_Server]:
    """Serve on all addresses in a thread of its own. None when the port is taken: a run goes on without it."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/progress":
                self._answer("application/json", json.dumps(snapshot(), allow_nan=False))
            elif path == "/metrics":
                self._answer("text/plain; version=0.0.4", exposition(snapshot()))
            else:
                self.send_error(404)

        def _answer(self, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the log belongs to the training."""

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
