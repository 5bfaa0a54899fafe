"""Adapters that come, change and go while others are answered: as a file declares them, one change at a time.

Newer weights of a name are loaded under a name of their own that nothing was ever loaded under, since engines keep what
they have computed for a prompt by that name. Nobody is sent to them before they have answered as at the start. Answers
in flight end with the weights that they began with, which are unloaded after the last of them. What cannot be served is
told, and what was served goes on.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional

from ..protocol import ServedAdapter
from . import adapters as files
from . import declared, errors
from .backend import Backend
from .board import Board
from .declared import BadFile
from .prober import Prober, Wrong
from .readiness import FAILING, Readiness

LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 30.0  # between two looks for files that are not there yet
OTHER_PROMPT = "OtherPrompt"
_Signature = tuple[int, int, int]


@dataclass(frozen=True)
class Start:
    """What the server was started with."""

    path: str  # of the file
    model: str  # its name
    digest: str  # of what the file declared
    adapters: tuple[ServedAdapter, ...]  # which that was, with folders
    words: Sequence[str]  # of the engine's server
    flags: Sequence[str] = ()  # of ms-swift's, by which the prompts are made
    folders: Mapping[str, str] = field(default_factory=dict)  # of hub ids


class Changes:
    """A task of the guard's loop."""

    def __init__(self, start: Start, backend: Backend, board: Board, readiness: Readiness, prober: Prober) -> None:
        self._start = start
        self._backend = backend
        self._board = board
        self._readiness = readiness
        self._prober = prober
        self._limit = files.limit_of(start.words)
        self._prompt = files.prompt_of(start.adapters[0].path, start.flags) if start.adapters else {}
        self._served = {one.name: one for one in start.adapters}  # what each name is, or was to be
        self._declared = start.adapters
        self._used = {start.model, *self._served}  # names that the backend has ever known
        self._left: list[str] = []  # ... and those whose weights nobody is to be answered with any more
        self._count = 0
        self._seen: Optional[_Signature] = None
        self._told = ""
        self._ticks = 0
        self.digest = ""  # of what was taken last

    async def run(self) -> None:
        """For ever, once all that was there at the start has been asked. Nothing of it ends what serves."""
        await self._prober.checked.wait()
        self.digest = self._start.digest
        while True:
            try:
                await self.look()
            except Exception as error:
                if errors.is_dead(error):
                    self._readiness.engine_died(str(error))
                traceback.print_exc()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Take what the file declares now, if that is news, and let go of what nobody needs any more."""
        if not self._readiness.healthy or self._readiness.draining:
            return
        self._ticks += 1
        if self._ticks % int(PATIENCE_SECONDS / LOOK_SECONDS) == 0:
            await self._look_for_files()
        await self._look_at_file()
        await self._unload()

    async def _look_for_files(self) -> None:
        """Those of an adapter may only be late, as on a network volume."""
        late = [name for name, (word, _) in self._readiness.bad.items() if word == files.MISSING]
        for adapter in self._declared:
            if adapter.name in late:
                await self._serve(self._placed(adapter), first=adapter is self._declared[0])

    def _placed(self, adapter: ServedAdapter) -> ServedAdapter:
        return replace(adapter, path=self._start.folders.get(adapter.path, adapter.path))

    async def _look_at_file(self) -> None:
        try:
            signature = _signature(self._start.path)
            if signature == self._seen:
                return
            content = _content(self._start.path)
            self._seen, digest = signature, declared.digest(content)
            if digest != self.digest:
                await self._take(declared.parse(content, model=self._start.model))
            self.digest, self._told = digest, ""
        except (OSError, BadFile) as error:  # it is repaired, or comes back: what is served goes on
            text = f"{self._start.path} cannot be read: {error}"
            if text != self._told:
                self._told = text
                _say(text)

    async def _take(self, wanted: tuple[ServedAdapter, ...]) -> None:
        self._declared = wanted
        names = {self._start.model, *(one.name for one in wanted)}
        for name in [name for name in self._readiness.names if name not in names]:
            self._remove(name)
        for adapter in wanted:
            now = self._placed(adapter)
            if _same(self._served.get(adapter.name), now) and adapter.name in self._readiness.answering:
                self._readiness.bad.pop(adapter.name, None)  # it is as it was again
            else:
                await self._serve(now, first=adapter is wanted[0])
        await self._prober.check_gate()

    def _remove(self, name: str) -> None:
        if self._served.pop(name, None) is not None:
            self._left.append(self._readiness.inside(name))
        self._readiness.remove(name)
        self._prober.forget(name)
        _say(f"{name} is not served any more")

    async def _serve(self, adapter: ServedAdapter, *, first: bool) -> None:
        """Let a name answer with it, once that is right."""
        name, inside = adapter.name, self._fresh(adapter.name)
        wrong = await self._unfit(adapter, first=first)
        if wrong is None:
            self._used.add(inside)
            wrong = await self._checked(name, replace(adapter, name=inside))
            if wrong is not None:
                self._left.append(inside)
        if wrong is not None:
            if self._readiness.hold(name, wrong.word, wrong.text):
                _say(f"{name} is not served as it is declared: {wrong.text}")
            return
        if name in self._served and self._readiness.inside(name) != inside:
            self._left.append(self._readiness.inside(name))
        self._board.know(name)
        self._readiness.point(name, inside)
        self._served[name] = adapter
        _say(f"{name} is served from {adapter.path}")

    async def _unfit(self, adapter: ServedAdapter, *, first: bool) -> Optional[Wrong]:
        """What its files tell; a volume may hang, and all answers wait for this loop."""
        try:
            return await asyncio.to_thread(self._look_at, adapter, first=first)
        except files.Unfit as error:
            return Wrong(error.why, str(error))
        except Exception as error:  # of a volume, or a file that is none
            return Wrong(files.MISSING, f"adapter {adapter.name}: {adapter.path} cannot be read: {error}")

    def _look_at(self, adapter: ServedAdapter, *, first: bool) -> Optional[Wrong]:
        if not files.is_folder(adapter.path):
            return Wrong(files.MISSING, f"adapter {adapter.name}: {adapter.path} was not downloaded at the start")
        files.check([adapter])
        files.check_ranks([adapter])
        files.check_limit(adapter, self._limit)
        other = files.prompt_of(adapter.path, self._start.flags) if first and self._prompt else {}
        parted = [name for name, said in other.items() if said != self._prompt.get(name)]
        if not parted:
            return None
        text = (
            f"adapter {adapter.name}: it was trained with another {' and '.join(parted)} than the one that the prompts"
        )
        return Wrong(
            OTHER_PROMPT, f"{text} of this server are made by: restart the pods, as by kubectl rollout restart"
        )

    async def _checked(self, name: str, adapter: ServedAdapter) -> Optional[Wrong]:
        try:
            return await self._prober.check_newer(name, adapter)
        except Exception as error:
            if errors.is_dead(error):
                raise
            return Wrong(FAILING, f"it cannot be asked: {type(error).__name__}: {error}")

    def _fresh(self, name: str) -> str:
        """A name for the backend; none that is served may have this sign."""
        found = name
        while found in self._used:
            self._count += 1
            found = f"{name}@{self._count}"
        return found

    async def _unload(self) -> None:
        for inside in [inside for inside in self._left if not self._board.uses(inside)]:
            self._left.remove(inside)
            try:
                await self._backend.unload(inside)
            except Exception as error:  # one that was never loaded, for the most part
                if errors.is_dead(error):
                    raise


def _same(one: Optional[ServedAdapter], other: ServedAdapter) -> bool:
    """Whether they are the same weights."""
    return one is not None and (one.path, one.version) == (other.path, other.version)


def _signature(path: str) -> _Signature:
    found = Path(path).stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def _content(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(declared.LARGEST + 1)


def read(path: str, *, model: str) -> tuple[str, tuple[ServedAdapter, ...]]:
    """At the start: digest and adapters; raises ``BadFile`` and ``OSError``."""
    content = _content(path)
    return declared.digest(content), declared.parse(content, model=model)


def _say(text: str) -> None:
    sys.stdout.write(f"swiftop: {text}\n")
    sys.stdout.flush()
