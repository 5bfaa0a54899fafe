"""ms-swift's own server around vLLM's real engine, on the CPU."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runner.harness import wait_until
from tests.runner.serve.served import BASE, HELLO, KEY, Served, adapter, events
from tests.runner.serve.test_answers import WEATHER
from tests.runner.serve.test_ends import Streaming
from tests.runner.serve.vllm import (
    LENGTH,
    PROMPT_TOKENS,
    PROMPT_TOKENS_OF_TOOLS,
    START_SECONDS,
    assert_that_the_others_answer,
    bench_with_vllm,
    processes,
    signal_engine,
    start_vllm,
    wait_until_it_streams,
    with_bad_adapters,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, vllm_assets: Path) -> Iterator[Served]:
    """``high`` has a rank above ms-swift's default, so that its first request would end the engine."""
    made = bench_with_vllm(tmp_path_factory.mktemp("swift") / "work", vllm_assets)
    started = start_vllm(made, adapter("ada"), adapter("bob"), adapter("high"), server="Swift", key=True)
    try:
        started.wait_until_ready(START_SECONDS)
        yield started
    finally:
        made.close()


def test_each_name_answers_with_its_own_weights_and_by_its_own_name(server: Served) -> None:
    names = (BASE, "ada", "bob", "high")
    assert server.told()["names"] == dict.fromkeys(names, "answering")
    answers = {name: server.chat(name).json() for name in names}
    assert [answer["model"] for answer in answers.values()] == list(names)
    assert len({answer["choices"][0]["message"]["content"] for answer in answers.values()}) == 4
    progress = server.execution.progress()
    assert (progress["server"], progress["serverWhy"]) == ("Swift", "Asked")


def test_the_prompt_is_that_of_the_training(server: Served) -> None:
    found = [answer.json()["usage"]["prompt_tokens"] for answer in (server.chat(), server.chat(tools=[WEATHER]))]
    assert found == [PROMPT_TOKENS, PROMPT_TOKENS_OF_TOOLS]


def test_the_key_is_in_no_log_and_no_command_line(server: Served) -> None:
    assert KEY not in server.execution.log
    assert not any(KEY in words for words in processes(server).values())


def test_tokens_are_counted_while_they_are_made(server: Served) -> None:
    tokens = f'swiftop_serve_tokens_total{{name="{BASE}"}}'
    before = server.metric(tokens)
    stream = Streaming(server, tokens=900)
    wait_until(lambda: before < server.metric(tokens) < before + 900, what="some of them")
    stream.join(60)
    assert stream.found[-1] == "[DONE]"
    assert server.metric(tokens) == before + 900
    assert server.chat(max_tokens=7).json()["usage"]["completion_tokens"] == 7
    assert server.metric(tokens) == before + 907


def test_a_stream_has_the_same_content(server: Served) -> None:
    whole = server.text("ada", max_tokens=30)
    with server.stream("ada", max_tokens=30, stream_options={"include_usage": True}) as response:
        *chunks, usage, done = events(response)
    assert done == "[DONE]"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == whole
    assert usage["usage"]["completion_tokens"] == 30


def test_max_completion_tokens_and_a_single_stop_word(server: Served) -> None:
    answer = server.chat(max_tokens=None, max_completion_tokens=3).json()
    assert (answer["usage"]["completion_tokens"], answer["choices"][0]["finish_reason"]) == (3, "length")
    text = server.text("ada", max_tokens=30)
    assert server.text("ada", max_tokens=30, stop=text[5:8]).startswith(text[:5])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"model": "nobody"}, 404, "model_not_found"),
        ({"messages": [{"role": "user", "content": "river " * 2000}]}, 400, "context_length_exceeded"),
        ({"max_tokens": 0}, 400, None),
        ({"response_format": {"type": "json_object"}}, 400, None),
    ],
)
def test_a_wrong_request_has_a_status(
    server: Served, asked: dict[str, Any], status: int, code: Any, stream: bool
) -> None:
    answer = server.chat(**asked, stream=stream)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


@pytest.mark.parametrize("stream", [False, True])
def test_generation_stops_when_the_client_leaves(server: Served, stream: bool) -> None:
    """No token is made for it any more."""
    tokens = f'swiftop_serve_tokens_total{{name="{BASE}"}}'
    left = f'swiftop_serve_requests_total{{name="{BASE}",outcome="left"}}'
    before, made = server.metric(left), server.metric(tokens)
    body = json.dumps({"model": BASE, "messages": HELLO, "max_tokens": 900, "stream": stream}).encode()
    with server.raw(body):
        wait_until_it_streams(server)
    wait_until(lambda: server.metric(left) == before + 1, seconds=5, what="its end")
    assert server.metric(tokens) - made < 900


def test_several_are_answered_at_once(server: Served) -> None:
    streams = [Streaming(server, tokens=600) for _ in range(3)]
    begun = time.monotonic()
    assert server.chat("ada", max_tokens=1).status_code == 200
    assert any(stream.is_alive() for stream in streams), time.monotonic() - begun
    for stream in streams:
        stream.join(60)
        assert stream.found[-1] == "[DONE]"


def test_the_model_answers_with_its_own_weights_beside_an_adapter(server: Served) -> None:
    """vLLM on the CPU gives every request of a batch an adapter once one has it; the image repairs that."""
    names = (BASE, "ada")
    alone = {name: _said(server, name) for name in names}
    for name, other in zip(names, reversed(names), strict=True):
        stream = Streaming(server, tokens=LENGTH - 100, model=other)
        wait_until_it_streams(server)
        text, probabilities = _said(server, name)
        assert stream.is_alive(), f"{other} had its answer before {name} had"
        stream.join(60)
        assert text == alone[name][0], name
        assert probabilities == pytest.approx(alone[name][1], abs=1e-3), name  # a batch adds up in another order


def _said(server: Served, name: str) -> tuple[str, list[float]]:
    """A greedy answer, and the logarithm of each token's probability."""
    (choice,) = server.chat(name, max_tokens=40, logprobs=True).json()["choices"]
    return choice["message"]["content"], [token["logprob"] for token in choice["logprobs"]["content"]]


def test_it_drains(server: Served) -> None:
    stream = Streaming(server, tokens=LENGTH - 100)
    server.execution.terminate()
    server.wait_for_state("draining", seconds=5)
    assert server.chat("ada").status_code == 200
    code, told = server.execution.end(60)
    stream.join(10)
    assert stream.found[-1] == "[DONE]"
    assert (code, told["reason"]) == (0, "Drained"), told


@pytest.fixture(scope="module")
def with_bad_ones(tmp_path_factory: pytest.TempPathFactory, vllm_assets: Path) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("bad") / "work"
    with with_bad_adapters(directory, vllm_assets, server="Swift") as started:
        yield started


def test_a_bad_adapter_is_named_and_the_others_answer(with_bad_ones: Served) -> None:
    """vLLM loads an adapter with the first request for it, and ends when that fails, for every name."""
    server = with_bad_ones
    assert_that_the_others_answer(server)


def test_an_engine_that_is_killed_ends_the_container(with_bad_ones: Served) -> None:
    """ms-swift would answer 400 to everybody, and be healthy."""
    server = with_bad_ones
    stream = Streaming(server, tokens=900)
    signal_engine(server, signal.SIGKILL)
    stream.join(30)
    assert stream.found[-1]["error"]["type"] == "server_error"
    assert server.client.get("/ready").status_code == 503
    assert server.chat().status_code == 503
    code, told = server.execution.end(60)
    assert (code, told["reason"]) == (13, "EngineDead"), told
