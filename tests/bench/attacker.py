"""Who attacks the operator in `tests.bench.operator_under_attack`, and what several attacks have in common."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from swiftop import names
from swiftop.shell.rest import path_of
from tests.apiserver.runs import run_of
from tests.bench.attacked import LOUD
from tests.bench.operator_burst import Client, Object

MERGE = "application/merge-patch+json"

_RATE = 100.0  # edits per second at most
_AT_ONCE = 8

Request = tuple[str, str, str]  # method, path, body


@dataclass
class Attacker:
    """Who attacks."""

    admin: Client
    tenant: Client
    counts: Any  # of requests: accepted, refused

    async def make(self, kind: names.Resource, objects: list[Object]) -> None:
        """All of them."""
        await self.tenant.make_all(kind, objects, LOUD)

    async def send_for_ever(self, requests: Iterator[Request], *, rate: float = _RATE, at_once: int = _AT_ONCE) -> None:
        """One request after the other, whatever the answers are."""
        begun, sent = time.monotonic(), itertools.count()

        async def worker() -> None:
            for method, path, body in requests:
                await asyncio.sleep(max(begun + next(sent) / rate - time.monotonic(), 0))
                content = MERGE if method == "PATCH" else "application/json"
                with suppress(OSError, TimeoutError):
                    status, _ = await self.tenant.ask(method, path, body or None, content=content)
                    with self.counts.get_lock():
                        self.counts[status >= 300] += 1

        await asyncio.gather(*(worker() for _ in range(at_once)))


Step = Callable[[Attacker], Awaitable[None]]


@dataclass(frozen=True)
class Attack:
    """One way to attack."""

    name: str
    told: str
    prepare: Step
    go: Step
    fault: str = ""  # of the API server as the operator sees it
    without_right: str = ""  # resource that the operator may not use


async def nothing(_: Attacker) -> None:
    """The figures without an attack."""
    await asyncio.Event().wait()


async def no_objects(_: Attacker) -> None:
    """None are needed."""


def runs(count: int, **spec: Any) -> Step:
    """So many runs."""

    async def made(attacker: Attacker) -> None:
        await attacker.make(names.SFTRUN, [run_of(f"run-{n}", LOUD, **spec) for n in range(count)])

    return made


def patch(name: str, body: Object, kind: names.Resource = names.SFTRUN) -> Request:
    """Change one object."""
    return "PATCH", path_of(kind, LOUD, name), json.dumps(body)


def edits(count: int, spec_of: Callable[[int], Object]) -> Iterator[Request]:
    """The spec of one run after the other."""
    for edit in itertools.count():
        yield patch(f"run-{random.randrange(count)}", {"spec": spec_of(edit)})  # noqa: S311 - guards nothing


def editing(count: int, spec_of: Callable[[int], Object], **pace: Any) -> Step:
    """Edit for ever."""

    async def go(attacker: Attacker) -> None:
        await attacker.send_for_ever(edits(count, spec_of), **pace)

    return go


def learning(edit: int) -> Object:
    """A small change that is valid."""
    return {"training": {"learningRate": f"{edit % 900 + 100}e-6"}}
