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
LEFT_OUT = {"ddp": 0.78, "zero2": 0.26}  # a step of three; of its four batches that whose gradient was no number
EVENTS: dict[str, tuple[bool, str]] = {  # in the second process: whether layers stay fused in both, and the word if not
    "sound": (True, ""),
    "nan loss": (False, "NotANumber"),
    "nan gradient": (False, "NotANumber"),
    "canary": (False, "CheckFailed"),
    "partly": (False, "OtherProcess"),
    "raises": (False, "RuntimeError"),
    "unsuited": (False, "OlderThanAmpere"),
    "kernel": (False, "CompileFailed"),  # until the step is over torch's operations take its place
}
BEFORE_THE_FIRST_STEP = ("canary", "partly", "raises", "unsuited")
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
        assert first["learned"] == pytest.approx(LEFT_OUT[engine], abs=0.03)
    else:
        assert 0 < first["learned"] < BFLOAT16


@pytest.mark.parametrize("event", MEMORY)
def test_a_process_without_memory_computes_its_batch_again_and_the_other_waits(event: str) -> None:
    first, second = results()[f"ddp/{event}"]
    assert 0 < first["learned"] == second["learned"] < BFLOAT16
    for found in first, second:  # from the next step on: each waits for the slowest anyway
        assert (found["checkpointing"], found["skipped"]) == (True, {"checkpointing": "OutOfMemory"})


def test_deepspeed_has_adapters_of_sixteen_bits_and_ddp_of_thirty_two() -> None:
    assert {found["types"][0] for found in results()["zero2/sound"]} == {"torch.bfloat16"}
    assert {found["types"][0] for found in results()["ddp/sound"]} == {"torch.float32"}
