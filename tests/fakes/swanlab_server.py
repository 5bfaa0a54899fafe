"""The part of the SwanLab API that the real client (swanlab 0.10) needs in cloud mode, with a record of what arrived.

``swanlab_server.py --port N --key-sha256 HEX``: login is refused with 401 for any other key (given as its digest, so
that the server's own pod does not show it), a project appears when first asked for, an experiment is created once and
found again under the id that the client gave it (201, then 200), metrics are kept. ``GET /_recorded`` shows every
exchange; the ones that matter carry a ``login``, ``experiment``, ``metrics`` or ``state`` entry.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from typing import Any

from http_fake import Recorder, Reply, Request, as_json, serve

USER = "alice"
PREFIX = re.compile(r"^/api")
PROJECT = re.compile(r"^/project/(?P<user>[^/]+)/(?P<name>[^/]+)$")
EXPERIMENT = re.compile(r"^/project/(?P<user>[^/]+)/(?P<project>[^/]+)/experiment$")
RUN_STATE = re.compile(r"^/project/[^/]+/[^/]+/runs/(?P<run>[^/]+)/state$")
CREATED = "2026-01-01T00:00:00.000Z"
SESSION_END = "2099-01-01T00:00:00.000Z"  # the client logs in again when less than a week is left


class SwanLab:
    """Experiments by id; everything else is answered from the request alone."""

    def __init__(self, *, key_sha256: str) -> None:
        self._key_sha256 = key_sha256
        self._experiments: dict[str, dict[str, Any]] = {}

    def answer(self, request: Request) -> Reply:
        """Route one request."""
        path = PREFIX.sub("", request.path)
        if path == "/login/api_key":
            return self._login(request)
        if match := EXPERIMENT.match(path):
            return self._experiment(request, user=match["user"], project=match["project"])
        if request.method == "GET" and (match := PROJECT.match(path)):
            return as_json(_project(match["user"], match["name"]))
        if match := RUN_STATE.match(path):
            return as_json({}, note={"state": request.json().get("state"), "run": match["run"]})
        if path == "/house/metrics":
            body = request.json()
            note = {"metrics": body.get("type"), "run": body.get("experimentId"), "values": body.get("metrics", [])}
            return as_json({}, note=note if body.get("type") == "scalar" else None)
        return as_json({})

    def _login(self, request: Request) -> Reply:
        key = request.headers.get("authorization", "")
        if hashlib.sha256(key.encode()).hexdigest() != self._key_sha256:
            return as_json({"message": "unauthorized"}, status=401, note={"login": "refused"})
        session = {"sid": "session", "expiredAt": SESSION_END, "userInfo": {"username": USER}}
        return as_json(session, note={"login": "accepted"})

    def _experiment(self, request: Request, *, user: str, project: str) -> Reply:
        body = request.json()
        run = body.get("cuid") or f"run{len(self._experiments) + 1}"
        known = run in self._experiments
        found = self._experiments.setdefault(
            run,
            {"id": len(self._experiments) + 1, "cuid": run, "slug": run, "name": body.get("name"),
             "user": {"username": user}, "createdAt": CREATED},
        )  # fmt: skip
        note = {"experiment": found["name"], "run": run, "project": project, "workspace": user,
                "labels": body.get("labels"), "group": body.get("cluster")}  # fmt: skip
        return as_json(found, status=200 if known else 201, note=note)


def _project(user: str, name: str) -> dict[str, Any]:
    return {"id": 1, "cuid": f"project-{name}", "name": name, "username": user, "path": f"/@{user}/{name}",
            "visibility": "PRIVATE", "group": {"username": user}, "_count": {"experiments": 1}}  # fmt: skip


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--key-sha256", required=True)
    args = parser.parse_args()
    serve(SwanLab(key_sha256=args.key_sha256).answer, port=args.port, recorder=Recorder())


if __name__ == "__main__":
    main()
