"""One upload: the hub is asked whether it would take the file, the file is checked row by row, and uploaded.

The push compares what the hub then lists with the file; that it is still the file which was checked is seen here.

Nothing is remembered from one execution to the next, for an upload has no volume of its own. The check is repeated: a
pass over the file is cheap beside its transfer, and the file may have changed meanwhile. The hubs keep what has
arrived: a file that is there already is not sent again, and an unchanged one makes no commit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from .. import causes, preflight
from ..cachelock import Loading
from ..classify import EndedChild, Judged, classify_failure, shorten
from ..hub.request import CHECK_TASK, DATASET, MODELSCOPE, PUSH_TASK, Push, Target
from ..pace import Pace
from ..program import Context, Ended, Reached, Route, Step
from ..protocol import CLIENT_TOKENS, FAILED, FINISHED, INTERRUPTED, Owner, UploadSettings
from ..quiet import Quiet
from ..report import UPLOADING, BadRow, read_bad_rows
from ..task import Task
from ..typed_json import from_json, to_json

PREPARING, CHECKING, PUSHING, DONE = range(4)
TARGET, CHECK, PUSH = "target", "check", "upload"


class Upload:
    """The program ``upload``."""

    members = UPLOADING
    routes: Mapping[str, Route] = {}

    def __init__(self, context: Context) -> None:
        self._context = context
        self._settings = from_json(UploadSettings, context.plan.settings)
        self._source = Path(self._settings.source)
        self._push = push_of(self._settings, context.plan.owner)
        self._phase = PREPARING
        self._task: Optional[Task] = None
        self._loading = Loading(context)
        self._pace = Pace()
        self._checked: dict[str, Any] = {}
        self._pushed: dict[str, Any] = {}
        self._bad_rows: tuple[BadRow, ...] = ()
        self._quiet = Quiet()
        self._identity: Optional[tuple[int, int]] = None  # of the file that was checked

    def begin(self) -> Optional[Ended]:
        """What would fail later and dearer."""
        problem = preflight.check(self._context.plan, self._context.environ)
        return None if problem is None else Ended(FAILED, problem)

    def steps(self) -> Iterator[Step]:
        """Whether the hub would take it, whether it is worth it, and the upload."""
        token = {self._push.target.token_env}
        yield self._step(TARGET, CHECK_TASK, to_json(self._push), token)
        self._loading.begin()
        self._phase, self._identity = CHECKING, _identity(self._source)
        yield self._step(CHECK, "rows.task", self._check_request(), self._tokenizer_token)
        self._phase = PUSHING
        push = replace(self._push, digest=str(self._checked.get("sha256") or ""))
        yield self._step(PUSH, PUSH_TASK, to_json(push), token)

    @property
    def _tokenizer_token(self) -> set[str]:
        hub = self._settings.tokenizer_hub or self._settings.hub
        return {CLIENT_TOKENS[hub or MODELSCOPE]} if self._settings.tokenizer else set()

    def _step(self, name: str, module: str, request: Mapping[str, Any], tokens: Collection[str]) -> Step:
        self._task = Task(name, module, request)
        self._quiet.begin(self._task)
        return self._task.step(without=frozenset(self._context.plan.secret_env) - frozenset(tokens))

    def _check_request(self) -> dict[str, Any]:
        wanted = self._settings
        return {
            "path": str(self._source),
            "format": wanted.format,
            "columns": dict(wanted.columns),
            "maxBadRows": wanted.max_bad_rows,
            "tokenizer": wanted.tokenizer,
            "tokenizerHub": wanted.tokenizer_hub or wanted.hub,
            "maxLength": wanted.max_length,
        }

    def saw(self, data: bytes) -> None:
        """That something is told, not what."""
        self._quiet.hear()

    def check(self, now: float) -> Optional[str]:
        """A task that says nothing does not end by itself. The tokenizer is loaded before the first row is read."""
        told = self._task.progress if self._task is not None else {}
        if told:
            self._loading.end(loaded=True)
        self._paced(told)
        return self._quiet.check(now)

    def _paced(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """Asked for once a second, because it tells the time that is left by what it saw."""
        return self._pace.of(self._task.name, told) if self._task is not None and self._phase != DONE else {}

    def stop(self) -> None:
        """Nothing is kept."""

    def judge(self, step: Step, end: EndedChild, evidence: str) -> Optional[Ended]:
        """A failed step ends it; after the last one the result is compared."""
        task = self._task
        self._loading.end(loaded=end.exit_code == 0)
        if task is None or end.exit_code != 0 or end.forwarded or not task.result:
            return self._failed(step, end, evidence)
        if step.name == TARGET:
            return None
        return self._judge_check(task.result) if step.name == CHECK else self._judge_push(task.result)

    def _failed(self, step: Step, end: EndedChild, evidence: str) -> Ended:
        if end.forwarded:
            return Ended(INTERRUPTED, Judged(causes.INTERRUPTED, f"stopped on request during the step {step.name}"))
        if end.ended_by is not None:
            judged = Judged(causes.STEP_STALLED, f"the step {step.name} {end.ended_by}")
            return Ended(FAILED, judged, self._bad_rows)
        refused = self._task.refused if self._task else None
        judged = refused or classify_failure(end, evidence)
        outcome = INTERRUPTED if judged.cause is causes.INTERRUPTED else FAILED
        return Ended(outcome, judged, self._bad_rows)

    def _judge_check(self, found: Mapping[str, Any]) -> Optional[Ended]:
        self._checked = dict(found)
        rows = [[row.get("line"), row.get("why")] for row in found.get("badRows", ())]
        self._bad_rows = read_bad_rows({"badRows": rows})
        problem = str(found.get("problem") or "")
        if problem:
            cause = causes.DATASET_EMPTY if found.get("empty") else causes.DATA_INVALID
            return Ended(FAILED, Judged(cause, shorten(problem)), self._bad_rows)
        return None if self._unchanged() else self._changed()

    def _judge_push(self, pushed: Mapping[str, Any]) -> Optional[Ended]:
        """The task has compared the hub's listing with what it sent, which has to be what was checked."""
        self._pushed = dict(pushed)
        return None if self._unchanged() else self._changed()

    def _unchanged(self) -> bool:
        return _identity(self._source) == self._identity

    def _changed(self) -> Ended:
        text = f"{self._source.name} was changed while it was checked or uploaded: let nobody write to it meanwhile"
        return Ended(FAILED, Judged(causes.DATA_INVALID, text), self._bad_rows)

    def complete(self) -> Ended:
        """All steps have ended well."""
        self._phase = DONE
        rows, commit = self._checked.get("rows", {}).get("total"), self._pushed.get("commit")
        text = f"{rows} rows are in {self._settings.repo} as {self._settings.path}, commit {commit}"
        return Ended(FINISHED, Judged(causes.COMPLETED, shorten(text)), self._bad_rows)

    def conclude(self, ended: Ended) -> None:
        """All is in the report already."""

    def report(self) -> dict[str, Any]:
        """Members of ``report.UPLOADING``."""
        told: dict[str, Any] = self._task.progress if self._task else {}
        rows = self._checked.get("rows") or told.get("rows") or {}
        return {
            "updated": int(time.time()),
            "phase": self._phase,
            **self._paced(told),
            **(rows if isinstance(rows, dict) else {}),
            "commit": self._pushed.get("commit"),
            "visibility": self._pushed.get("visibility"),
            "bySize": self._pushed.get("bySize") or None,
        }

    def reached(self) -> Reached:
        """An upload has no steps to resume from."""
        return Reached()


def push_of(settings: UploadSettings, owner: Owner) -> Push:
    """What the hub's tasks are asked for."""
    target = Target(
        hub=settings.hub,
        repo=settings.repo,
        repo_type=DATASET,
        token_env=settings.token_env,
        visibility=settings.visibility,
        revision=settings.revision,
        commit_message=settings.commit_message
        or f"Upload {settings.path} by {owner.kind} {owner.namespace}/{owner.name}",
        overwrite=settings.overwrite,
    )
    return Push(target, uid=owner.uid, source=settings.source, path=settings.path)


def _identity(path: Path) -> Optional[tuple[int, int]]:
    """Size and time of a file; None when it is not there."""
    try:
        found = os.stat(path)  # noqa: PTH116 - follows links, as ConfigMaps are mounted
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
