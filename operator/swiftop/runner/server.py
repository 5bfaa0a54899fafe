"""``GET /progress`` for the operator and ``GET /metrics`` for Prometheus, on one port. Numbers only."""

from __future__ import annotations

import json
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


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the own name, which waits for a DNS that a pod may not have."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "runner", self.server_address[1]


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

    try:
        server = _Server(("0.0.0.0", port), Handler)  # noqa: S104 - the operator and Prometheus come from other pods
    except OSError:
        return None
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 1}, name="http", daemon=True).start()
    return server
