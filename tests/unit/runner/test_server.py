"""Numbers over HTTP."""

from __future__ import annotations

import http.client
import json

from swiftop.runner import server
from swiftop.runner.progress import Progress


def get(port: int, path: str) -> tuple[int, str | None, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.getheader("content-type"), response.read().decode()


def test_progress_and_metrics() -> None:
    progress = Progress(updated=1, phase=1, step=4, max_steps=20, loss=1.5)
    running = server.start(0, progress.to_json)
    assert running is not None
    port = running.server_port
    try:
        status, kind, text = get(port, "/progress")
        assert (status, kind, json.loads(text)) == (200, "application/json", progress.to_json())
        text = get(port, "/metrics")[2]
        assert "swiftop_run_step 4\n" in text
        assert "# TYPE swiftop_run_loss gauge\nswiftop_run_loss 1.5\n" in text
        assert "eval_loss" not in text
        assert get(port, "/env")[0] == 404
        assert server.start(port, progress.to_json) is None
    finally:
        running.shutdown()
        running.server_close()


def test_every_number_but_the_housekeeping_is_a_metric() -> None:
    assert set(server.METRICS) == set(Progress().to_json()) - {"version", "updated"}
