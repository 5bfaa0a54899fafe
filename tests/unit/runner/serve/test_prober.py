"""What the guard finds out by its own questions, and when it asks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from swiftop.runner import causes
from swiftop.runner.protocol import DRAINING, LOADING, NOT_READY, READY, SERVING, ServedAdapter, read
from swiftop.runner.serve.board import Board
from swiftop.runner.serve.prober import Prober
from swiftop.runner.serve.readiness import Readiness
from swiftop.runner.serve.watch import Watch
from tests.unit.runner.serve.fake_backend import FakeBackend, until
from tests.unit.runner.serve.test_board import Clock

BASE = -1.0


class Pod:
    """A guard without a server. ``weights``: what each name would say, or the exception that it raises."""

    def __init__(self, *adapters: ServedAdapter, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.weights: dict[str, list[Any]] = {"base": [BASE]}
        self.backend = FakeBackend()
        self.backend.reply = self._reply
        names = ("base", *(adapter.name for adapter in adapters))
        self.board, self.readiness = Board(names, self.clock), Readiness(names)
        self.prober = Prober(self.backend, self.board, self.readiness, base="base", adapters=adapters)
        self.told: list[Mapping[str, Any]] = []
        self.watch = Watch(
            self.backend, self.board, self.readiness, self.prober,
            tell=self.told.append, stall_seconds=60, load_seconds=12.34, clock=self.clock,
            also={"server": "Swift", "serverWhy": "Asked"},
        )  # fmt: skip

    def _reply(self, asked: Mapping[str, Any]) -> tuple[int, list[Any]]:
        said = self.weights[asked["model"]]
        chance = said.pop(0) if len(said) > 1 else said[0]
        if isinstance(chance, Exception):
            return 200, [chance]
        tops = [{"token": "a", "bytes": [97], "logprob": chance}, {"token": "b", "bytes": [98], "logprob": -9.0}]
        return 200, [json.dumps({"choices": [{"logprobs": {"content": [{"top_logprobs": tops}]}}]}).encode()]

    def why(self) -> dict[str, str]:
        return {name: word for name, (word, _) in self.readiness.bad.items()}


ADA, BOB = ServedAdapter("ada", "alice/ada"), ServedAdapter("bob", "alice/bob")


async def test_all_names_answer_with_their_own_weights() -> None:
    pod = Pod(ADA, BOB)
    pod.weights.update(ada=[-2.0], bob=[-3.0])
    await pod.prober.check_all()
    assert (pod.readiness.ready, pod.why()) == (True, {})
    assert pod.board.requests() == 0
    assert {asked["max_tokens"] for _, asked in pod.backend.asked} == {1}


@pytest.mark.parametrize(
    ("ada", "bob", "why"),
    [
        ([BASE], [-3.0], {"ada": "AnswersAsBase"}),
        ([-2.0], [-2.0], {"bob": "AnswersAsAnother"}),
        ([RuntimeError("size mismatch")], [-3.0], {"ada": "LoadFailed"}),
        ([ValueError("no such file")], [BASE], {"ada": "LoadFailed", "bob": "AnswersAsBase"}),
    ],
)
async def test_a_bad_adapter_is_not_served_and_the_others_are(ada: Any, bob: Any, why: dict[str, str]) -> None:
    pod = Pod(ADA, BOB)
    pod.weights.update(ada=ada, bob=bob)
    await pod.prober.check_all()
    assert pod.why() == why
    assert pod.readiness.healthy
    assert not pod.readiness.ready
    assert pod.readiness.answering == tuple(name for name in ("base", "ada", "bob") if name not in why)
    told = read(SERVING, pod.watch.state())
    assert (told["phase"], told["badAdapter"], told["badAdapterWhy"]) == (NOT_READY, *next(iter(why.items())))


async def test_an_adapter_of_another_model() -> None:
    pod = Pod(ADA)
    pod.weights.update(ada=[-2.0])
    pod.backend.misfits["ada"] = "layer 7 is in one of them only"
    await pod.prober.check_all()
    assert pod.why() == {"ada": "OtherModel"}


async def test_two_names_of_one_adapter(tmp_path: Path) -> None:
    for name in ("ada", "bob"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_model.safetensors").write_bytes(b"same")
    pod = Pod(*(ServedAdapter(name, str(tmp_path / name)) for name in ("ada", "bob")))
    pod.weights.update(ada=[-2.0], bob=[-2.0])
    await pod.prober.check_all()
    assert pod.readiness.ready


async def test_an_engine_that_answers_never_twice_the_same_has_to_differ_by_more() -> None:
    pod = Pod(ADA)
    # The base is asked twice before the adapter is, and two times two afterwards.
    pod.weights.update(base=[BASE, BASE, BASE, BASE, BASE + 0.01, BASE], ada=[BASE + 0.015])
    await pod.prober.check_all()
    assert pod.why() == {"ada": "AnswersAsBase"}


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        ([RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")], "CUDAOutOfMemory"),
        ([RuntimeError("nobody knows")], "EngineDead"),
        ([BASE, BASE, -2.0, -2.0, -2.0, -2.0], "AdapterInvalid"),  # an adapter that changes the model itself
    ],
)
async def test_a_model_that_does_not_answer_rightly_ends_it(base: list[Any], reason: str) -> None:
    pod = Pod(ADA)
    pod.weights.update(base=base, ada=[-3.0])
    await pod.prober.check_all()
    assert pod.readiness.cause is causes.BY_REASON[reason]
    assert not pod.readiness.healthy


async def settled(pod: Pod) -> None:
    """Until the question of its own is answered."""
    for _ in range(20):
        await asyncio.sleep(0)


async def started(*adapters: ServedAdapter) -> Pod:
    pod = Pod(*adapters)
    pod.weights.update(ada=[-2.0], bob=[-3.0])
    running = asyncio.ensure_future(pod.watch.run())
    await until(lambda: pod.readiness.ready)
    running.cancel()
    await settled(pod)
    pod.backend.asked.clear()
    return pod


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


async def test_an_adapter_that_cannot_be_loaded_is_never_asked() -> None:
    pod = Pod(ADA, BOB)
    pod.weights.update(ada=[-2.0], bob=[-3.0])
    pod.backend.unloadable["ada"] = "its rank is too high"
    await pod.prober.check_all()
    assert pod.backend.loaded == ["ada", "bob"]
    assert "its rank is too high" in pod.readiness.bad["ada"][1]
    assert pod.readiness.answering == ("base", "bob")
    assert "ada" not in {asked["model"] for _, asked in pod.backend.asked}
