"""The guard's own questions: does each name answer, with its own weights, and does the engine still answer?"""

from __future__ import annotations

import filecmp
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

from .. import causes
from ..protocol import ServedAdapter
from . import errors, identity, question, requests
from .adapters import WEIGHTS, is_folder
from .backend import Backend
from .board import Board
from .causes import ADAPTER_INVALID, ENGINE_DEAD
from .gate import Gate
from .identity import Fingerprint
from .readiness import AS_ANOTHER, AS_BASE, FAILING, LOAD_FAILED, MISFIT, Readiness


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
        self._turn: Iterator[str] = itertools.cycle(readiness.names)

    async def check_all(self) -> None:
        """At the start: each name, and then what the gate asks."""
        await self._check_names()
        if self._gate is not None and self._readiness.healthy and self._readiness.all_answer:
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
        try:
            await self._backend.load(adapter)
            found = await self._fingerprint(adapter.name)
        except Exception as error:
            if errors.is_dead(error):
                raise
            text = f"the adapter cannot be loaded: {type(error).__name__}: {error}"
            self._readiness.refuse(adapter.name, LOAD_FAILED, text)
            return None
        misfit = self._backend.misfit(adapter)
        if misfit is not None:
            self._readiness.refuse(adapter.name, MISFIT, f"the adapter was made for another model: {misfit}")
        return found if misfit is None else None

    def _compare(self, found: Mapping[str, Optional[Fingerprint]], base: Fingerprint, *, noise: float) -> None:
        done: list[tuple[ServedAdapter, Fingerprint]] = []
        for adapter in self._adapters:
            own = found[adapter.name]
            if own is None:
                continue
            same = [other for other, print_ in done if not identity.differ(own, print_, noise=noise)]
            if not identity.differ(own, base, noise=noise):
                self._readiness.refuse(adapter.name, AS_BASE, "it answers as the model without the adapter does")
            elif same and not _same_files(adapter, same[0]):
                self._readiness.refuse(adapter.name, AS_ANOTHER, f"it answers as {same[0].name} does")
            else:
                self._readiness.answered(adapter.name)
            done.append((adapter, own))

    async def check_next(self) -> None:
        """Of a server that nobody asks: one token, of one name after the other."""
        name = next(name for name in self._turn if name in self._readiness.answering or name == self._base)
        try:
            await self._ask(name, identity.PROBES[0])
        except Exception as first:
            try:
                await self._ask(name, identity.PROBES[0])
            except Exception as error:
                dead = errors.is_dead(error) or errors.is_dead(first)
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
