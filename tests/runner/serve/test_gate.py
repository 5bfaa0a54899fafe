"""The gate with real ms-swift: a pod that answers rightly becomes ready, one that does not ends and says what came."""

from __future__ import annotations

from swiftop.runner.protocol import GatePrompt
from tests.runner.harness import Bench
from tests.runner.serve.served import BASE, Served, adapter, start

SAID = "the answer is swift"


def gated(volume: Bench, *prompts: GatePrompt) -> Served:
    return start(volume, adapter("ada"), gate=prompts, drain_seconds=30.0)


def test_right_answers_open_it(volume: Bench) -> None:
    volume.local("say").write_text(SAID)
    server = start(volume, gate=(GatePrompt(BASE, "Who are you?", "swift"), GatePrompt(BASE, "And?", "answer is")))
    server.wait_until_ready()
    assert server.told()["gate"] == "passed"
    assert server.metric("swiftop_serve_requests_total") == 0


def test_a_wrong_answer_ends_it_at_once(volume: Bench) -> None:
    server = gated(volume, GatePrompt(BASE, "Who are you?", ""), GatePrompt("ada", "Who?", "never said", max_tokens=3))
    code, told = server.execution.end(180)
    assert (code, told["reason"]) == (12, "GateFailed"), told
    assert told["message"].startswith('prompt 2 of 2, asked of ada: the answer does not contain "never said", it was "')
    assert told["suggestion"]
    assert told["progress"]["answering"] == 2


def test_a_prompt_that_is_too_long_is_told(volume: Bench) -> None:
    server = gated(volume, GatePrompt(BASE, "river " * 2000, "x"))
    code, told = server.execution.end(180)
    assert (code, told["reason"]) == (12, "GateFailed"), told
    assert "prompt 1 of 1, asked of tiny: it is refused" in told["message"]
