"""The guard before vLLM's own server: the real engine, on the CPU. What it does right is passed on."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from swiftop.runner.protocol import ServedAdapter
from tests.runner.harness import wait_until
from tests.runner.serve.served import BASE, HELLO, KEY, Served, adapter, events
from tests.runner.serve.test_answers import WEATHER
from tests.runner.serve.test_ends import Streaming
from tests.runner.serve.vllm import (
    PROMPT_TOKENS,
    PROMPT_TOKENS_OF_TOOLS,
    START_SECONDS,
    assert_that_the_others_answer,
    bench_with_vllm,
    declare,
    loaded,
    processes,
    running,
    signal_engine,
    start_vllm,
    wait_until_it_streams,
    with_bad_adapters,
)

CITY = {"type": "json_schema", "json_schema": {"name": "city", "schema": {
    "type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"],
    "additionalProperties": False,
}}}  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, vllm_assets: Path) -> Iterator[Served]:
    """The model's chat template differs from that of the training, so one is made that does not."""
    made = bench_with_vllm(tmp_path_factory.mktemp("native") / "work", vllm_assets)
    started = start_vllm(made, adapter("ada"), adapter("bob"), adapter("high"), server="Native", key=True)
    try:
        started.wait_until_ready(START_SECONDS)
        yield started
    finally:
        made.close()


def test_the_engine_s_own_server_was_taken_and_it_is_told_why(server: Served) -> None:
    wait_until(lambda: server.execution.progress().get("phase") == 2, what="the report")
    progress = server.execution.progress()
    assert (progress["server"], progress["serverWhy"]) == ("Native", "TemplateMadeEqual")
    assert "served by the own server of vllm (TemplateMadeEqual)" in server.execution.log
    assert sum("api_server" in words for words in processes(server).values()) == 1


def test_each_name_answers_with_its_own_weights_and_by_its_own_name(server: Served) -> None:
    names = (BASE, "ada", "bob", "high")
    assert server.told()["names"] == dict.fromkeys(names, "answering")
    answers = {name: server.chat(name).json() for name in names}
    assert [answer["model"] for answer in answers.values()] == list(names)
    assert len({answer["choices"][0]["message"]["content"] for answer in answers.values()}) == 4


def test_keys_are_in_no_log_and_no_command_line(server: Served) -> None:
    assert KEY not in server.execution.log
    assert not any(KEY in words or "api-key" in words for words in processes(server).values())
    with httpx.Client(base_url=server.client.base_url, trust_env=False) as client:
        assert client.post("/v1/chat/completions", json={"model": BASE}).status_code == 401


@pytest.mark.parametrize("path", ["/docs", "/tokenize", "/v1/load_lora_adapter", "/v1/unload_lora_adapter"])
def test_nothing_else_of_the_engine_s_server_is_open(server: Served, path: str) -> None:
    assert {server.client.get(path).status_code, server.client.post(path, json={}).status_code} == {404}


def test_a_stream_has_the_same_content(server: Served) -> None:
    whole = server.text("ada", max_tokens=30)
    with server.stream("ada", max_tokens=30, stream_options={"include_usage": True}) as response:
        *chunks, usage, done = events(response)
    assert done == "[DONE]"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == whole
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 30)
    with server.stream("ada", max_tokens=30) as response:
        assert not any(chunk.get("usage") for chunk in events(response)[:-1])


def test_max_completion_tokens_and_a_single_stop_word(server: Served) -> None:
    answer = server.chat(max_tokens=None, max_completion_tokens=3).json()
    assert (answer["usage"]["completion_tokens"], answer["choices"][0]["finish_reason"]) == (3, "length")
    text = server.text("ada", max_tokens=30)
    assert server.text("ada", max_tokens=30, stop=text[5:8]) == text[:5]


def test_an_answer_has_the_form_that_was_asked_for(server: Served) -> None:
    answer = json.loads(server.text("ada", max_tokens=60, response_format=CITY))
    assert answer["city"] in ("Paris", "Rome")


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called(server: Served, stream: bool) -> None:
    asked: dict[str, Any] = {"tools": [WEATHER], "max_tokens": 200}
    choice = {"type": "function", "function": {"name": "weather"}}
    if stream:
        with server.stream("ada", tool_choice=choice, **asked) as response:
            *chunks, done = events(response)
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
        calls = [call for delta in deltas for call in delta.get("tool_calls") or ()]
        assert (done, {call["index"] for call in calls}) == ("[DONE]", {0})
        assert [call["function"]["name"] for call in calls if call["function"].get("name")] == ["weather"]
        return
    message = server.chat("ada", tool_choice=choice, **asked).json()["choices"][0]["message"]
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["weather"]
    assert server.chat("ada", tool_choice="auto", **asked).status_code == 200  # there is a parser


def test_the_prompt_is_that_of_ms_swift(server: Served) -> None:
    """Its default system prompt, of which the model's own chat template knows nothing, and its way to tell tools."""
    assert server.chat().json()["usage"]["prompt_tokens"] == PROMPT_TOKENS
    assert server.chat(tools=[WEATHER]).json()["usage"]["prompt_tokens"] == PROMPT_TOKENS_OF_TOOLS


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"model": "nobody"}, 404, "model_not_found"),
        ({"messages": [{"role": "user", "content": "river " * 2000}]}, 400, "context_length_exceeded"),
        ({"max_tokens": 0}, 400, None),
        ({"messages": "hello"}, 400, None),
    ],
)
def test_a_wrong_request_has_a_status(
    server: Served, asked: dict[str, Any], status: int, code: Any, stream: bool
) -> None:
    answer = server.chat(**asked, stream=stream)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_text_is_completed_as_it_is(server: Served) -> None:
    answer = server.client.post("/v1/completions", json={"model": "ada", "prompt": "river", "max_tokens": 4}).json()
    assert (answer["object"], answer["model"]) == ("text_completion", "ada")
    assert answer["usage"]["prompt_tokens"] < 5  # no chat template around it


@pytest.mark.parametrize("stream", [False, True])
def test_the_engine_stops_when_the_client_leaves(server: Served, stream: bool) -> None:
    left = f'swiftop_serve_requests_total{{name="{BASE}",outcome="left"}}'
    before = server.metric(left)
    asked = {"model": BASE, "messages": HELLO, "max_tokens": 900, "n": 32, "ignore_eos": True, "stream": stream}
    with server.raw(json.dumps(asked).encode()):
        wait_until(lambda: running(server) > 0, what="the request in the engine")
    begun = time.monotonic()
    wait_until(lambda: running(server) == 0, seconds=5, what="its end")
    assert time.monotonic() - begun < 1.5
    assert server.metric(left) == before + 1


def test_several_are_answered_at_once(server: Served) -> None:
    streams = [Streaming(server, tokens=300) for _ in range(3)]
    begun = time.monotonic()
    assert server.chat("ada", max_tokens=1).status_code == 200
    assert any(stream.is_alive() for stream in streams), time.monotonic() - begun
    for stream in streams:
        stream.join(60)
        assert stream.found[-1] == "[DONE]"


def test_metrics_count_by_name(server: Served) -> None:
    before = server.counts("bob")
    usage = server.chat("bob").json()["usage"]
    with server.stream("bob") as response:
        events(response)
    counted = [now - known for now, known in zip(server.counts("bob"), before, strict=True)]
    assert counted == [2, 2 * usage["completion_tokens"], 2 * usage["prompt_tokens"], 2]


def test_openai_s_own_client_understands_it(server: Served) -> None:
    told = server.run_inside("openai_client.py", f"http://127.0.0.1:{server.port}", "chat")
    text = told.pop("text")
    assert told == {
        "models": [BASE, "ada", "bob", "high"],
        "model": "ada",
        "streamed": text,
        "usage": True,
        "helped": ["assistant", text, "length"],
        "wrong key": "AuthenticationError invalid_api_key",
        "unknown": "NotFoundError model_not_found",
        "too long": "BadRequestError context_length_exceeded",
        "too long in a stream": "BadRequestError context_length_exceeded",
    }


class Asking(threading.Thread):
    """A client that asks an adapter for one stream after the other."""

    def __init__(self, server: Served, name: str, **asked: Any) -> None:
        super().__init__(daemon=True)
        self._server, self._name, self._asked = server, name, asked
        self._over = threading.Event()
        self.texts: list[str] = []
        self.wrong: list[Any] = []
        self.start()

    def run(self) -> None:
        while not self._over.is_set():
            with self._server.stream(self._name, **self._asked) as response:
                *chunks, last = events(response)
            if last != "[DONE]" or {chunk["model"] for chunk in chunks} != {self._name}:
                self.wrong.append((response.status_code, last))
            self.texts.append("".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks))

    def end(self) -> None:
        self._over.set()
        self.join(120)
        assert not self.is_alive()


def _taken(server: Served, *adapters: ServedAdapter) -> dict[str, Any]:
    """What the report says once these were taken."""
    digest = declare(server.bench, *adapters)

    def taken() -> dict[str, Any] | None:
        told = server.execution.progress()
        return told if told.get("adapters") == digest else None

    found: dict[str, Any] = wait_until(taken, seconds=300, what="the report of a change")
    return found


def test_adapters_come_change_and_go_while_answers_are_given(server: Served) -> None:
    """Each answer is of one set of weights from its first token to its last, and none fails."""
    asked = {"max_tokens": 60, "ignore_eos": True}
    before = {name: server.text(name, **asked) for name in ("ada", "bob", "high")}
    clients = [Asking(server, "ada", **asked) for _ in range(2)]
    wait_until(lambda: all(client.texts for client in clients), seconds=60, what="answers of the old weights")
    told = _taken(server, adapter("ada", "high"), adapter("bob"))  # and high has gone
    assert (told["names"], told["answering"], told.get("badAdapter")) == (3, 3, None)
    answered = [len(client.texts) for client in clients]
    wait_until(
        lambda: all(len(client.texts) > known + 1 for client, known in zip(clients, answered, strict=True)),
        seconds=60,
        what="answers of the new ones",
    )
    for client in clients:
        client.end()
        assert client.wrong == []
        assert (client.texts[0], client.texts[-1]) == (before["ada"], before["high"])
        changed = client.texts.index(before["high"])
        assert client.texts == [before["ada"]] * changed + [before["high"]] * (len(client.texts) - changed)
    # The same prompt again, of which the engine has cached what the old weights made of it.
    assert server.text("ada", **asked) == before["high"]
    assert server.text("bob", **asked) == before["bob"]
    assert server.chat("ada").json()["model"] == "ada"
    assert server.chat("high").status_code == 404
    wait_until(lambda: len(loaded(server)) == 3, what="the end of the old weights")
    assert not {"ada", "high"} & set(loaded(server))


def test_what_cannot_be_taken_is_told_and_the_rest_goes_on(server: Served) -> None:
    before = server.text("bob")
    told = _taken(server, adapter("ada"), adapter("bob", "nothing"), adapter("eve", "huge"))
    assert (told["phase"], told["badAdapter"], told["badAdapterWhy"]) == (2, "bob", "AnswersAsBase")
    assert server.client.get("/ready").status_code == 200
    assert server.told()["names"]["ada"] == "answering"
    assert "answering as before" in server.told()["names"]["bob"]
    assert server.text("bob") == before
    refused = server.chat("eve")
    assert refused.status_code == 503
    assert "its rank is 520, and vLLM serves none above 512: merge it" in refused.text
    told = _taken(server, adapter("ada"), adapter("bob"), adapter("high"))
    assert (told["names"], told["answering"], told.get("badAdapter")) == (4, 4, None)


def test_it_drains(server: Served) -> None:
    """vLLM itself would go on to answer 500 on a port that stays open, or leave its clients without an end."""
    stream = Streaming(server, tokens=900)
    wait_until_it_streams(server)
    server.execution.terminate()
    server.wait_for_state("draining", seconds=5)
    assert server.client.get("/ready").status_code == 503
    assert server.chat("ada").status_code == 200  # taken while it drains
    code, told = server.execution.end(60)
    stream.join(10)
    assert stream.found[-1] == "[DONE]"
    assert (code, told["reason"]) == (0, "Drained"), told


@pytest.fixture(scope="module")
def with_bad_ones(tmp_path_factory: pytest.TempPathFactory, vllm_assets: Path) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("bad") / "work"
    with with_bad_adapters(directory, vllm_assets, server="Auto", stall_seconds=6.0) as started:
        yield started


def test_a_bad_adapter_is_named_and_the_others_answer(with_bad_ones: Served) -> None:
    server = with_bad_ones
    assert_that_the_others_answer(server)
    wait_until(lambda: server.execution.progress().get("badAdapter"), what="the report")
    assert server.execution.progress()["badAdapter"] in ("nothing", "cut")


def test_an_engine_that_hangs_ends_the_container(with_bad_ones: Served) -> None:
    server = with_bad_ones
    signal_engine(server, signal.SIGSTOP)
    answer = server.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_failed")
    code, told = server.execution.end(60)
    assert (code, told["reason"]) == (9, "EngineStalled"), told


def test_an_engine_that_is_killed_ends_the_container(tmp_path: Path, vllm_assets: Path) -> None:
    """vLLM's own server then ends with exit code 0. Swift would encode otherwise than this model's own template."""
    made = bench_with_vllm(tmp_path / "work", vllm_assets)
    try:
        server = start_vllm(made, adapter("ada"), server="Native", drain_seconds=0.5)
        server.wait_until_ready(START_SECONDS)
        stream = Streaming(server, tokens=900)
        wait_until_it_streams(server)
        signal_engine(server, signal.SIGKILL)
        stream.join(30)
        assert stream.found[-1]["error"]["type"] == "server_error"
        code, told = server.execution.end(60)
        assert (code, told["reason"]) == (13, "EngineDead"), told
    finally:
        made.close()


@pytest.mark.parametrize(("server", "reason"), [("Native", "TemplateDiffers")])
def test_a_prompt_that_cannot_be_kept_is_told_before_anything_is_loaded(
    tmp_path: Path, vllm_assets: Path, server: str, reason: str
) -> None:
    """A template that takes thoughts out of earlier answers, of which no chat template is made."""
    made = bench_with_vllm(tmp_path / "work", vllm_assets)
    try:
        started = start_vllm(made, server=server, words=("--template", "qwen3"))
        code, told = started.execution.end(120)
        assert (code, told["reason"]) == (3, reason), told
        assert "ms-swift has" in told["message"]
    finally:
        made.close()
