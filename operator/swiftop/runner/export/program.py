"""One export: merge or convert, verify, quantize, put in place; each step resumable, none done twice."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

from .. import causes, preflight
from ..cachelock import Loading
from ..classify import EndedChild, Judged, classify_failure, shorten
from ..evalloss import eval_loss
from ..hub.request import CHECK_TASK, MODEL, MODELSCOPE, PUSH_TASK, Push, Target
from ..pace import Pace
from ..program import Context, Ended, Reached, Route, Step
from ..protocol import (
    CLIENT_TOKENS,
    FAILED,
    FINISHED,
    INTERRUPTED,
    POD_NAME,
    POD_UID,
    ExportSettings,
    ExportTarget,
    Quantize,
)
from ..quiet import Quiet
from ..record import Unreadable
from ..report import EXPORTING
from ..task import Refused, Task
from ..typed_json import from_json, to_json
from . import subject
from .growth import Growth
from .quantizable import check_plain
from .state import State

MODEL_DIR = "model"
PREPARING, MERGING, VERIFYING, QUANTIZING, PUSHING, COMPLETED = range(6)
_ADAPTER_CONFIG, _ARGUMENTS = "adapter_config.json", "args.json"
_ARTIFACT = ("digest", "bytes", "dtype", "quantization")  # members of the state, told as artifactDigest and so on
_CHECKED = ("verified", "templateEqual", "tensors", "compared")
_ON_THE_CPU = {"CUDA_VISIBLE_DEVICES": ""}


class Export:
    """The program ``export``."""

    members = EXPORTING
    routes: Mapping[str, Route] = {}

    def __init__(self, context: Context) -> None:
        self._context = context
        self._plan = context.plan
        self._settings = from_json(ExportSettings, context.plan.settings)
        self._result = context.directory / MODEL_DIR
        self._partial = Path(self._settings.partial)
        self._state = State(context.directory)
        self._phase = PREPARING
        self._task: Optional[Task] = None
        self._quiet = Quiet()
        self._loading = Loading(context)
        self._growth: Optional[Growth] = None
        self._pace = Pace()
        self._checked: dict[str, Any] = {}  # of the result that is being made
        self._folders: dict[str, str] = {}  # of what is named by an id

    def begin(self) -> Optional[Ended]:
        """Whose directory, what is done already, and whether pod, image and source are as they must be."""
        record = self._context.record
        problem = preflight.load_record(record) or self._load_state()
        if problem is not None:
            return Ended(FAILED, problem)
        if record.finished is not None:
            self._phase = COMPLETED
            return Ended(FINISHED, Judged(causes.COMPLETED, self._told()))
        problem = preflight.check_output(self._context.directory, self._plan.min_free_bytes)
        if problem is not None:
            return Ended(FAILED, problem)
        self._close_the_last_one()
        environ = self._context.environ
        record.begin(
            attempt=self._plan.attempt,
            pod={"pod": environ.get(POD_UID) or socket.gethostname(), "podName": environ.get(POD_NAME) or ""},
            command=self._plan.command,
        )
        problem = preflight.check(self._plan, environ) or self._check_source()
        if problem is not None:
            return Ended(FAILED, problem)
        self._state.begin(self._settings.card)
        return None

    def _close_the_last_one(self) -> None:
        """Write down for an execution that was killed that it ended, at the latest time that it left."""
        record = self._context.record
        times = [record.last_execution.get("start") or 0]
        times += [path.stat().st_mtime for path in (self._partial, self._result) if path.exists()]
        record.close(at=min(max(times), time.time()), step=None, kept_step=None)

    def _load_state(self) -> Optional[Judged]:
        try:
            self._state.load()
        except Unreadable as error:
            return Judged(causes.OUTPUT_UNREADABLE, str(error))
        return None

    def _check_source(self) -> Optional[Judged]:
        return None if self._state.artifact else subject.check(self._settings)

    def steps(self) -> Iterator[Step]:
        """What is not done yet. A result counts once it lies under its own name and is written down."""
        targets = [target for target in self._settings.targets if _name(target) not in self._state.pushed]
        for target in targets:  # a wrong token is told in seconds, not after hours of merging
            check = Task(f"check of {_name(target)}", CHECK_TASK, to_json(self._push(target)))
            yield self._started(check, {target.token_env})
        if not self._state.artifact:
            yield from self._quantized(quantize) if (quantize := self._settings.quantize) else self._plain()
        self._discard()
        self._phase = PUSHING
        for target in targets:
            push = Task(f"push to {_name(target)}", PUSH_TASK, to_json(self._push(target)))
            yield self._started(push, {target.token_env})
            self._state.publish(_name(target), self._result_of_task)

    def _push(self, target: ExportTarget) -> Push:
        owner = self._plan.owner
        message = target.commit_message or f"Export by {owner.kind} {owner.namespace}/{owner.name}"
        return Push(
            Target(
                hub=target.hub,
                repo=target.repo,
                repo_type=MODEL,
                token_env=target.token_env,
                visibility=target.visibility,
                revision=target.revision,
                commit_message=message,
                overwrite=target.overwrite,
            ),
            uid=owner.uid,
            source=str(self._result),
            digest=str(self._state.artifact.get("digest") or ""),
        )

    def _plain(self) -> Iterator[Step]:
        yield from self._make()
        yield from self._check(self._partial)
        yield from self._finish(self._partial)
        self._put_in_place(self._partial)

    def _quantized(self, quantize: Quantize) -> Iterator[Step]:
        """The model is kept until it is quantized: whoever comes after a killed pod need not merge it again."""
        full, partial = Path(quantize.source), Path(quantize.partial)
        known = self._settings.model if self._settings.model.startswith("/") else ""
        request = {"method": quantize.method, "folder": known or self._settings.source}
        yield self._started(Task("check of the quantization", "export.quantizable", request))
        if not (self._state.full and full.is_dir()):
            _remove(full)
            yield from self._make()
            yield from self._check(self._partial)
            self._keep(full)
        self._phase = QUANTIZING
        _remove(partial)
        _remove(self._result)
        self._task = None
        yield Step("quantize", quantize.command, without=self._hidden(quantize.token_env))
        yield from self._check(partial, quantize)
        yield from self._finish(partial)
        self._checked["quantization"] = quantize.words
        self._put_in_place(partial)

    def _keep(self, full: Path) -> None:
        """Of a converted checkpoint ms-swift needs to know what it was trained as, as it does of a merged one."""
        arguments = Path(self._settings.source) / _ARGUMENTS
        if self._settings.source and arguments.is_file() and not (self._partial / _ARGUMENTS).exists():
            shutil.copyfile(arguments, self._partial / _ARGUMENTS)
        full.parent.mkdir(exist_ok=True)
        os.rename(self._partial, full)  # noqa: PTH104 - as in _put_in_place
        self._state.keep(self._checked)
        self._checked = {}

    def _discard(self) -> None:
        """What was only needed on the way."""
        if self._settings.quantize is not None:
            _remove(Path(self._settings.quantize.source).parent)

    def _make(self) -> Iterator[Step]:
        self._phase = MERGING
        _remove(self._partial)  # what a killed pod has left is never taken for done
        _remove(self._result)  # likewise: renamed, and not written down
        if self._merges or not self._settings.source:  # all else lies on a volume
            self._loading.begin()
        if self._merges:
            self._task = None
            self._growth = Growth(self._partial, self._settings.model, self._settings.dtype, self._context.environ)
            on_the_cpu = _ON_THE_CPU if self._settings.quantize else {}
            yield Step("merge", self._plan.command, environ=on_the_cpu, without=self._hidden(self._read_tokens))
            self._growth = None
        else:
            yield from self._fetch(self._folder)
            request = {"checkpoint": self._found(self._folder), "output": str(self._partial), **self._common()}
            if not self._settings.model.startswith("/"):  # a folder of this pod means nothing to anybody else
                request["baseName"] = self._settings.model
            yield self._started(Task("convert", "export.convert", request))

    @property
    def _merges(self) -> bool:
        """An adapter is merged by ms-swift; all else is converted, which ms-swift does not do."""
        settings = self._settings
        adapter = (Path(settings.source) / _ADAPTER_CONFIG).is_file() if settings.source else bool(settings.adapter)
        return settings.merge and adapter

    @property
    def _folder(self) -> str:
        """What is exported, as a folder or by its id."""
        return self._settings.source or self._settings.adapter or self._settings.model

    def _check(self, folder: Path, quantize: Optional[Quantize] = None) -> Iterator[Step]:
        self._phase = VERIFYING
        artifact, settings = str(folder), self._settings
        if settings.verify and not (folder / _ADAPTER_CONFIG).is_file():  # an adapter has no chat template
            trained = settings.source or artifact  # where the merge has put args.json of an adapter that came by its id
            made_of = {"checkpoint": trained, "model": settings.model, **self._type()}
            request = {"artifact": artifact, "bake": settings.bake_template, **made_of}
            yield self._started(Task("template", "export.template", request))
            self._checked |= {
                name: self._result_of_task.get(name) for name in ("templateEqual", "difference", "unknown")
            }
        if self._settings.verify:
            yield from self._verify(artifact, quantize)
            self._checked |= {name: self._result_of_task.get(name) for name in ("tensors", "compared")}
            self._checked["verified"] = True

    def _verify(self, artifact: str, quantize: Optional[Quantize]) -> Iterator[Step]:
        if quantize is not None:
            wanted = {"artifact": artifact, **to_json(quantize)}
            yield self._started(Task("verify the quantization", "export.quantized", wanted))
            return
        yield from self._fetch(*((self._base, self._folder) if self._merges else (self._folder,)))
        yield self._started(Task("verify", "export.verify", {"artifact": artifact, **self._made_of()}))

    def _finish(self, folder: Path) -> Iterator[Step]:
        """The manifest comes last: nothing is written to the result after its files were hashed."""
        yield self._started(Task("finish", "export.finish", {"artifact": str(folder), "card": self._card()}))
        self._checked |= {name: self._result_of_task.get(name) for name in ("digest", "bytes", "dtype")}
        if self._settings.source:
            self._checked["evalLoss"] = eval_loss(Path(self._settings.source))

    def _card(self) -> Optional[dict[str, Any]]:
        """Nothing but what goes to a hub needs one."""
        known = self._state.card
        return dict(known) if known and self._settings.targets else None

    def _common(self) -> dict[str, Any]:
        """The revision is that of the model: not of an adapter that is exported by itself."""
        settings = self._settings
        revision = settings.revision if self._merges or self._folder == settings.model else ""
        return {"dtype": settings.dtype, "hub": settings.hub, "revision": revision}

    def _type(self) -> dict[str, Any]:
        return {"modelType": self._settings.type} if self._settings.type else {}

    def _made_of(self) -> dict[str, Any]:
        """What the result is compared with."""
        if self._merges:
            return {**self._common(), "base": self._found(self._base), "adapters": [self._found(self._folder)]}
        return {**self._common(), "checkpoint": self._found(self._folder)}

    @property
    def _base(self) -> str:
        """The model that the adapter belongs to: as given, or as the adapter itself names it."""
        return self._settings.model or subject.base_of(Path(self._settings.source))

    def _put_in_place(self, folder: Path) -> None:
        """One rename: the folder of the result is complete or not there."""
        os.rename(folder, self._result)  # noqa: PTH104 - fails where Path.replace would overwrite
        self._state.complete(self._checked)

    def _fetch(self, *names: str) -> Iterator[Step]:
        """Download what is named by an id, for tasks that have no token."""
        wanted = [name for name in names if not name.startswith("/") and name not in self._folders]
        if wanted:
            settings = self._settings
            request = {
                "names": wanted, "model": settings.model, "hub": settings.hub, "revision": settings.revision,
            }  # fmt: skip
            yield self._started(Task("fetch", "export.fetch", request), self._read_tokens)
            self._folders.update(self._result_of_task.get("folders") or {})

    def _found(self, name: str) -> str:
        return self._folders.get(name, name)

    @property
    def _read_tokens(self) -> set[str]:
        """The variable of the token that models are read with; none when all that is read is on volumes."""
        settings = self._settings
        remote = not settings.model.startswith("/") or bool(settings.adapter)
        return {CLIENT_TOKENS[settings.hub or MODELSCOPE]} if remote else set()

    def _hidden(self, tokens: Collection[str]) -> frozenset[str]:
        """Secrets that a process must not see: a model brings code, and files that name what it runs."""
        return frozenset(self._plan.secret_env) - frozenset(tokens)

    def _started(self, task: Task, tokens: Collection[str] = ()) -> Step:
        self._task = task
        self._quiet.begin(task)
        return task.step(without=self._hidden(tokens))

    @property
    def _result_of_task(self) -> dict[str, Any]:
        return self._task.result if self._task is not None else {}

    def saw(self, data: bytes) -> None:
        """That something is told, not what."""
        self._quiet.hear()

    def check(self, now: float) -> Optional[str]:
        """A task that says nothing any more does not end by itself. Once something is written, all is loaded."""
        if self._loading.locked and self._writes():
            self._loading.end(loaded=True)
        self._progress()
        return self._quiet.check(now)

    def _writes(self) -> bool:
        return self._partial.is_dir() and any(self._partial.iterdir())

    def stop(self) -> None:
        """What was not completed begins anew."""

    def judge(self, step: Step, end: EndedChild, evidence: str) -> Optional[Ended]:
        """A step that ended well is followed by the next one."""
        self._loading.end(loaded=end.exit_code == 0)
        if end.forwarded:
            return Ended(INTERRUPTED, Judged(causes.INTERRUPTED, f"stopped on request in the step {step.name}"))
        if end.exit_code == 0 and end.signal is None:
            return self._unfit() if self._phase == MERGING and self._settings.quantize else None
        if end.ended_by is not None:
            return Ended(FAILED, Judged(causes.STEP_STALLED, f"the step {step.name} {end.ended_by}"))
        told = self._task.refused if self._task is not None and step.name == self._task.name else None
        judged = told or classify_failure(end, evidence)
        return Ended(INTERRUPTED if judged.cause is causes.INTERRUPTED else FAILED, judged)

    def _unfit(self) -> Optional[Ended]:
        """A model that turns out to be quantized already: of one of a hub nobody has known before."""
        try:
            check_plain(self._partial)
        except Refused as error:
            return Ended(FAILED, error.judged)
        return None

    def complete(self) -> Ended:
        """All steps have ended well."""
        self._phase, self._task = COMPLETED, None
        return Ended(FINISHED, Judged(causes.COMPLETED, self._told()))

    def _told(self) -> str:
        text, found = "the export is complete", self._state.artifact
        if found.get("difference"):
            return shorten(f"{text}; its chat template differs from that of the training: {found['difference']}")
        if found.get("unknown"):
            return shorten(
                f"{text}; whether its chat template is that of the training is not known: {found['unknown']}"
            )
        return text

    def conclude(self, ended: Ended) -> None:
        """Everything is in the report already. Half a model that nobody goes on with would keep a full volume full."""
        if ended.outcome == FAILED and self._phase in (MERGING, VERIFYING, QUANTIZING):
            _remove(self._partial)
            if self._settings.quantize is not None:
                _remove(Path(self._settings.quantize.partial))

    def report(self) -> dict[str, Any]:
        """Members of ``report.EXPORTING``."""
        known = self._state.artifact
        artifact = {f"artifact{name.capitalize()}": known.get(name) for name in _ARTIFACT}
        checked = {name: int(known[name]) for name in _CHECKED if known.get(name) is not None}
        checked |= {"merged": 1} if self._state.full else {}
        told = {**artifact, **checked, **self._progress(), **self._published()}
        loss = {"artifactEvalLoss": known["evalLoss"]} if known.get("evalLoss") is not None else {}
        return {"updated": round(time.time()), "phase": self._phase, **told, **loss}

    def _progress(self) -> dict[str, Any]:
        """Of the running step. Asked for once a second, because it tells the time that is left by what it saw."""
        task, growth = self._task, self._growth  # another thread may go on to the next step
        if growth is not None:
            return self._pace.of("merge", growth.progress())
        return self._pace.of(task.name, task.progress) if task is not None else {}

    def _published(self) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for number, target in enumerate(self._settings.targets):
            found = self._state.pushed.get(_name(target)) or {}
            told.update(
                (f"{name}{number}", found.get(name)) for name in ("commit", "visibility", "files", "bytes", "bySize")
            )
        return told

    def reached(self) -> Reached:
        """Steps have no numbers."""
        return Reached()


def _remove(path: Path) -> None:
    """A folder, or a link, which would have the result made in another place."""
    with contextlib.suppress(OSError):
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


def _name(target: ExportTarget) -> str:
    return f"{target.hub}:{target.repo}"
