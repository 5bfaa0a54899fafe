"""ms-swift over a stub of vLLM: what the guard sees of an engine that has processes and adapters of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runner.harness import Bench, wait_until
from tests.runner.serve.served import BASE, HELLO, Served, adapter, bench, events, start
from tests.runner.trainer import ASSETS, FAKES


def with_stub(directory: Path, assets: Path) -> Bench:
    shutil.copytree(FAKES / "engine_stubs", assets / "engine_stubs", dirs_exist_ok=True)
    made = bench(directory, assets)
    made.environ = {**made.environ, "PYTHONPATH": f"{ASSETS}/engine_stubs"}
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, served_assets: Path) -> Iterator[Served]:
    made = with_stub(tmp_path_factory.mktemp("vllm") / "work", served_assets)
    running = start(made, key=True, backend="vllm", engine="vllm", drain_seconds=0.0)
    running.wait_until_ready()
    yield running
    made.close()


def test_tokens_are_counted_while_they_are_made(server: Served) -> None:
    before = server.metric("swiftop_serve_tokens_total")
    with server.demanding(slow="0.2"), server.stream(max_tokens=20) as response:
        wait_until(lambda: server.metric("swiftop_serve_tokens_total") - before >= 3, what="tokens")
        found = events(response)
    assert found[-1] == "[DONE]"
    assert server.metric("swiftop_serve_tokens_total") - before == 20
    assert server.chat(max_tokens=7).json()["usage"]["completion_tokens"] == 7
    assert server.metric("swiftop_serve_tokens_total") - before == 27


@pytest.mark.parametrize("stream", [False, True])
def test_the_engine_is_told_when_the_client_leaves(server: Served, stream: bool) -> None:
    before = server.execution.log.count("stub aborted")
    body = json.dumps({"model": BASE, "messages": HELLO, "max_tokens": 900, "stream": stream}).encode()
    with server.demanding(slow="0.1"):
        with server.raw(body):
            wait_until(lambda: server.metric("swiftop_serve_in_flight") == 1, what="the request")
            wait_until(lambda: server.metric("swiftop_serve_queued") == 0, what="its first token")
        wait_until(lambda: server.execution.log.count("stub aborted") > before, what="the abort")


def test_an_engine_that_dies_ends_the_server(server: Served) -> None:
    with server.demanding(engine_dies="yes"):
        answer = server.chat()
        code, told = server.execution.end(60)
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")
    assert (code, told["reason"]) == (13, "EngineDead"), told


def test_an_adapter_that_the_engine_ignores_is_never_served(tmp_path: Path, served_assets: Path) -> None:
    """The stub answers each name alike, as sglang and lmdeploy do through ms-swift."""
    made = with_stub(tmp_path / "work", served_assets)
    try:
        running = start(made, adapter("ada"), backend="vllm", engine="vllm")
        running.wait_for_state("serving")
        wait_until(lambda: "as the model without" in str(running.told()), what="the check")
        assert running.client.get("/ready").status_code == 503
        assert running.chat("ada").status_code == 503
        assert running.chat(BASE).status_code == 200
        assert '"enable_lora": true, "max_loras": 1, "max_lora_rank": 16' in running.execution.log
    finally:
        made.close()
