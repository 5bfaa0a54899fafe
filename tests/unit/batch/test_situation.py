"""What the rules ask of a situation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from swiftop.batch.observe import Observed
from swiftop.batch.situation import Policy, Situation, gone_at, is_retry, resuming, unreadable
from swiftop.model.facts import Cause, PodFacts
from swiftop.model.verdict import Blocked, Verdict
from tests.unit.batch.facts import (
    DONE,
    EVICTED,
    FAILED,
    JOB,
    NEW,
    PLACED,
    PREPARING,
    RUNS,
    START,
    WORKING,
    at,
    ended,
    interruption,
    rank,
    said,
    situation,
)

PAIR = Policy(ranks=2)
LEAVING = replace(RUNS, deleting=at(200))


@pytest.mark.parametrize(
    ("found", "started"),
    [
        (situation(), False),
        (situation(Observed(JOB, (PLACED,))), False),
        (situation(Observed(JOB, (RUNS,))), True),
        (situation(started=at(10)), True),  # by an attempt that is gone
    ],
)
def test_whether_anything_has_started(found: Situation, *, started: bool) -> None:
    assert found.has_started is started


def test_what_is_counted_is_what_is_written_down_of_the_newest_attempt() -> None:
    observed = Observed(replace(FAILED, attempt=2, retries=4))
    assert situation(observed).retries == 4  # of the Job's annotation
    assert situation(observed, retries=5).retries == 5  # of the status
    assert situation(retries=1).retries == 1
    assert not situation(following=3).counted  # without a Job nothing has failed
    assert [situation(observed, following=attempt).counted for attempt in (0, 2, 3)] == [False, False, True]


@pytest.mark.parametrize(
    ("observed", "policy", "apart"),
    [
        (Observed(JOB, (RUNS, rank(RUNS, 1))), PAIR, True),
        (Observed(JOB, (NEW,)), PAIR, True),
        (Observed(JOB), PAIR, False),  # nobody looks for it yet
        (Observed(JOB, (RUNS, rank(RUNS, 1)), heard={"phase": 0}), PAIR, False),  # they have met
        (Observed(JOB, (RUNS,)), Policy(), False),
    ],
)
def test_whether_ranks_may_be_looking_for_their_service(observed: Observed, policy: Policy, *, apart: bool) -> None:
    assert situation(observed, policy=policy).apart is apart
    assert situation(observed, readable=False).apart is False


@pytest.mark.parametrize(
    ("observed", "known", "doing"),
    [
        (Observed(JOB, (RUNS,)), "", PREPARING),
        (Observed(JOB, (RUNS,)), "it works", WORKING),  # not heard yet, as after a restart of the operator
        (Observed(JOB, (RUNS,), heard={}), "it works", PREPARING),
        (Observed(JOB, (RUNS,), heard={"phase": 0}), "it works", PREPARING),
        (Observed(JOB, (RUNS,), heard={"phase": 1}), "", WORKING),
        (Observed(JOB, (RUNS,), reachable=False), "", WORKING),  # who cannot be heard is taken to work
    ],
)
def test_what_a_container_does(observed: Observed, known: str, doing: Cause) -> None:
    assert situation(observed, doing=known).doing == doing


@pytest.mark.parametrize(
    ("observed", "recorded", "again"),
    [
        (Observed(JOB, (RUNS,)), {}, False),
        (Observed(JOB, (RUNS,)), {"started": at(10)}, False),  # its own start
        (Observed(JOB, (EVICTED, replace(RUNS, name="b", uid="b"))), {}, True),
        (Observed(replace(JOB, attempt=2), (RUNS,)), {}, True),
        (Observed(JOB, (RUNS,)), {"interruptions": (interruption("gone"),)}, True),
    ],
)
def test_whether_a_container_loads_again(observed: Observed, recorded: dict[str, Any], *, again: bool) -> None:
    assert situation(observed, **recorded).loads_again is again


@pytest.mark.parametrize(
    ("pods", "started", "again"),
    [
        ((RUNS,), "", False),
        ((RUNS, rank(RUNS, 1)), "", False),  # two ranks, one execution
        ((EVICTED,), "", True),
        ((DONE, replace(RUNS, name="b", uid="b")), "", True),
        ((RUNS,), at(10), True),
    ],
)
def test_whether_an_execution_follows_another(pods: tuple[PodFacts, ...], started: str, *, again: bool) -> None:
    assert situation(Observed(JOB, pods), started=started).again_in_attempt is again


@pytest.mark.parametrize(
    ("pods", "now", "left"),
    [
        ((RUNS,), 100, None),
        ((LEAVING,), 100, 160.0),
        ((LEAVING, rank(replace(RUNS, deleting=at(150)), 1)), 100, 110.0),  # the first of them
        ((LEAVING,), 260, None),  # it is
        ((LEAVING, rank(replace(RUNS, deleting=at(150)), 1)), 220, 40.0),  # one is, the other not yet
        ((ended(1, deleting=at(200)),), 100, None),  # it has ended
    ],
)
def test_when_a_pod_that_should_go_is_overdue(pods: tuple[PodFacts, ...], now: float, left: float | None) -> None:
    assert situation(Observed(JOB, pods), now=now).until_overdue == left
    assert gone_at(LEAVING) == START + 260


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, 200.0),
        ({"waiting_since": at(50)}, 250.0),
        ({"now": 300}, 0.0),
        ({"now": 1000}, 0.0),
        ({"started": at(10)}, None),
        ({"readable": False}, None),
        ({"policy": Policy()}, None),
        ({"policy": Policy(pending_deadline=0)}, 0.0),
    ],
)
def test_how_long_it_may_still_wait(changes: dict[str, Any], left: float | None) -> None:
    assert situation(**{"policy": Policy(pending_deadline=300), **changes}).until_deadline == left


BESIDE = said("failed", "DiskFull", phase="Running")  # ended at second 90


@pytest.mark.parametrize(
    ("pods", "now", "beside"),
    [
        ((), 100, False),
        ((BESIDE,), 99, False),  # the Job controller may be about to say so
        ((BESIDE,), 100, True),
        ((ended(1),), 1000, False),  # the whole pod has ended
        ((BESIDE, rank(RUNS, 1)), 100, False),
        ((BESIDE, rank(ended(1), 1)), 100, True),
        ((BESIDE, rank(said("failed", "DiskFull", phase="Running", finished=at(95)), 1)), 100, False),
        ((replace(BESIDE, deleting=at(300)),), 100, False),  # it goes by itself
        ((replace(BESIDE, disruption="EvictionByEvictionAPI"),), 100, False),
    ],
)
def test_whether_another_container_alone_keeps_the_pod(pods: tuple[PodFacts, ...], now: float, *, beside: bool) -> None:
    assert situation(Observed(JOB, pods), now=now).ended_beside_others is beside


@pytest.mark.parametrize(
    ("observed", "finished", "failed"),
    [
        (Observed(), False, False),
        (Observed(JOB, (DONE,)), False, False),
        (Observed(JOB, (BESIDE,)), False, True),
        (Observed(JOB, (ended(0, phase="Running"),)), True, False),
        (Observed(FAILED, (DONE,)), True, False),
        (Observed(FAILED, (BESIDE,)), False, True),
        (Observed(replace(JOB, deleting=True), (BESIDE,)), False, False),
        (Observed(replace(FAILED, deleting=True), (BESIDE,)), False, True),  # its end was told before
    ],
)
def test_whether_the_newest_attempt_is_done_or_has_failed(observed: Observed, *, finished: bool, failed: bool) -> None:
    found = situation(observed)
    assert (found.finished, found.failure is not None) == (finished, failed)


def test_advice_speaks_of_results_only_where_there_are_any() -> None:
    assert situation().advice == "apply a run with a new name to try again"
    assert situation(output=True).advice == "work is kept; apply a run with a new name to try again"


def test_a_spec_that_cannot_be_read_is_told_even_without_its_own_words() -> None:
    stalled = Blocked(Cause("InvalidSpec", "the spec cannot be read"), stalled=True)
    assert unreadable(situation(readable=False)) == Verdict(stalled)
    own = Blocked(Cause("UnknownFlag", "what is --x"), stalled=True)
    assert unreadable(situation(readable=False, unreadable=own)) == Verdict(own)


@pytest.mark.parametrize(
    ("reason", "retry", "told"),
    [("HubUnreachable", True, "HubUnreachable"), ("Evicted", False, "Resuming"), ("PodDeleted", False, "Resuming")],
)
def test_what_is_said_of_the_next_attempt(reason: str, *, retry: bool, told: str) -> None:
    cause = Cause(reason, "so it was", "advice", "log")
    assert is_retry(cause) is retry
    assert resuming(cause, "and goes on") == Cause(told, "so it was; and goes on", "advice", "log")
