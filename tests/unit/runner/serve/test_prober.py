"""What the guard finds out by its own questions, name by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from swiftop.runner import causes
from swiftop.runner.protocol import ServedAdapter
from swiftop.runner.report import NOT_READY, SERVING, read
from tests.unit.runner.serve.pod import ADA, BASE, BOB, Pod


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


async def test_an_adapter_that_cannot_be_loaded_is_never_asked() -> None:
    pod = Pod(ADA, BOB)
    pod.weights.update(ada=[-2.0], bob=[-3.0])
    pod.backend.unloadable["ada"] = "its rank is too high"
    await pod.prober.check_all()
    assert pod.backend.loaded == ["ada", "bob"]
    assert "its rank is too high" in pod.readiness.bad["ada"][1]
    assert pod.readiness.answering == ("base", "bob")
    assert "ada" not in {asked["model"] for _, asked in pod.backend.asked}
