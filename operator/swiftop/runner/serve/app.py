"""The app that the guard serves: routes, key and names, and requests on their way to the backend and back."""

from __future__ import annotations

import asyncio
import hmac
import sys
import time
from collections.abc import Mapping
from typing import Any, Callable, Optional

from . import answers, errors, metrics, requests
from .backend import Backend
from .board import FAILED, LEFT, OK, REFUSED, Board, Call
from .errors import Problem
from .http import ClientLeft, Exchange, Receive, Reply, Send, error_reply, json_reply, room_of_pod
from .readiness import Readiness

ASKED = (requests.CHAT, requests.COMPLETIONS, requests.EMBEDDINGS)


class App:
    """An ASGI app."""

    def __init__(
        self, backend: Backend, board: Board, readiness: Readiness, *, key: str = "", embeds: bool = False
    ) -> None:
        self._backend = backend
        self._board = board
        self._readiness = readiness
        self._key = key.encode()
        self._embeds = embeds
        self._room = room_of_pod()
        self._created = int(time.time())
        self._pages: Mapping[str, Callable[[], Reply]] = {
            "/ready": self._ready,
            "/health": self._health,
            "/metrics": self._metrics,
            "/v1/models": self._models,
        }

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send, closing=lambda: self._readiness.draining, room=self._room)
        try:
            reply = await self._answer(exchange)
        except Problem as problem:
            reply = error_reply(problem)
        except ClientLeft:
            return
        finally:
            exchange.forget()
        if reply is not None:
            await exchange.reply(reply)

    async def _answer(self, exchange: Exchange) -> Optional[Reply]:
        """The reply, None when it was sent already."""
        path = exchange.path
        if path.startswith("/v1/") and self._key and not hmac.compare_digest(exchange.bearer, self._key):
            raise Problem(401, "the API key is missing or wrong", code="invalid_api_key")
        if path in ASKED:
            if exchange.method != "POST":
                raise Problem(405, f"{path} is asked with POST")
            await self._generate(exchange)
            return None
        page = self._pages.get(path)
        if page is None and path.startswith("/v1/models/"):
            return json_reply(self._model(self._known(path[len("/v1/models/") :])))
        if page is None:
            raise Problem(404, f"there is no {path}", code="unknown_url")
        if exchange.method not in ("GET", "HEAD"):
            raise Problem(405, f"{path} is asked with GET")
        return page()

    def _ready(self) -> Reply:
        return json_reply(self._readiness.told(), 200 if self._readiness.ready else 503)

    def _health(self) -> Reply:
        """Of the process, ready or not: liveness fails on what only a restart heals."""
        return json_reply({"healthy": self._readiness.healthy}, 200 if self._readiness.healthy else 503)

    def _metrics(self) -> Reply:
        text = metrics.exposition(self._board, ready=self._readiness.ready)
        return Reply(200, text.encode(), metrics.CONTENT_TYPE.encode())

    def _models(self) -> Reply:
        return json_reply({"object": "list", "data": [self._model(name) for name in self._readiness.names]})

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self._created, "owned_by": "swiftop"}

    def _known(self, name: str) -> str:
        if name not in self._readiness.names:
            raise Problem(404, f"the model {name!r} does not exist", code="model_not_found", param="model")
        return name

    async def _generate(self, exchange: Exchange) -> None:
        asked = requests.parse(await exchange.body())
        name = self._known(requests.model_of(asked))
        if exchange.path == requests.EMBEDDINGS and not self._embeds:
            raise Problem(400, f"{name} is no embedding model", param="model")
        why = self._readiness.why_not_served(name)
        if why is not None:
            raise Problem(503, why, code="not_ready", param="model")
        call = self._board.begin(name, inside=self._readiness.inside(name))  # with which it is answered to its end
        outcome = FAILED
        try:
            sending = self._sending(exchange.path, {**asked, "model": call.inside})
            outcome = await self._until_left(exchange, call, self._relay(exchange, call, asked, sending))
        except Problem as problem:
            outcome = FAILED if problem.status >= 500 else REFUSED
            raise
        finally:
            self._board.end(call, outcome)

    def _sending(self, path: str, asked: Mapping[str, Any]) -> bytes:
        """Whatever is sent here, it is the client's mistake and not ours."""
        try:
            return self._backend.request(path, asked)
        except Problem:
            raise
        except RecursionError as error:
            raise Problem(400, "the body is nested too deeply") from error
        except Exception as error:
            raise Problem(400, f"the request is not as OpenAI has it: {type(error).__name__}: {error}") from error

    async def _until_left(self, exchange: Exchange, call: Call, answering: Any) -> str:
        """Relay the answer; when the client leaves, generation stops."""
        work, left = asyncio.ensure_future(answering), asyncio.ensure_future(exchange.left())
        stopped = asyncio.ensure_future(self._readiness.broken.wait())
        try:
            await asyncio.wait({work, left, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if work.done() or exchange.ended:  # to the server, the end of an answer is a client that leaves
                return str(await work)
            return LEFT if left.done() else await self._give_up(exchange)
        finally:
            call.gone.set()
            for task in (work, left, stopped):
                task.cancel()
            await asyncio.gather(work, left, stopped, return_exceptions=True)

    async def _give_up(self, exchange: Exchange) -> str:
        problem = Problem(503, self._readiness.failure, code="engine_failed")
        if not exchange.begun:
            raise problem
        await exchange.write(answers.event(problem.body), more=False)
        return FAILED

    async def _relay(self, exchange: Exchange, call: Call, asked: Mapping[str, Any], sending: bytes) -> str:
        streams = requests.wants_stream(asked) and exchange.path != requests.EMBEDDINGS
        taker = self._backend.answer(exchange, call, asked, streams=streams)
        try:
            await self._backend.ask(call, exchange.path, sending, taker)
            if call.error is not None:
                raise call.error
            await taker.end()
        except Exception as error:
            problem = self._judged(call.error or error)
            if not exchange.begun:
                raise problem from error
            await exchange.write(answers.event(problem.body), more=False)
            return FAILED
        return OK

    def _judged(self, error: BaseException) -> Problem:
        if errors.is_dead(error):
            self._readiness.engine_died(str(error))
        problem = errors.problem_of(error)
        if problem.status >= 500:
            sys.stderr.write(f"swiftop: a request failed: {problem.message}\n")
        return problem
