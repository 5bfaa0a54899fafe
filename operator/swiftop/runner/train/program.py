"""One training: where it starts from, what it has reached, when it hangs, what its end means."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Optional

from .. import causes, preflight, trackers, training
from ..cachelock import Loading
from ..classify import EndedChild, Judged, shorten
from ..dropped import DroppedRows
from ..program import Context, Ended, Reached, Route, Step, fill
from ..protocol import FAILED, FINISHED, TrainSettings
from ..report import TRAINING
from ..typed_json import from_json
from . import checkpoints, culprit, log, swanlab, view
from .acceleration import Accelerator
from .log import EVALUATING, PREPARING, SAVING, LineReader, Report, TrainingLog, end_last_line
from .modules import linear_modules
from .outcome import EndedTraining, judge
from .start import Start, Starter
from .watchdog import Watchdog

SLOW_SECONDS = 5.0  # between two checks that ask more of the file system
EVALUATION_BAR = b"Val:"
NAMES_ROW = re.compile(r"\brow \d|rows were dropped")


class Train:
    """The program ``train``."""

    members = TRAINING
    routes: Mapping[str, Route] = {}

    def __init__(self, context: Context) -> None:
        self._context = context
        self._plan = context.plan
        self._settings = settings = from_json(TrainSettings, context.plan.settings)
        self._directory = context.directory
        self._log = TrainingLog(LineReader(self._directory / "logging.jsonl"))
        self._rows = DroppedRows()
        self._loading = Loading(context)
        self._accelerator = Accelerator(settings.acceleration) if settings.acceleration is not None else None
        self._start: Optional[Start] = None
        self._started = 0.0
        self._next_slow = 0.0
        self._saving: Optional[tuple[str, int, int]] = None
        self._output_seen = self._evaluation_seen = False
        self._watchdog = Watchdog(
            settings.stall_seconds,
            settings.logging_steps,
            settings.finish_timeout,
            silent_evaluation=settings.silent_evaluation,
            preparation_seconds=settings.preparation_seconds,
        )

    def begin(self) -> Optional[Ended]:
        """Whose directory, which execution, which checkpoint, and whether pod and image are as they must be."""
        problem = preflight.load_record(self._context.record)
        if problem is not None:
            return Ended(FAILED, problem)
        finished = self._context.record.finished
        if finished is not None:
            cause = causes.BY_REASON.get(finished, causes.MAX_EPOCHS)
            self._update_checkpoint()
            return Ended(FINISHED, Judged(cause, "this run had finished before, nothing is trained again"))
        problem = preflight.check_output(self._directory, self._plan.min_free_bytes)
        if problem is not None:
            return Ended(FAILED, problem)
        ended = self._choose_start()
        if ended is not None:
            return ended
        problem = self._check_pod()
        return None if problem is None else Ended(FAILED, problem)

    def steps(self) -> Iterator[Step]:
        """One process: ms-swift, or torch's launcher around it."""
        command = fill(self._plan.command, rank=self._context.rank, master_addr=self._plan.master_addr)
        command, folders = view.with_views(command)
        if folders:
            self._context.output.say(f"swiftop: ms-swift gets a writable view of {', '.join(folders)}")
        if self._start is not None and self._start.flags:
            command = (*command, *self._start.flags)
            self._context.output.say(f"swiftop: resuming from {self._start.path}")
        command, environ = self._accelerated(command)
        self._loading.begin()
        self._log.skip(end_last_line(self._directory / "logging.jsonl", repair=self._context.rank == 0))
        self._started = time.time()
        self._watchdog.preparing(time.monotonic())
        yield Step("training", command, environ=environ, elastic=self._plan.elastic)

    def _accelerated(self, command: tuple[str, ...]) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """The command with the acceleration's plugin, and the variables that it needs."""
        if self._accelerator is None:
            return command, {}
        command = self._accelerator.prepare(command, self._directory, self._context.environ)
        if self._accelerator.problem:
            self._context.output.say(f"swiftop: {self._accelerator.problem}")
        return command, self._accelerator.environ

    def _choose_start(self) -> Optional[Ended]:
        start = Starter(self._context, self._settings).choose()
        if isinstance(start, Judged):
            return Ended(FAILED, start)
        self._start = start
        if start is None:
            return None
        report, checkpoint = self._log.report, start.checkpoint
        if start.own:
            apply_checkpoint(report, checkpoint)
        if start.own or not start.weights_only:
            report.step = checkpoint.step  # a resumed run shows where it stands before its first logged step
        if not start.own:
            return None
        report.max_steps = checkpoint.max_steps
        if checkpoint.max_steps is not None and checkpoint.step >= checkpoint.max_steps:
            cause = causes.MAX_STEPS if self._settings.max_steps else causes.MAX_EPOCHS
            text = f"the last checkpoint is that of the last step, {checkpoint.step}"
            return Ended(FINISHED, Judged(cause, text))
        return None

    def _check_pod(self) -> Optional[Judged]:
        """Everything that would fail later and dearer."""
        problem = preflight.check(self._plan, self._context.environ)
        if problem is None and self._settings.swanlab_host and self._context.rank == 0:
            answer = swanlab.check(self._settings.swanlab_host, self._api_key(), sleep=self._context.signals.pause)
            self._log.report.tracker_workspace = answer.workspace
            problem = answer.problem
        if problem is None and self._plan.nodes > 1 and self._plan.master_addr:
            problem = preflight.wait_for_name(self._plan.master_addr, sleep=self._context.signals.pause)
        return problem

    def _api_key(self) -> str:
        return self._context.environ.get(swanlab.API_KEY, "")

    def saw(self, data: bytes) -> None:
        """Any output is a sign of life before the first step; only its bar tells that an evaluation goes on.

        What is said of dropped rows is said before the first step, and the pump need not look for it later.
        """
        self._output_seen = True
        if not self._log.train_lines:
            self._rows.feed(data.decode("utf-8", "replace"))
        if EVALUATION_BAR in data:
            self._evaluation_seen = True

    def check(self, now: float) -> Optional[str]:
        """Follow the log; why the training has to be ended."""
        self._follow_log(now)
        if now >= self._next_slow:
            self._next_slow = now + SLOW_SECONDS
            self._check_slowly(now)
        stopping = self._context.signals.stop_requested
        if not stopping and self._watchdog.preparation_stalled(now) and self._files_grow():
            self._watchdog.preparing(now)
        return self._watchdog.problem(
            now,
            seconds_per_step=self._log.report.seconds_per_step,
            nan_lines=self._log.nan_lines,
            stopping=stopping,
        )

    def _follow_log(self, now: float) -> None:
        if self._output_seen:
            self._output_seen = False
            self._watchdog.preparing(now)
        if self._log.poll() and self._log.train_lines:
            self._watchdog.sign_of_life(now)
            self._context.output.calm(now)
            if self._log.evaluations:
                self._watchdog.evaluated(now)
        if self._log.summary_seen:
            self._watchdog.summary(now)
        if self._evaluation_seen:
            self._evaluation_seen = False
            self._log.saw_evaluation()
            if self._log.report.phase == EVALUATING:
                self._watchdog.sign_of_life(now)

    def _check_slowly(self, now: float) -> None:
        if self._loading.locked and (self._log.lines or self._arguments_written()):
            self._loading.end(loaded=True)
        report = self._log.report
        if report.phase == PREPARING:
            return
        saving = checkpoints.saving(self._directory, self._started)
        if saving != self._saving:
            self._saving = saving
            self._watchdog.sign_of_life(now)
        if saving is not None and report.phase in (log.TRAINING, EVALUATING):
            report.phase = SAVING
        elif saving is None and report.phase == SAVING:
            report.phase = log.TRAINING
        self._update_checkpoint()

    def _files_grow(self) -> bool:
        """Whether a file of cache or output was written while nothing was printed, as by a silent download."""
        roots = [self._directory, *([Path(self._plan.cache_dir)] if self._plan.cache_dir else [])]
        return log.written_since(roots, time.time() - self._watchdog.preparation_limit)

    def _arguments_written(self) -> bool:
        """ms-swift writes ``args.json`` when model and datasets are loaded and encoded, just before the first step."""
        try:
            return (self._directory / "args.json").stat().st_mtime >= self._started - 1
        except OSError:
            return False

    def stop(self) -> None:
        """ms-swift saves by itself."""

    def judge(self, step: Step, end: EndedChild, evidence: str) -> Optional[Ended]:
        """The training is the only step: its end is that of the execution."""
        self._loading.end(loaded=self._log.lines > 0)
        self._log.poll()
        report = self._log.report
        ended = judge(
            EndedTraining(
                end=end,
                tail=evidence,
                step=report.step,
                max_steps=report.max_steps,
                loop_ended=self._log.loop_ended,
                asked_steps=self._settings.max_steps,
                asked_epochs=self._settings.asked_epochs,
                first_node=self._context.rank == 0,
                rows=self._rows,
            )
        )
        if ended.judged.cause is trackers.AUTH_FAILED and self._settings.swanlab_host:
            # ms-swift says the same of a server that has gone since the first check: ask again
            again = swanlab.check(self._settings.swanlab_host, self._api_key(), sleep=time.sleep)
            return Ended(ended.outcome, again.problem or ended.judged)
        return Ended(ended.outcome, self._explained(ended.judged))

    def _explained(self, judged: Judged) -> Judged:
        """What the message leaves open and the volumes tell: the row that is broken, the modules that there are."""
        found = ""
        if judged.cause is causes.DATASET_FORMAT and not NAMES_ROW.search(judged.message):
            found = culprit.find(self._plan.command, nulls="null" in judged.message)
        elif judged.cause is training.TARGET_MODULES_MISSING and (names := linear_modules(self._plan.command)):
            found = f"the model has {', '.join(names)}"
        return Judged(judged.cause, shorten(f"{found} ({judged.message})")) if found else judged

    def complete(self) -> Ended:
        """Never reached: ``judge`` ends with the one step."""
        return Ended(FAILED, Judged(causes.UNKNOWN, "the training has ended, and nobody knows how"))

    def conclude(self, ended: Ended) -> None:
        """The newest checkpoint, and a phase that fits the outcome."""
        if ended.outcome == FINISHED:
            self._log.report.phase = log.FINISHED
            self._log.report.eta_seconds = 0
        self._update_checkpoint()

    def report(self) -> dict[str, Any]:
        """Members of ``report.TRAINING``, and what the acceleration tells."""
        self._log.report.take_rows(self._rows)
        told = self._accelerator.report() if self._accelerator is not None else None
        return {**self._log.report.to_json(), "acceleration": told}

    def reached(self) -> Reached:
        """Last step and last kept checkpoint."""
        return Reached(self._log.report.step, self._log.report.checkpoint_step)

    def _update_checkpoint(self) -> None:
        """Newest complete checkpoint of the directory into the report."""
        report = self._log.report
        newest = checkpoints.candidates(self._directory)[:1]
        if newest and newest[0].name == f"checkpoint-{report.checkpoint_step}":
            return  # known already: its files need not be read again
        found = checkpoints.find(self._directory, world_size=self._plan.world_size, resumable=self._settings.resume)
        if found is not None:
            apply_checkpoint(report, found)


def apply_checkpoint(report: Report, found: checkpoints.Checkpoint) -> None:
    """Numbers of a checkpoint into the report."""
    report.checkpoint_step, report.checkpoint_time = found.step, round(found.time)
    report.checkpoint_eval_loss = found.eval_loss
    if found.best_step is not None:
        report.best_step, report.best_metric = found.best_step, found.best_metric
        report.best_eval_loss = found.best_eval_loss
