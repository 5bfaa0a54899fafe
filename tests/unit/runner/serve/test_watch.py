"""When the guard asks, what it takes for the end, and what it tells PID 1."""

from __future__ import annotations

import pytest

from swiftop.runner import causes
from swiftop.runner.report import DRAINING, LOADING, READY, SERVING, read
from tests.unit.runner.serve.pod import ADA, BASE, settled, started


async def test_an_idle_server_is_asked_one_token_now_and_then() -> None:
    pod = await started(ADA)
    for _ in range(4):
        pod.clock.now += 29
        pod.watch.check()
        pod.clock.now += 2
        pod.watch.check()
        pod.watch.check()
        await settled(pod)
    assert [asked["model"] for _, asked in pod.backend.asked] == ["base", "ada", "base", "ada"]


async def test_a_busy_server_is_not_asked_and_stays_ready() -> None:
    pod = await started()
    call = pod.board.begin("base")
    for _ in range(10):
        pod.clock.now += 25
        call.beat(1)
        pod.watch.check()
    await settled(pod)
    assert (pod.backend.asked, pod.readiness.ready) == ([], True)


async def test_requests_that_all_fail_are_no_sign_that_it_can_answer() -> None:
    pod = await started()
    pod.weights["base"] = [RuntimeError("broken")]
    pod.clock.now += 31
    pod.board.end(pod.board.begin("base"), "error")
    pod.watch.check()
    await settled(pod)
    assert pod.readiness.cause is causes.BY_REASON["EngineDead"]


@pytest.mark.parametrize("waiting", ["client", "probe"])
async def test_silence_while_something_waits_is_the_end(waiting: str) -> None:
    pod = await started()
    pod.board.begin("base", probe=waiting == "probe")
    pod.clock.now += 59
    pod.watch.check()
    assert pod.readiness.healthy
    pod.clock.now += 2
    pod.watch.check()
    assert pod.readiness.cause is causes.BY_REASON["EngineStalled"]
    assert "no token for 61 s" in pod.readiness.failure


async def test_an_engine_that_says_that_it_is_dead() -> None:
    pod = await started()
    pod.backend.why_dead = "its thread has ended"
    pod.watch.check()
    assert (pod.readiness.cause, pod.readiness.ready) == (causes.BY_REASON["EngineDead"], False)


async def test_one_failure_of_a_question_is_none_and_two_of_an_adapter_are_its_own() -> None:
    pod = await started(ADA)
    pod.weights["base"] = [RuntimeError("once"), BASE]
    pod.clock.now += 31
    pod.watch.check()
    await settled(pod)
    assert pod.readiness.ready
    pod.weights["ada"] = [RuntimeError("always")]
    pod.clock.now += 31
    pod.watch.check()
    await settled(pod)
    assert (pod.why(), pod.readiness.healthy) == ({"ada": "Failing"}, True)


async def test_what_pid_1_is_told() -> None:
    pod = await started(ADA)
    first = read(SERVING, pod.told[0])
    assert (first["phase"], first["names"], first["answering"], first["loadSeconds"]) == (LOADING, 2, 0, 12.3)
    pod.clock.now += 1
    call = pod.board.begin("ada")
    pod.watch.check()
    pod.watch.check()
    told = read(SERVING, pod.told[-1])
    assert (told["phase"], told["inFlight"], told["queued"], told["requests"]) == (READY, 1, 1, 0)
    pod.clock.now += 0.5
    call.beat(6)
    pod.board.end(call, "ok")
    pod.readiness.draining = True
    told = read(SERVING, pod.watch.state())
    assert (told["phase"], told["tokens"], told["requests"], told["firstTokenSeconds"]) == (DRAINING, 6, 1, 0.5)
    assert set(pod.watch.state()) == {member.name for member in SERVING}
