"""When a training that still runs has to be ended. Pure: facts and a clock in, a decision out.

Three ways to hang or to run in vain:
- no step for too long (a collective that never returns). An evaluation or a save is a sign of life as long as it
  moves. The limit is never below five logging intervals, nor below twice the longest silence that the training came
  back from, so that slow steps are not taken for a stall. Nothing is called a stall while nobody can know how long a
  silence has to be: before the speed is known, and before the first evaluation of a run whose evaluations show no
  progress bar. Before the first step loading and compiling take what they take: there any output and any growing file
  is a sign of life, and the patience is never below half an hour;
- the tracker's upload after the last step, which SwanLab waits for without end when its server is gone. The model is
  saved by then, so the run is finished;
- a loss that is NaN, several times in a row: the weights are lost, each further hour is wasted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

STALLED, FLUSHING, NOT_A_NUMBER = "no sign of progress", "its tracker does not finish", "the loss is NaN"
LOGGING_INTERVALS = 5
SILENCES = 2
NAN_LINES = 5
STOPPING_SECONDS = 15.0  # patience with the upload once the pod itself is asked to stop


@dataclass
class Watchdog:
    """Times are of one monotonic clock."""

    stall_seconds: Optional[float]
    logging_steps: Optional[int]  # None: not logged by steps
    finish_timeout: float
    silent_evaluation: bool = False  # one is to come that shows nothing until it ends
    preparation_seconds: float = 1800.0  # least patience before the first step
    prepared_since: Optional[float] = None  # last sign of life before the first step
    longest_silence: float = 0.0
    last_sign: Optional[float] = None
    summary_since: Optional[float] = None

    def sign_of_life(self, now: float) -> None:
        """A logged line, a moving evaluation or a growing checkpoint. Counts once training has begun."""
        if self.last_sign is not None:
            self.longest_silence = max(self.longest_silence, now - self.last_sign)
        self.last_sign = now

    def preparing(self, now: float) -> None:
        """A sign of life before the first step; the first one is the start of the process."""
        self.prepared_since = max(now, self.prepared_since or now)

    def preparation_stalled(self, now: float) -> bool:
        """Whether the preparation shows no sign of life for too long."""
        if self.stall_seconds is None or self.last_sign is not None or self.prepared_since is None:
            return False
        return now - self.prepared_since >= self.preparation_limit

    @property
    def preparation_limit(self) -> float:
        """Seconds without a sign of life that count as a stall before the first step."""
        return max(self.stall_seconds or 0.0, self.preparation_seconds)

    def evaluated(self, now: float) -> None:
        """The result of an evaluation is there: how long its silence is has been seen."""
        self.sign_of_life(now)
        self.silent_evaluation = False

    def summary(self, now: float) -> None:
        """The last line of the log is there."""
        if self.summary_since is None:
            self.summary_since = now

    def limit(self, seconds_per_step: Optional[float]) -> Optional[float]:
        """Seconds without a sign that count as a stall, None when stalls are not watched."""
        if self.stall_seconds is None or self.silent_evaluation:
            return None
        interval = (self.logging_steps or 0) * (seconds_per_step or 0)
        if not interval and not self.longest_silence:
            return None
        return max(self.stall_seconds, LOGGING_INTERVALS * interval, SILENCES * self.longest_silence)

    def problem(
        self, now: float, *, seconds_per_step: Optional[float], nan_lines: int, stopping: bool
    ) -> Optional[str]:
        """What is wrong now, None when nothing is."""
        if self.summary_since is not None:
            patience = min(self.finish_timeout, STOPPING_SECONDS) if stopping else self.finish_timeout
            return FLUSHING if now - self.summary_since >= patience else None
        if nan_lines >= NAN_LINES:
            return NOT_A_NUMBER
        if self.preparation_stalled(now) and not stopping:
            return STALLED
        limit = self.limit(seconds_per_step)
        if limit is not None and self.last_sign is not None and not stopping and now - self.last_sign >= limit:
            return STALLED
        return None
