"""The guard's own questions: does each name answer, with its own weights, and does the engine still answer?"""

from __future__ import annotations

import asyncio
import filecmp
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Optional, Union

from .. import causes
from ..protocol import ServedAdapter
from . import errors, identity, question, requests
from .adapters import WEIGHTS, is_folder
from .backend import Backend
from .board import Board
from .causes import ADAPTER_INVALID, ENGINE_DEAD, GATE_FAILED
from .gate import Gate
from .identity import Fingerprint
from .readiness import AS_ANOTHER, AS_BASE, CHANGES_MODEL, FAILING, LOAD_FAILED, MISFIT, Readiness

_AS_BASE = "it answers as the model without the adapter does"


class Wrong(NamedTuple):
    """Why an adapter is not served: a word of the report, and what happened."""

    word: str
    text: str


class Prober:
    """Asks as a client does, and is counted as none."""

    def __init__(
        self,
        backend: Backend,
        board: Board,
        readiness: Readiness,
        *,
        base: str,
        adapters: tuple[ServedAdapter, ...] = (),
        embeds: bool = False,
        top: int = identity.TOP,
        gate: Optional[Gate] = None,
    ) -> None:
        self._backend = backend
        self._board = board
        self._readiness = readiness
        self._base = base
        self._adapters = adapters
        self._embeds = embeds
        self._top = top
        self._gate = gate
        self._turn = 0
        self._known: dict[str, tuple[ServedAdapter, Fingerprint]] = {}  # adapters, and what they say, by served name
        self.checked = asyncio.Event()  # what there was at the start

    async def check_all(self) -> None:
        """At the start: each name, and then what the gate asks."""
        await self._check_names()
        await self.check_gate()
        self.checked.set()

    async def check_gate(self) -> None:
        """Once, as soon as all names answer."""
        ready = self._readiness
        if self._gate is not None and not ready.passed and ready.healthy and set(ready.answering) == set(ready.names):
            await self._gate.check()

    async def _check_names(self) -> None:
        """The base model is asked again when all adapters are there, for they change its code."""
        try:
            base = await self._fingerprint(self._base)
            found = {adapter.name: await self._of_adapter(adapter) for adapter in self._adapters}
            if not found:
                self._readiness.answered(self._base)
                return
            again, noisy = await self._fingerprint(self._base), await self._fingerprint(self._base)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            self._readiness.fail(causes.match(text) or ENGINE_DEAD, f"the model does not answer: {text}")
            return
        if (identity.difference(base, again) or 0.0) > identity.CHANGED:
            self._readiness.fail(ADAPTER_INVALID, "with the adapters loaded, the model itself answers differently")
            return
        self._readiness.answered(self._base)
        self._compare(found, again, noise=identity.difference(again, noisy) or 0.0)

    async def _of_adapter(self, adapter: ServedAdapter) -> Optional[Fingerprint]:
        found = await self._loaded(adapter)
        if isinstance(found, Wrong):
            self._readiness.refuse(adapter.name, found.word, found.text)
            return None
        return found

    async def _loaded(self, adapter: ServedAdapter) -> Union[Fingerprint, Wrong]:
        """What it says once the backend knows it by its name, or why it cannot be served."""
        try:
            await self._backend.load(adapter)
            found = await self._fingerprint(adapter.name)
        except Exception as error:
            if errors.is_dead(error):
                raise
            return Wrong(LOAD_FAILED, f"the adapter cannot be loaded: {type(error).__name__}: {error}")
        misfit = self._backend.misfit(adapter)
        return found if misfit is None else Wrong(MISFIT, f"the adapter was made for another model: {misfit}")

    def _compare(self, found: Mapping[str, Optional[Fingerprint]], base: Fingerprint, *, noise: float) -> None:
        for adapter in self._adapters:
            own = found[adapter.name]
            if own is None:
                continue
            same = self._same(adapter.name, own, noise=noise)
            if not identity.differ(own, base, noise=noise):
                self._readiness.refuse(adapter.name, AS_BASE, _AS_BASE)
            elif same is not None and not _same_files(adapter, same):
                self._readiness.refuse(adapter.name, AS_ANOTHER, f"it answers as {same.name} does")
            else:
                self._readiness.answered(adapter.name)
            self._known[adapter.name] = adapter, own

    def _same(self, name: str, own: Fingerprint, *, noise: float) -> Optional[ServedAdapter]:
        """Another one that answers alike."""
        others = [known for other, known in self._known.items() if other != name]
        return next((other for other, print_ in others if not identity.differ(own, print_, noise=noise)), None)

    async def check_newer(self, name: str, adapter: ServedAdapter) -> Optional[Wrong]:
        """Load what a name is to be answered with, while others are answered, and ask it as at the start.

        ``adapter`` has the name that the backend is to know it by. What is wrong with it; None when nothing is.
        """
        before = await self._fingerprint(self._base)
        own = await self._loaded(adapter)
        if isinstance(own, Wrong):
            return own
        again, noisy = await self._fingerprint(self._base), await self._fingerprint(self._base)
        if (identity.difference(before, again) or 0.0) > identity.CHANGED:
            return Wrong(CHANGES_MODEL, "with it, the model itself answers differently")
        noise = identity.difference(again, noisy) or 0.0
        if not identity.differ(own, again, noise=noise):
            return Wrong(AS_BASE, _AS_BASE)
        same = self._same(name, own, noise=noise)
        if same is not None and not await asyncio.to_thread(_same_files, adapter, same):
            return Wrong(AS_ANOTHER, f"it answers as {same.name} does")
        wrong = await self._gate.of_newer(name, adapter.name) if self._gate is not None else ""
        if wrong:
            return Wrong(GATE_FAILED.reason, wrong)
        self._known[name] = replace(adapter, name=name), own
        return None

    def forget(self, name: str) -> None:
        """It is served no more."""
        self._known.pop(name, None)

    async def check_next(self) -> None:
        """Of a server that nobody asks: one token, of one name after the other."""
        names = [name for name in self._readiness.names if name in self._readiness.answering or name == self._base]
        name = names[self._turn % len(names)]
        self._turn += 1
        inside = self._readiness.inside(name)
        try:
            await self._ask(inside, identity.PROBES[0])
        except Exception as first:
            try:
                await self._ask(inside, identity.PROBES[0])
            except Exception as error:
                dead = errors.is_dead(error) or errors.is_dead(first)
                if dead or (self._readiness.inside(name) == inside and name in self._readiness.names):
                    self._failed(name, f"{type(error).__name__}: {error}", dead=dead)

    def _failed(self, name: str, text: str, *, dead: bool) -> None:
        if name == self._base or dead:
            self._readiness.engine_died(text)
        else:
            self._readiness.refuse(name, FAILING, f"it does not answer any more: {text}")

    async def _fingerprint(self, name: str) -> Fingerprint:
        return identity.fingerprint([await self._ask(name, probe) for probe in identity.PROBES])

    async def _ask(self, name: str, text: str) -> Mapping[str, Any]:
        """One token; raises what the engine raised."""
        path, asked = self._asked(name, text)
        return await question.ask(self._backend, self._board, path, asked)

    def _asked(self, name: str, text: str) -> tuple[str, dict[str, Any]]:
        if self._embeds:
            return requests.EMBEDDINGS, {"model": name, "input": text}
        turn = {"role": "user", "content": text}
        asked = {"model": name, "messages": [turn], "max_tokens": 1, "temperature": 0}
        return requests.CHAT, {**asked, **({"logprobs": True, "top_logprobs": self._top} if self._top else {})}


def _same_files(one: ServedAdapter, other: ServedAdapter) -> bool:
    """Two names of the same adapter answer alike, and rightly so."""
    if one.path == other.path:
        return True
    if not (is_folder(one.path) and is_folder(other.path)):
        return False
    pairs = [(Path(one.path, name), Path(other.path, name)) for name in WEIGHTS]
    return any(a.is_file() and b.is_file() and filecmp.cmp(a, b, shallow=False) for a, b in pairs)
