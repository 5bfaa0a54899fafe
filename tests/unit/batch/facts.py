"""Facts of a Job and its pods, as the tests of deciding and reporting want them. Times are seconds after START."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from swiftop import names
from swiftop.batch.decide import decide
from swiftop.batch.interruptions import Interruption
from swiftop.batch.observe import Observed
from swiftop.batch.situation import Policy, Recorded, Situation, Words
from swiftop.model.facts import Cause, Ended, JobFacts, Outcome, PodFacts, Report
from swiftop.model.times import seconds_of, text_of
from swiftop.model.verdict import Delete, Ensure, Phase, Verdict, Waiting
from swiftop.reasons import Reason
from swiftop.runner.report import Previous

START = seconds_of("2027-01-15T08:00:00Z")


def at(seconds: float) -> str:
    """That many seconds after the creation of the run."""
    return text_of(START + seconds)


WORDS = Words(thing="run", working="it works", preparing="it prepares", finished="it is finished", kept="work is kept")

JOB = JobFacts(name="run-1", uid="j1", owner_uid="r", attempt=1, started=True, active=1)
FAILED = replace(JOB, failed=True, active=0, failure_reason="BackoffLimitExceeded", finished=at(100))
COMPLETE = replace(JOB, complete=True, active=0, finished=at(100))

NEW = PodFacts(name="a", uid="a", index=0, created=at(1), phase="Pending")
PLACED = replace(NEW, scheduled=True, scheduled_at=at(2), node="n1")
RUNS = replace(PLACED, phase="Running", running_since=at(10))


def ended(
    code: int = 1, reason: str = "Error", *, outcome: Outcome | None = None, pod: PodFacts = PLACED, **changes: Any
) -> PodFacts:
    """A pod whose main container ran from second 10 to second 90."""
    message = changes.pop("message", "the end of its log")
    finished = changes.pop("finished", at(90))
    end = Ended(exit_code=code, reason=reason, message=message, started=at(10), finished=finished, outcome=outcome)
    return replace(pod, **{"phase": "Succeeded" if code == 0 else "Failed", "ended": end, **changes})


def said(outcome: str, reason: str, code: int = 20, *, report: Report | None = None, **changes: Any) -> PodFacts:
    """A pod whose runner came to tell how it ended."""
    words = Outcome(outcome=outcome, reason=reason, message="in its words", report=report or {})
    return ended(0 if outcome == "finished" else code, "", outcome=words, **changes)


DONE = ended(0, "Completed")
EVICTED = ended(
    75, disruption="EvictionByEvictionAPI", disruption_message="drained",
    outcome=Outcome(outcome="interrupted", reason="Interrupted"),
)  # fmt: skip


def rank(pod: PodFacts, index: int, **changes: Any) -> PodFacts:
    """The same facts of another rank."""
    return replace(pod, index=index, name=f"a{index}", uid=f"a{index}", **changes)


def interruption(pod: str, *, step: int | None = None, kept: int | None = None, seconds: float = 90) -> Interruption:
    """One that is written down already."""
    return Interruption(time=at(seconds), cause="Evicted", pod=pod, step=step, kept=kept)


def situation(
    observed: Observed | None = None,
    *,
    now: float = 100,
    policy: Policy | None = None,
    readable: bool = True,
    **changes: Any,
) -> Situation:
    """A situation; ``changes`` are members of Recorded, or of the situation itself."""
    own = {name: changes.pop(name) for name in ("unreadable", "source") if name in changes}
    recorded = Recorded(**{"waiting_since": at(0), **changes})
    known = (policy or Policy()) if readable else None
    return Situation(
        policy=known, recorded=recorded, observed=observed or Observed(), words=WORDS, now=START + now, **own
    )


def verdict(observed: Observed | None = None, **changes: Any) -> Verdict:
    """What is decided about it."""
    return decide(situation(observed, **changes))


JOB_CREATED = Cause(Reason.JOB_CREATED, "the Job is created, its pod not yet")
LOST = Previous(pod="gone", time=int(START + 50), reason="Lost", step=7, kept_step=5)

NO_GPU = Cause("InsufficientGPU", "no GPU")
PULL = Cause("ImagePullFailed", "no image")
QUOTA = Cause("QuotaExceeded", "no room")
VOLUME = Cause("VolumePending", "no volume")
CLAIM = Cause("ClaimMissing", "no claim")
ADVICE = "apply a run with a new name to try again"
KEPT = f"work is kept; {ADVICE}"


def waits(phase: Phase, cause: Cause, *, resuming: bool = False, failed: Cause | None = None) -> Waiting:
    """It waits."""
    return Waiting(phase, cause, resuming=resuming, failed=failed)


BEFORE = Ensure(replace=True)  # of a run of which no container has started yet
WORKING = Cause("Running", "it works")
PREPARING = Cause("Loading", "it prepares")
STARTING = Cause("Starting", "pulling the image, mounting the volumes")
NETWORK = said("failed", "HubUnreachable", 7)
THREE = (interruption("p0", kept=10), interruption("p1", kept=10), interruption("p2", kept=10), interruption("p3"))
DELETE = Delete(names.JOB, "run-1", "j1")
DEAD = replace(RUNS, deleting=at(30))  # should have ended at second 30
