"""Both model hubs at one address: what the real clients publish to and download from.

``hub_server.py --port N --token-sha256 HEX [--upload-port M]``; set ``MODELSCOPE_ENDPOINT`` and ``HF_ENDPOINT`` to its
address. The account is alice, a member of the organization team. What is there and what went on is told under:

- ``GET /_state``: all repositories; ``GET /_recorded``: all requests, with digests of the credentials that they carried
- ``POST /_faults``: what goes wrong next, see ``Fault``; a new list replaces the old one
- ``POST /_settings``: ``{"uploads": "http://host:port"}`` lets links for large files name another host; ``{"role":
  "read"}`` makes the Hugging Face token one that only reads; ``{"frozen": true}`` lets commits do nothing;
  ``{"tellsVisibility": false}`` lets ModelScope's older API be silent about it; ``{"digests": "large"}`` lets its
  listings tell digests of large files alone, see ``hub_modelscope.ModelScope``
- ``POST /_seed``: ``{"hub", "kind", "id", "visibility", "files": {path: text}}`` puts a repository there, or one more
  commit into it
- ``GET /_pending``: how many requests a delay holds, and which faults have not come yet; ``POST /_release`` lets the
  requests go on
- ``POST /_delete``: ``{"hub", "kind", "id"}`` removes a repository
- ``POST /_reset``: forget everything, repositories and settings
"""

from __future__ import annotations

import argparse
import hashlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from http_fake import Recorder, Reply, Request, as_json, serve
from hub_huggingface import HuggingFace
from hub_modelscope import ModelScope
from hub_store import Store, sha256

ACCOUNT, ORGANIZATIONS = "alice", ("team",)
HUBS = ("modelscope", "huggingface")
SESSION = re.compile(r"m_session_id=([^;]+)")


@dataclass
class Fault:
    """What goes wrong with requests whose "METHOD path" has the pattern."""

    match: str
    times: int = 1  # -1: always
    skip: int = 0  # so many go well before
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None  # the connection is closed after so many bytes of the body
    drop: bool = False  # the connection is closed, and nothing is done
    drop_after: bool = False  # it is done, and the answer is lost
    delay: float = 0.0  # seconds before it is done, or until ``/_release``

    def hits(self, line: str) -> bool:
        """Whether it is this request's turn."""
        if self.times == 0 or not re.search(self.match, line):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class Hub:
    """Both hubs, their faults, and what tests want to know."""

    def __init__(self, *, token_sha256: str, own: str) -> None:
        self._token_sha256 = token_sha256
        self._own = own
        self._lock = threading.RLock()
        self.recorder = Recorder()
        self._reset()

    def _reset(self) -> None:
        self._modelscope = ModelScope(ACCOUNT, ORGANIZATIONS)
        self._huggingface = HuggingFace(ACCOUNT, ORGANIZATIONS)
        self._faults: list[Fault] = []
        self._uploads = self._own
        self._waiting = 0
        self._released = threading.Event()
        self.recorder.clear()

    def cut(self, method: str, path: str) -> int | None:
        """After how many bytes this request's connection is closed."""
        with self._lock:
            line = f"{method} {path}"
            fault = next((f for f in self._faults if f.cut is not None and f.hits(line)), None)
            return None if fault is None else fault.cut

    def answer(self, request: Request) -> Reply:
        """One request, with the fault whose turn it is."""
        if request.path.startswith("/_") and not request.path.startswith(("/_blob/", "/_verify")):
            with self._lock:
                return self._control(request)
        with self._lock:
            line = f"{request.method} {request.path}"
            fault = next((f for f in self._faults if f.cut is None and f.hits(line)), Fault(""))
            self._waiting += bool(fault.delay)
        if fault.delay:
            self._released.wait(fault.delay)
        reply = self._faulty(request, fault)
        with self._lock:
            self._waiting -= bool(fault.delay)
        return replace(reply, note={**(reply.note or {}), **_credentials(request)})

    def _faulty(self, request: Request, fault: Fault) -> Reply:
        if fault.drop:
            return Reply(lost=True)
        if fault.status:
            body = {"Code": fault.status, "Message": "injected", "Success": False, "error": "injected"}
            reply = as_json(body, status=fault.status)
            return replace(reply, headers={**reply.headers, **fault.headers})
        with self._lock:
            return replace(self._routed(request), lost=fault.drop_after)

    def _routed(self, request: Request) -> Reply:
        if request.path.startswith("/_blob/"):
            return self._blob(request)
        if request.path == "/_verify":
            return as_json({})
        known = self._is_known(request)
        if request.path.startswith(("/api/v1/", "/openapi/")):
            return self._modelscope.answer(request, known=known, uploads=self._uploads)
        return self._huggingface.answer(request, known=known, uploads=self._uploads, own=self._own)

    def _is_known(self, request: Request) -> bool:
        token = str(request.json().get("AccessToken", "")) if request.path == "/api/v1/login" else _token(request)
        return hashlib.sha256(token.encode()).hexdigest() == self._token_sha256

    def _blob(self, request: Request) -> Reply:
        _, _, hub, digest = request.path.split("/")
        if sha256(request.body) != digest:
            return as_json({"Code": 400, "Message": "other content than announced"}, status=400)
        self._store(hub).blobs[digest] = request.body
        return as_json({"Code": 200, "Success": True}, note={"uploaded": digest})

    def _store(self, hub: str) -> Store:
        return self._modelscope.store if hub == "modelscope" else self._huggingface.store

    def _control(self, request: Request) -> Reply:
        body = request.json()
        if request.path == "/_faults":
            self._faults = [Fault(**fault) for fault in body]
        elif request.path == "/_settings":
            self._uploads = body.get("uploads", self._uploads)
            self._huggingface.role = body.get("role", self._huggingface.role)
            self._modelscope.digests = body.get("digests", self._modelscope.digests)
            self._modelscope.tells_visibility = body.get("tellsVisibility", self._modelscope.tells_visibility)
            for hub in HUBS:
                self._store(hub).frozen = body.get("frozen", False)
        elif request.path == "/_seed":
            self._seed(body)
        elif request.path == "/_delete":
            self._store(body["hub"]).repositories.pop((body["kind"], body["id"]), None)
        elif request.path == "/_release":
            self._released.set()
        elif request.path == "/_reset":
            self._reset()
        elif request.path == "/_pending":
            return as_json({"requests": self._waiting, "faults": [f.match for f in self._faults if f.times > 0]})
        shown = {hub: {name: r.shown() for (_, name), r in self._store(hub).repositories.items()} for hub in HUBS}
        return as_json(shown)

    def _seed(self, body: Mapping[str, Any]) -> None:
        store = self._store(body["hub"])
        found = store.find(body["kind"], body["id"])
        repository = found or store.create(body["kind"], body["id"], body.get("visibility", "private"))
        files = {path: (text.encode(), False) for path, text in body.get("files", {}).items()}
        if files:
            repository.commit(repository.main, "seeded", files)


def _token(request: Request) -> str:
    cookie = SESSION.search(request.headers.get("cookie", ""))
    return request.headers.get("authorization", "").removeprefix("Bearer ") or (cookie[1] if cookie else "")


def _credentials(request: Request) -> dict[str, Any]:
    """Whom the request was for, and what it carried: never the values."""
    carried = {name: request.headers[name] for name in ("authorization", "cookie") if request.headers.get(name)}
    digests = {name: hashlib.sha256(value.encode()).hexdigest()[:12] for name, value in carried.items()}
    return {"host": request.headers.get("host", ""), **digests}


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--upload-port", type=int, help="a second address, for links that name another host")
    parser.add_argument("--token-sha256", default="", help="digest of the one token that is valid")
    parser.add_argument("--url", help="how clients reach it; by default at this machine's loopback address")
    args = parser.parse_args()
    hub = Hub(token_sha256=args.token_sha256, own=args.url or f"http://127.0.0.1:{args.port}")
    options: dict[str, Any] = {"recorder": hub.recorder, "cut": hub.cut}
    if args.upload_port:
        second = threading.Thread(target=serve, args=(hub.answer,), kwargs={"port": args.upload_port, **options})
        second.daemon = True
        second.start()
    serve(hub.answer, port=args.port, **options)


if __name__ == "__main__":
    main()
