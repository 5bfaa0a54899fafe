"""Serving as PID 1 sees it: what would fail later and dearer, whose server is taken, one process, and its end."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from .. import causes, preflight
from ..cachelock import CacheLock
from ..classify import EndedChild, Judged, classify_failure
from ..ends import EndClass
from ..hub import causes as hub
from ..program import Context, Ended, Reached, Route, Step
from ..protocol import FAILED, FINISHED, INTERRUPTED, NATIVE, SWIFT, ServeSettings
from ..report import LOADING, NOT_READY, PREPARING, SERVING
from ..task import Task
from ..typed_json import from_json, to_json
from . import adapters, changes, choice, declared
from .causes import ADAPTER_INVALID, DRAINED, ENGINE_DEAD, ENGINE_STALLED, LOAD_TIMEOUT, TEMPLATE_DIFFERS

SILENT_SECONDS = 30.0  # least patience with a guard that tells nothing, though it should once a second
STALE_SECONDS = 10.0  # what it said longer ago does not count as its state any more
END_SECONDS = 30.0  # for the end itself, above what a drain may take
_ENTRY = "swift.cli.deploy"


class Serve:
    """The program ``serve``."""

    members = SERVING
    routes: Mapping[str, Route] = {}

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settings = from_json(ServeSettings, context.plan.settings)
        self._declared = ""  # digest of the file of adapters
        self._phase = PREPARING
        self._task: Optional[Task] = None  # the guard
        self._prompt: Optional[Task] = None  # the check of the chat template before it
        self._lock: Optional[CacheLock] = None
        self._started = 0.0
        self._told: dict[str, Any] = {}
        self._told_at = 0.0
        self._stopped_at: Optional[float] = None
        self._ended_for: Optional[EndClass] = None
        self._unfit: Optional[adapters.Unfit] = None

    def begin(self) -> Optional[Ended]:
        """What would fail after the minutes of loading."""
        unread = self._read_adapters()
        settings, environ = self._settings, self._context.environ
        key = (settings.key_env,) if settings.key_env else ()
        problem = (
            preflight.check_environment(key, environ)
            or preflight.check(self._context.plan, environ)
            or unread
            or self._check_model()
            or self._check_adapters()
        )
        return None if problem is None else Ended(FAILED, problem)

    def _read_adapters(self) -> Optional[Judged]:
        """As they are declared now; the guard follows them from there."""
        path, settings = self._settings.adapters_file, self._settings
        if not path:
            return None
        try:
            self._declared, found = changes.read(path, model=settings.name)
        except (OSError, declared.BadFile) as error:
            return Judged(ADAPTER_INVALID, f"the adapters cannot be read from {path}: {error}")
        self._settings = replace(settings, adapters=found)
        return None

    def _check_model(self) -> Optional[Judged]:
        model = self._settings.model
        if not adapters.is_folder(model) or Path(model).is_dir():
            return None
        return Judged(hub.MODEL_NOT_FOUND, f"the model's folder {model} does not exist")

    def _check_adapters(self) -> Optional[Judged]:
        try:
            adapters.check(self._settings.adapters)
            if self._settings.engine == "vllm":
                adapters.check_ranks(self._settings.adapters)
        except adapters.Unfit as error:
            self._unfit = error
            return Judged(ADAPTER_INVALID, str(error))
        return None

    def steps(self) -> Iterator[Step]:
        """The check of the chat template, where the engine's own server may be taken, and the guard."""
        settings, words = self._settings, self._context.plan.command
        if settings.engine == "vllm":
            words = adapters.with_rank(words, settings.adapters)
        if settings.adapters_file and settings.adapters:
            words = (*words, "--adapters", *(f"{one.name}={one.path}" for one in settings.adapters))
        self._lock_cache()
        self._phase = LOADING
        self._started = time.monotonic()
        if choice.needs_check(settings):
            self._prompt = self._check_of_prompt(words)
            yield self._prompt.step(without={settings.key_env})
        chosen = choice.choose(settings, self._prompt.result if self._prompt else {})
        if settings.server != SWIFT:
            self._context.output.say(f"swiftop: {chosen.text}")
        self._task = Task("serve", "serve.guard", _request(chosen, words, self._declared))
        yield self._task.step()

    def _check_of_prompt(self, words: tuple[str, ...]) -> Task:
        settings = self._settings
        request = {
            "words": list(_flags(words)),
            "model": settings.model,
            "adapters": [adapter.path for adapter in settings.adapters],
            "hub": settings.hub,
            "revision": settings.model_revision,
            "directory": tempfile.mkdtemp(prefix="swiftop-prompt-"),
        }
        return Task("prompt", "serve.prompt", request)

    def _lock_cache(self) -> None:
        """Replicas that start at once download a model once."""
        plan, signals = self._context.plan, self._context.signals
        if not plan.cache_dir or not plan.cache_keys:
            return
        self._lock = CacheLock(Path(plan.cache_dir), plan.cache_keys)
        trouble = self._lock.acquire(stop=lambda: signals.stop_requested, sleep=signals.pause)
        if trouble:
            self._context.output.say(f"swiftop: no lock on the cache, going on without: {trouble}")

    def _release_lock(self, *, loaded: bool) -> None:
        if self._lock is not None:
            self._lock.release(loaded=loaded)
            self._lock = None

    def saw(self, data: bytes) -> None:
        """Nothing is read off the output."""

    def check(self, now: float) -> Optional[str]:
        """Whether the guard still tells of itself; it watches over the engine."""
        told = self._task.progress if self._task else {}
        if told and told != self._told:
            self._told, self._told_at = told, now
            self._release_lock(loaded=True)
        if self._stopped_at is not None:
            return self._check_drain(now)
        if not self._told:
            late = now - self._started > self._settings.load_seconds
            return self._end(LOAD_TIMEOUT, f"not loaded after {self._settings.load_seconds:g} s") if late else None
        patience = max(SILENT_SECONDS, self._settings.stall_seconds)
        silent = now - self._told_at
        return self._end(ENGINE_STALLED, f"nothing was heard of it for {silent:.0f} s") if silent > patience else None

    def _check_drain(self, now: float) -> Optional[str]:
        """One that hangs is not waited for: the kubelet asks it to stop because it does not answer."""
        settings = self._settings
        limit = settings.drain_seconds + settings.answer_seconds + END_SECONDS
        if now - (self._stopped_at or now) > limit:
            return self._end(ENGINE_STALLED, f"it has not ended {limit:g} s after it was asked to")
        silent = now - self._told_at if self._told else 0.0
        return (
            self._end(ENGINE_STALLED, f"nothing was heard of it for {silent:.0f} s")
            if silent > SILENT_SECONDS
            else None
        )

    def _end(self, cause: EndClass, text: str) -> str:
        self._ended_for = cause
        return text

    def stop(self) -> None:
        """The guard drains; the time that it takes is bounded."""
        self._stopped_at = time.monotonic()

    def judge(self, step: Step, end: EndedChild, evidence: str) -> Optional[Ended]:
        """A guard ends well only when it was asked to."""
        if self._task is None and not end.forwarded and self._ended_for is None:
            return self._judge_prompt(end, evidence)
        self._release_lock(loaded=bool(self._told))
        if end.ended_by is not None and self._ended_for is not None:
            return Ended(FAILED, Judged(self._ended_for, end.ended_by))
        if end.forwarded:
            return _stopped(end)
        told = self._task.refused if self._task else None
        if told is None and end.exit_code == 0:
            told = Judged(ENGINE_DEAD, "the server ended by itself")
        judged = told or classify_failure(end, evidence)
        return Ended(INTERRUPTED if judged.cause is causes.INTERRUPTED else FAILED, judged)

    def _judge_prompt(self, end: EndedChild, evidence: str) -> Optional[Ended]:
        """With Auto nothing of it is fatal: what keeps a model from being read, ms-swift's own server tells too."""
        if self._settings.server != NATIVE:
            return None
        self._release_lock(loaded=False)
        if end.exit_code != 0:
            return Ended(FAILED, classify_failure(end, evidence))
        chosen = choice.choose(self._settings, self._prompt.result if self._prompt else {})
        return None if chosen.server == NATIVE else Ended(FAILED, Judged(TEMPLATE_DIFFERS, chosen.why))

    def complete(self) -> Ended:
        """Never reached: ``judge`` ends it."""
        return Ended(FINISHED, Judged(DRAINED, "stopped on request"))

    def conclude(self, ended: Ended) -> None:
        """Everything is in the report already."""

    def report(self) -> dict[str, Any]:
        """Members of ``report.SERVING``: what the guard tells, once it does."""
        told = self._task.progress if self._task else {}
        known = {"updated": int(time.time()), "phase": self._phase, "names": 1 + len(self._settings.adapters)}
        unfit = self._unfit
        bad = {"badAdapter": unfit.name, "badAdapterWhy": unfit.why, "adapters": self._declared} if unfit else {}
        stale = told and told == self._told and time.monotonic() - self._told_at > STALE_SECONDS
        return {**known, "answering": 0, **bad, **told, **({"phase": NOT_READY, "answering": 0} if stale else {})}

    def reached(self) -> Reached:
        """Serving has no steps."""
        return Reached()


def _request(chosen: choice.Choice, words: tuple[str, ...], file: str) -> dict[str, Any]:
    """For the guard. Adapters of a hub are folders by now, which tell their rank."""
    settings = chosen.settings
    if chosen.server == NATIVE and settings.engine == "vllm":
        ranked = adapters.with_rank(settings.native, settings.adapters, flag=adapters.NATIVE_RANK)
        settings = replace(settings, native=ranked)
    return {
        "settings": to_json(settings),
        "words": list(_flags(words)),
        "prompt": chosen.prompt,
        "also": {"server": chosen.server, "serverWhy": chosen.word},
        "declared": file,
    }


def _stopped(end: EndedChild) -> Ended:
    if end.exit_code == 0:
        return Ended(FINISHED, Judged(DRAINED, "stopped on request, answers in flight were finished"))
    return Ended(INTERRUPTED, Judged(causes.INTERRUPTED, "stopped on request before it served"))


def _flags(command: tuple[str, ...]) -> tuple[str, ...]:
    """The flags in ``python -m swift.cli.deploy ...``."""
    return command[command.index(_ENTRY) + 1 :] if _ENTRY in command else command
