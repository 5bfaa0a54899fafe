"""The order of things, for any program: is there anything to do, run its processes, say how it ended."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable, Optional

from . import causes, preflight, server, termination
from .advice import suggestion
from .classify import Judged, last_lines
from .export.program import Export
from .output import Output
from .program import Context, Ended, Program
from .protocol import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    PLAN_VARIABLE,
    PROGRESS_PREFIX,
    REPORT_VERSION,
    TERMINATION_LOG,
    BadPlan,
    Plan,
)
from .record import Record, Superseded
from .redact import Redactor
from .report import BadRow, read, read_acceleration
from .serve.program import Serve
from .signals import Signals, Stopped
from .supervise import CannotStart, Supervisor
from .train.program import Train
from .typed_json import BadJSON
from .upload.program import Upload

Programs = Mapping[str, Callable[[Context], Program]]
PROGRAMS: Programs = {"train": Train, "export": Export, "upload": Upload, "serve": Serve}
UNSET = (PLAN_VARIABLE, "PAI_TRAINING_JOB_ID")  # the second would make ms-swift write no logging.jsonl
_PR_SET_DUMPABLE = 4


class Runner:
    """One execution of a program."""

    def __init__(self, plan: Plan, environ: Mapping[str, str], make: Callable[[Context], Program]) -> None:
        kept = {name: value for name, value in environ.items() if name not in UNSET}
        cleaned, self._cleaned = preflight.clean_secrets(plan.secret_env, kept)
        self._plan = plan
        self._redactor = Redactor(environ[name] for name in plan.secret_env if name in environ)
        self._output = Output(self._redactor, on_chunk=self._saw)
        self._context = Context(
            plan=plan,
            environ=cleaned,
            rank=int(environ.get("JOB_COMPLETION_INDEX") or 0) if plan.nodes > 1 else 0,
            output=self._output,
            signals=Signals(),
            record=Record(Path(plan.output_dir), uid=plan.owner.uid),
        )
        self._program = make(self._context)
        self._supervisor = Supervisor(
            self._context, self._program, print_progress=self._print_progress, on_stop=self._announce_stop
        )

    def run(self) -> int:
        """All of it; returns the exit code."""
        self._context.signals.install()
        if server.start(self._plan.port, self._report, self._program.members, self._program.routes) is None:
            self._output.say(f"swiftop: port {self._plan.port} is taken, progress is in the log only")
        if self._cleaned:
            self._output.say(f"swiftop: removed blanks or line breaks around the value of {', '.join(self._cleaned)}")
        try:
            ended = self._execute()
        except Stopped:
            if self._plan.nodes > 1:
                self._context.record.leave_stop()
            ended = Ended(INTERRUPTED, Judged(causes.INTERRUPTED, "stopped on request before its work started"))
        except Superseded as error:
            ended = Ended(INTERRUPTED, Judged(causes.INTERRUPTED, str(error)))
        except Exception as error:
            ended = Ended(FAILED, self._broken(error))
        return self._conclude(ended)

    def _execute(self) -> Ended:
        ended = self._program.begin()
        if ended is not None:
            return ended
        for step in self._program.steps():
            try:
                end = self._supervisor.run(step)
            except CannotStart as error:
                return Ended(FAILED, Judged(causes.UNKNOWN, str(error)))
            ended = self._program.judge(step, end, self._output.evidence())
            if ended is not None:
                return ended
        return self._program.complete()

    def _broken(self, error: Exception) -> Judged:
        """Something that nobody foresaw. PID 1 must leave a message, and no process behind."""
        directory = self._context.directory
        if isinstance(error, OSError) and (self._supervisor.child is None or preflight.is_full(error, directory)):
            self._supervisor.abandon()
            return preflight.storage_failure(error, directory)
        self._output.say(traceback.format_exc().rstrip())
        self._supervisor.abandon()
        return Judged(causes.UNKNOWN, f"the runner itself failed: {type(error).__name__}: {error}")

    def _conclude(self, ended: Ended) -> int:
        judged = Judged(ended.judged.cause, self._redactor.text(ended.judged.message))
        bad_rows = tuple(BadRow(bad.line, self._redactor.text(bad.why)) for bad in ended.bad_rows)
        ended = Ended(ended.outcome, judged, bad_rows)
        try:
            self._program.conclude(ended)
            self._write_end(ended)
        except Superseded:
            pass
        except Exception as error:  # whatever it is, the message below matters more
            self._output.say(f"swiftop: the outcome could not be written to the volume: {error}")
        if self._supervisor.child is not None:
            self._print_progress()
        self._leave_message(ended)
        self._output.say(f"swiftop: {ended.outcome} ({judged.cause.reason}): {judged.message}")
        if advised := suggestion(judged.cause, self._plan.program):
            self._output.say(f"swiftop: {advised}")
        return judged.cause.exit_code

    def _write_end(self, ended: Ended) -> None:
        record, reached = self._context.record, self._program.reached()
        if record.epoch and self._context.rank == 0:
            record.end(
                outcome=ended.outcome,
                reason=ended.judged.cause.reason,
                message=ended.judged.message,
                step=reached.step,
                kept_step=reached.kept_step,
            )

    def _saw(self, data: bytes) -> None:
        self._program.saw(data)  # the output is made before the program

    def _announce_stop(self) -> None:
        """Leave a message at once: when the grace period is too short for the save, there is no later."""
        text = "stopped on request, the checkpoint may be missing"
        self._leave_message(Ended(INTERRUPTED, Judged(causes.INTERRUPTED, text)))

    def _leave_message(self, ended: Ended) -> None:
        log = "" if ended.outcome == FINISHED else last_lines(self._output.tail())
        message = termination.termination_message(ended, log=log, progress=self._report(), program=self._plan.program)
        termination.write(Path(self._plan.termination_log), message)

    def _report(self) -> dict[str, Any]:
        """What ``GET /progress`` tells, filtered as its readers do: an odd value from the outside is left out."""
        told = self._program.report()
        document: dict[str, Any] = {"version": REPORT_VERSION, **read(self._program.members, told)}
        accelerated = read_acceleration(told)
        if accelerated is not None:
            document["acceleration"] = accelerated.to_json()
        previous = self._context.record.previous
        return {**document, "previous": [one.to_json() for one in previous]} if previous else document

    def _print_progress(self) -> None:
        """The line that the operator reads from the log when it cannot reach the pod."""
        self._output.say(PROGRESS_PREFIX + json.dumps(self._report(), allow_nan=False))


def close_memory() -> None:
    """Keep the children, which run code of models and of other people, from reading this process' environment."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def main(programs: Programs = PROGRAMS, environ: Optional[Mapping[str, str]] = None) -> int:
    """Entry of the zip file."""
    environ = os.environ if environ is None else environ
    if os.getpid() == 1:
        close_memory()
    try:
        plan = Plan.from_json(environ.get(PLAN_VARIABLE))
        make = programs.get(plan.program)
        if make is None:
            raise BadPlan(f"there is no program {plan.program!r}")
        runner = Runner(plan, environ, make)
    except BadJSON as error:  # of the plan, or of the settings in it
        judged = Judged(causes.UNKNOWN, f"unusable plan: {error}")
        sys.stderr.write(f"swiftop: {judged.message}\n")
        message = termination.termination_message(Ended(FAILED, judged), log="", progress={})
        termination.write(Path(TERMINATION_LOG), message)
        return judged.cause.exit_code
    return runner.run()
