"""The backend's answer on its way to the client: whole, or event by event."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Protocol

from . import answers, requests
from .board import Call
from .errors import Problem, problem_in
from .http import EVENTS, Exchange, Reply, json_reply

_NO_BUFFER = ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))


class Answer(Protocol):
    """Takes the backend's answer, as a ``Taker``, and is told its end."""

    def begin(self, status: int) -> None:
        """As in ``Taker``."""

    async def take(self, piece: bytes) -> None:
        """As in ``Taker``."""

    async def end(self) -> None:
        """All has come; raises ``Problem`` when it is no answer."""


class Whole:
    """Keeps it all."""

    def __init__(self) -> None:
        self.status = 0
        self._pieces: list[bytes] = []

    def begin(self, status: int) -> None:
        """As in ``Taker``."""
        self.status = status

    async def take(self, piece: bytes) -> None:
        """As in ``Taker``."""
        self._pieces.append(piece)

    @property
    def body(self) -> bytes:
        """What has come."""
        return b"".join(self._pieces)

    @property
    def problem(self) -> Problem:
        """What an answer that is none says."""
        try:
            return problem_in(self.status or 500, json.loads(self.body))
        except ValueError:
            return problem_in(self.status or 500, None)


class Replied(Whole):
    """Sends it at the end."""

    def __init__(self, exchange: Exchange, call: Call, asked: Mapping[str, Any]) -> None:
        super().__init__()
        self._exchange = exchange
        self._call = call
        self._asked = asked

    async def end(self) -> None:
        """Send it; raises ``Problem``."""
        if self.status != 200:
            raise self.problem
        found = json.loads(self.body)
        self._call.beat()
        _count(self._call, found.get("usage"))
        done = answers.repair(found, name=self._call.name, tools=requests.wants_tools(self._asked))
        self._call.sending = True
        await self._exchange.reply(json_reply(done))


class Streamed(Whole):
    """Sends each event. The head is sent with the first: what fails before is an error with a status."""

    def __init__(self, exchange: Exchange, call: Call, asked: Mapping[str, Any]) -> None:
        super().__init__()
        self._exchange = exchange
        self._call = call
        self._events = answers.Events()
        self._stream = answers.Stream(
            name=call.name, tools=requests.wants_tools(asked), usage=requests.wants_usage(asked)
        )

    async def take(self, piece: bytes) -> None:
        """As in ``Taker``."""
        if self.status != 200:
            await super().take(piece)
            return
        call = self._call
        call.beat()
        said = [shown for event in self._events.feed(piece) for shown in self._stream.feed(event)]
        if call.error is not None:  # what looks like the end is none
            raise call.error
        if said:
            await self._send(said)

    async def _send(self, said: list[dict[str, Any]]) -> None:
        if not self._exchange.begun:
            await self._exchange.begin(200, EVENTS, _NO_BUFFER)
        self._call.sending = True
        await self._exchange.write(b"".join(map(answers.event, said)))
        self._call.sending = False
        self._call.beat()
        _count(self._call, self._stream.usage)

    async def end(self) -> None:
        """The last mark; raises ``Problem``."""
        if self.status != 200:
            raise self.problem
        if rest := self._stream.end():
            await self._send(rest)
        if not self._exchange.begun:
            raise Problem(500, "the engine has made no answer")
        await self._exchange.write(answers.DONE, more=False)


class Passed(Whole):
    """An answer that is right as it is."""

    def __init__(self, exchange: Exchange, call: Call) -> None:
        super().__init__()
        self._exchange = exchange
        self._call = call

    async def end(self) -> None:
        """Send it; raises ``Problem``."""
        if self.status != 200:
            raise self.problem
        self._call.beat()
        _count(self._call, json.loads(self.body).get("usage"))
        self._call.sending = True
        await self._exchange.reply(Reply(200, _as_asked(self._call, self.body)))


class PassedStream(Whole):
    """Events that are right as they are; the count of tokens is asked for always, and kept from who did not ask."""

    def __init__(self, exchange: Exchange, call: Call, asked: Mapping[str, Any]) -> None:
        super().__init__()
        self._exchange = exchange
        self._call = call
        self._wants_usage = requests.wants_usage(asked)
        self._usage: Any = None
        self._rest = b""
        self._done = False

    async def take(self, piece: bytes) -> None:
        """As in ``Taker``."""
        if self.status != 200:
            await super().take(piece)
            return
        *events, self._rest = (self._rest + piece).split(answers.BETWEEN)
        self._call.beat()
        said = [_as_asked(self._call, event) + answers.BETWEEN for event in events if self._is_said(event)]
        if said:
            await self._send(b"".join(said))

    def _is_said(self, event: bytes) -> bool:
        """Whether the client hears of it. Most events are not read: there is one for each token."""
        if event == answers.LAST:
            self._done = True
            return False
        if event.startswith(_ERROR):
            raise problem_in(500, answers.content_of(event))
        self._call.tokens += 1  # about; the usage tells it exactly
        if _USAGE not in event:
            return True
        found = answers.content_of(event)
        self._usage = found.get("usage") or self._usage
        return bool(found.get("choices")) or self._wants_usage

    async def _send(self, said: bytes) -> None:
        call = self._call
        if not self._exchange.begun:
            await self._exchange.begin(200, EVENTS, _NO_BUFFER)
        call.sending = True
        await self._exchange.write(said)
        call.sending = False
        call.beat()

    async def end(self) -> None:
        """The last mark; raises ``Problem``."""
        if self.status != 200:
            raise self.problem
        if not self._done:
            raise Problem(500, "the engine has not finished its answer")
        if self._usage:
            _count(self._call, self._usage)
        if not self._exchange.begun:
            await self._exchange.begin(200, EVENTS, _NO_BUFFER)
        await self._exchange.write(answers.DONE, more=False)


_USAGE, _ERROR = b'"usage"', (b'data: {"error"', b'data: {"object":"error"', b'data: {"object": "error"')


def _as_asked(call: Call, content: bytes) -> bytes:
    """An answer, or one event of it, with the name that was asked for, where the backend knows it by another one.

    Within a text each quote has a backslash before it, so that what is found is the member itself.
    """
    if call.inside == call.name:
        return content
    there = rb'("model"\s*:\s*)' + re.escape(json.dumps(call.inside).encode())
    return re.sub(there, lambda found: found[1] + json.dumps(call.name).encode(), content, count=1)


def _count(call: Call, usage: Any) -> None:
    """Where the engine does not tell its tokens one by one, the answer does."""
    found = usage if isinstance(usage, Mapping) else {}
    call.prompt_tokens = int(found.get("prompt_tokens") or 0)
    if not call.counted:
        call.tokens = int(found.get("completion_tokens") or 0)
