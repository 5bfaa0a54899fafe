"""The order of things: who are we, is there anything to do, may it start, run it, say how it ended."""

from __future__ import annotations

import os
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from . import causes, checkpoints, preflight, report, server, tracker
from .cachelock import CacheLock, keys
from .checkpoints import Checkpoint
from .classify import End, Verdict, last_lines
from .outcome import FAILED, FINISHED, INTERRUPTED, Facts, judge
from .plan import ENV, TERMINATION_LOG, BadPlan, Plan, fill, parse
from .process import Child, Output, memory_kills
from .progress import FINISHED as PHASE_FINISHED
from .progress import LineReader, Progress, Tracker, end_last_line
from .record import ForeignDirectory, Record, Superseded, Unreadable
from .redact import Redactor
from .supervise import Signals, Stopped, Supervisor, apply_checkpoint, snapshot, update_checkpoint

TELL_SECONDS = 60.0  # between two lines about a wait
UNSET = (ENV, "PAI_TRAINING_JOB_ID")  # the second would make ms-swift write no logging.jsonl


class Ended(Exception):
    """The run is over before the training started."""

    def __init__(self, outcome: str, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.outcome = outcome
        self.verdict = verdict


class Runner:
    """One execution of a run."""

    def __init__(self, plan: Plan, environ: Mapping[str, str]) -> None:
        self.plan = plan
        kept = {name: value for name, value in environ.items() if name not in UNSET}
        self.environ, self.cleaned = preflight.clean_secrets(plan.secret_env, kept)
        self.rank = int(environ.get("JOB_COMPLETION_INDEX") or 0) if plan.nodes > 1 else 0
        self.directory = Path(plan.output_dir)
        self.redactor = Redactor(environ[name] for name in plan.secret_env if name in environ)
        self.record = Record(self.directory, uid=plan.uid)
        self.signals = Signals()
        self.tracker = Tracker(LineReader(self.directory / "logging.jsonl"))
        self.output = Output(self.redactor, on_chunk=self._on_chunk)
        self.child: Optional[Child] = None
        self.supervisor: Optional[Supervisor] = None

    def run(self) -> int:
        """All of it; returns the exit code."""
        self.signals.install()
        http = server.start(self.plan.port, snapshot(self.tracker))
        if http is None:
            self.output.say(f"swiftop: port {self.plan.port} is taken, progress is in the log only")
        if self.cleaned:
            self.output.say(f"swiftop: removed blanks or line breaks around the value of {', '.join(self.cleaned)}")
        try:
            outcome, verdict = self._train()
        except Ended as end:
            outcome, verdict = end.outcome, end.verdict
        except Stopped:
            if self.plan.nodes > 1:
                self.record.leave_stop()
            text = "stopped on request before the training started"
            outcome, verdict = INTERRUPTED, Verdict(causes.INTERRUPTED, text)
        except Superseded as error:
            outcome, verdict = INTERRUPTED, Verdict(causes.INTERRUPTED, str(error))
        except Exception as error:
            outcome, verdict = FAILED, self._broken(error)
        return self._conclude(outcome, verdict)

    def _broken(self, error: Exception) -> Verdict:
        """Something that nobody foresaw. PID 1 must not die of it without a word, nor leave a training behind."""
        if self.child is None and isinstance(error, OSError):
            return preflight.storage_verdict(error, self.directory)
        self.output.say(traceback.format_exc().rstrip())
        if self.child is not None:
            self.child.kill()
            self.child.close()
        return Verdict(causes.UNKNOWN, f"the runner itself failed: {type(error).__name__}: {error}")

    def _train(self) -> tuple[str, Verdict]:
        checkpoint = self._prepare()
        self._check()
        command = fill(self.plan.command, rank=self.rank, master_addr=self.plan.master_addr)
        if checkpoint is not None and self.plan.resume:
            command = (*command, "--resume_from_checkpoint", checkpoint.path)
            self.output.say(f"swiftop: resuming from {checkpoint.path}")
        lock = self._lock_cache(command)
        self.tracker.skip(end_last_line(self.directory / "logging.jsonl", mend=self.rank == 0))
        kills = memory_kills()
        try:
            child = self.child = Child(command, environ=self.environ, output=self.output)
        except OSError as error:
            return FAILED, Verdict(causes.UNKNOWN, f"cannot start {command[0]}: {error}")
        supervisor = self.supervisor = Supervisor(
            self.plan,
            child=child,
            tracker=self.tracker,
            record=self.record,
            output=self.output,
            signals=self.signals,
            lock=lock,
        )
        supervisor.run(on_stop=self._announce_stop)
        child.close()
        if supervisor.superseded:
            raise Superseded("another execution of this run has taken over")
        return self._judge(child, supervisor, _rose(kills, memory_kills()))

    def _prepare(self) -> Optional[Checkpoint]:
        """Whose directory, which execution, which checkpoint; ends here when nothing is left to train."""
        self._load_record()
        if self.record.finished is not None:
            cause = causes.BY_REASON.get(self.record.finished, causes.MAX_EPOCHS)
            update_checkpoint(self.tracker.progress, self.plan)
            raise Ended(FINISHED, Verdict(cause, "this run had finished before, nothing is trained again"))
        _end_on(preflight.check_output(self.directory, self.plan.min_free_bytes))
        checkpoint = self._choose() if self.rank == 0 else self._follow()
        if checkpoint is not None:
            start_from(self.tracker.progress, checkpoint)
            if self.plan.resume and checkpoint.max_steps is not None and checkpoint.step >= checkpoint.max_steps:
                cause = causes.MAX_STEPS if self.plan.max_steps else causes.MAX_EPOCHS
                raise Ended(
                    FINISHED, Verdict(cause, f"the last checkpoint is that of the last step, {checkpoint.step}")
                )
        return checkpoint

    def _load_record(self) -> None:
        try:
            self.record.load()
        except ForeignDirectory as error:
            raise Ended(FAILED, Verdict(causes.OUTPUT_OCCUPIED, str(error))) from error
        except Unreadable as error:
            raise Ended(FAILED, Verdict(causes.OUTPUT_UNREADABLE, str(error))) from error

    def _choose(self) -> Optional[Checkpoint]:
        """On the first node: pick the newest complete checkpoint and write it down with this execution."""
        before = self.record.last_execution
        if before:
            end = f"{before['outcome']}: {before.get('message')}" if "outcome" in before else "without a word"
            self.output.say(f"swiftop: execution {before.get('epoch')} ended {end}")
        found = None
        if self.plan.resume:
            found = checkpoints.find(self.directory, world_size=self.plan.world_size, resumable=True)
        self.record.begin(
            attempt=self.plan.attempt,
            host=socket.gethostname(),
            command=self.plan.command,
            checkpoint=Path(found.path).name if found else None,
        )
        return found

    def _follow(self) -> Optional[Checkpoint]:
        """On the other nodes: wait for node 0's choice, for ranks that resume from different steps never meet.

        Without a limit: its pod may wait long for a GPU or its image, and the Job has a deadline of its own.
        """
        told = -TELL_SECONDS
        while not self.record.join(self.plan.attempt):
            if time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                self.output.say(f"swiftop: waiting for node 0 to begin attempt {self.plan.attempt}")
            self.signals.pause(1)
            self._load_record()
        name = self.record.last_execution.get("checkpoint")
        if not name:
            return None
        return checkpoints.read(self.directory / name, world_size=self.plan.world_size, resumable=False)

    def _check(self) -> None:
        """Everything that would fail later and dearer."""
        _end_on(preflight.check(self.plan, self.environ))
        key = self.environ.get(tracker.API_KEY, "")
        if self.plan.swanlab_host and self.rank == 0:
            answer = tracker.check(self.plan.swanlab_host, key, sleep=self.signals.pause)
            _end_on(answer.verdict)
            self.tracker.progress.tracker_workspace = answer.workspace
        if self.plan.nodes > 1 and self.plan.master_addr:
            _end_on(preflight.wait_for_name(self.plan.master_addr, sleep=self.signals.pause))

    def _lock_cache(self, command: tuple[str, ...]) -> Optional[CacheLock]:
        names = keys(command)
        if not self.plan.cache_dir or not names or self.rank != 0:
            return None
        lock = CacheLock(Path(self.plan.cache_dir), names)
        trouble = lock.acquire(stop=lambda: self.signals.stop_requested, sleep=self.signals.pause)
        if trouble:
            self.output.say(f"swiftop: no lock on the cache, going on without: {trouble}")
        return lock

    def _announce_stop(self) -> None:
        """Leave a message at once: when the grace period is too short for the save, there is no later."""
        self._report(INTERRUPTED, Verdict(causes.INTERRUPTED, "stopped on request, the checkpoint may be missing"))

    def _judge(self, child: Child, supervisor: Supervisor, memory_killed: Optional[bool]) -> tuple[str, Verdict]:
        progress = self.tracker.progress
        memory_killed = False if supervisor.ended_by is not None else memory_killed
        stopped = self.signals.stop_requested or (self.plan.nodes > 1 and self.record.stop_left)
        outcome, verdict = judge(
            Facts(
                end=End(child.exit_code, child.died_of, stopped, memory_killed),
                tail=self.output.evidence(),
                step=progress.step,
                max_steps=progress.max_steps,
                loop_ended=self.tracker.loop_ended,
                watchdog=supervisor.ended_by,
                asked_steps=self.plan.max_steps,
                asked_epochs="--max_epochs" in self.plan.command,
                first_node=self.rank == 0,
            )
        )
        if verdict.cause is causes.TRACKER_AUTH_FAILED and self.plan.swanlab_host:
            # ms-swift says the same of a server that has gone since the first check: ask again
            again = tracker.check(self.plan.swanlab_host, self.environ.get(tracker.API_KEY, ""), sleep=time.sleep)
            verdict = again.verdict or verdict
        return outcome, verdict

    def _conclude(self, outcome: str, verdict: Verdict) -> int:
        progress = self.tracker.progress
        if outcome == FINISHED:
            progress.phase = PHASE_FINISHED
            progress.eta_seconds = 0
        verdict = Verdict(verdict.cause, self.redactor.text(verdict.message))
        try:
            update_checkpoint(progress, self.plan)
            if self.record.epoch and self.rank == 0:
                self.record.end(
                    outcome=outcome, reason=verdict.cause.reason, message=verdict.message, step=progress.step
                )
        except Superseded:
            pass
        except Exception as error:  # whatever it is, the report below matters more
            self.output.say(f"swiftop: the outcome could not be written to the volume: {error}")
        if self.supervisor is not None:
            self.supervisor.print_progress()
        self._report(outcome, verdict)
        self.output.say(f"swiftop: {outcome} ({verdict.cause.reason}): {verdict.message}")
        if verdict.cause.suggestion:
            self.output.say(f"swiftop: {verdict.cause.suggestion}")
        return verdict.cause.exit_code

    def _report(self, outcome: str, verdict: Verdict) -> None:
        log = "" if outcome == FINISHED else last_lines(self.output.tail())
        message = report.termination_message(outcome, verdict, log=log, progress=self.tracker.progress.to_json())
        report.write(Path(self.plan.termination_log), message)

    def _on_chunk(self, data: bytes) -> None:
        if self.supervisor is not None:
            self.supervisor.on_chunk(data)


def start_from(progress: Progress, checkpoint: Checkpoint) -> None:
    """A resumed run shows where it stands before its first logged step."""
    progress.step, progress.max_steps = checkpoint.step, checkpoint.max_steps
    apply_checkpoint(progress, checkpoint)


def _end_on(verdict: Optional[Verdict]) -> None:
    if verdict is not None:
        raise Ended(FAILED, verdict)


def _rose(before: Optional[int], after: Optional[int]) -> Optional[bool]:
    return None if before is None or after is None else after > before


def main() -> int:
    """Entry of the zip file."""
    try:
        plan = parse(os.environ.get(ENV))
    except BadPlan as error:
        verdict = Verdict(causes.UNKNOWN, f"unusable plan: {error}")
        sys.stderr.write(f"swiftop: {verdict.message}\n")
        report.write(Path(TERMINATION_LOG), report.termination_message(FAILED, verdict, log="", progress={}))
        return verdict.cause.exit_code
    return Runner(plan, os.environ).run()
