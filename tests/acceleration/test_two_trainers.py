"""Two processes train together: their layers are fused in both or in none, whatever goes wrong in one of them.

The real trainer, DistributedDataParallel and DeepSpeed's ZeRO 2, on the CPU.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest

from tests.swift_versions.environments import environment

BFLOAT16 = 0.05  # relatively, of what three steps have learned: roundings that differ between fused and plain layers
STEP_LEFT_OUT = pytest.approx(0.78, abs=0.02)  # of three, the one whose gradient was no number
EVENTS: dict[str, tuple[bool, str]] = {  # in the second process: whether layers stay fused in both, and the word if not
    "sound": (True, ""),
    "nan loss": (False, "NotANumber"),
    "nan gradient": (False, "NotANumber"),
    "canary": (False, "CheckFailed"),
    "partly": (False, "CheckFailed"),
    "raises": (False, "RuntimeError"),
    "kernel": (True, ""),  # torch's operations take its place
}
BEFORE_THE_FIRST_STEP = ("canary", "partly", "raises")
MEMORY = ("memory, forward", "memory, backward")
CASES = [f"{engine}/{event}" for engine in ("ddp", "zero2") for event in EVENTS] + [f"ddp/{event}" for event in MEMORY]


@functools.cache
def results() -> dict[str, list[dict[str, Any]]]:
    """What both processes of each case gave."""
    output = environment("4.6-triton").run("tests/acceleration/two_trainers.py", *CASES, fresh=True)
    found: dict[str, list[dict[str, Any]]] = json.loads(output.rpartition("RESULTS\n")[2])
    return found


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("engine", ["ddp", "zero2"])
def test_layers_are_fused_in_both_processes_or_in_none(engine: str, event: str) -> None:
    fused, word = EVENTS[event]
    for found in results()[f"{engine}/{event}"]:
        assert found, "a process has not ended"
        assert found["fused"] is fused
        assert found["skipped"] == (dict.fromkeys(("linears", "mlp"), word) if word else {})


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("engine", ["ddp", "zero2"])
def test_what_is_learned_is_what_plain_layers_learn(engine: str, event: str) -> None:
    first, second = results()[f"{engine}/{event}"]
    assert first["losses"] == second["losses"]
    assert first["learned"] == second["learned"]
    if event in BEFORE_THE_FIRST_STEP:
        assert first["learned"] == 0
    elif event == "nan gradient":
        assert first["learned"] == STEP_LEFT_OUT
    else:
        assert 0 < first["learned"] < BFLOAT16


@pytest.mark.parametrize("event", MEMORY)
def test_a_process_without_memory_computes_its_batch_again_and_the_other_waits(event: str) -> None:
    first, second = results()[f"ddp/{event}"]
    assert 0 < first["learned"] == second["learned"] < BFLOAT16
    assert (first["checkpointing"], first["skipped"]) == (None, {})
    assert (second["checkpointing"], second["skipped"]) == (True, {"checkpointing": "OutOfMemory"})


def test_deepspeed_has_adapters_of_sixteen_bits_and_ddp_of_thirty_two() -> None:
    assert {found["types"][0] for found in results()["zero2/sound"]} == {"torch.bfloat16"}
    assert {found["types"][0] for found in results()["ddp/sound"]} == {"torch.float32"}
