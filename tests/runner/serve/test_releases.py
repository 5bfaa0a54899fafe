"""The guard around older releases of ms-swift, whose modules and tokens of a stream are others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runner.harness import Bench
from tests.runner.serve.served import BASE, Served, adapter, events, start
from tests.runner.trainer import ASSETS, ENVIRON, enter
from tests.swift_versions.environments import environment

RELEASES = ("3.7", "3.12")


@pytest.fixture(scope="module", params=RELEASES)
def server(request: pytest.FixtureRequest, served_assets: Path) -> Iterator[Served]:
    """The release takes the place of the volume, and the volume lies among the assets."""
    release = environment(request.param)
    name = f"work-{request.param}"
    volume = served_assets / name
    volume.mkdir()
    volume.chmod(0o777)
    bench = Bench(
        volume,
        prefix=enter(release.store, served_assets),
        python=release.python,
        mounted=f"{ASSETS}/{name}",
        environ={**ENVIRON, "DS_BUILD_OPS": "0"},
    )
    running = start(bench, adapter("ada"), key=True, backend="pt")
    running.wait_until_ready()
    yield running
    bench.close()


def test_it_answers_by_name(server: Served) -> None:
    assert server.told()["names"] == {BASE: "answering", "ada": "answering"}
    assert server.text("ada") != server.text(BASE)
    assert server.chat("nobody").status_code == 404
    assert server.chat("ada").json()["model"] == "ada"


def test_it_streams(server: Served) -> None:
    with server.stream("ada", max_completion_tokens=20, max_tokens=None) as response:
        *chunks, done = events(response)
    assert done == "[DONE]"
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == server.text("ada", max_tokens=20)
    assert server.metric('swiftop_serve_tokens_total{name="ada"}') > 0


def test_errors_have_a_status(server: Served) -> None:
    long = [{"role": "user", "content": "river " * 2000}]
    for stream in (False, True):
        answer = server.chat(messages=long, stream=stream)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_the_turn_after_a_call_is_understood(server: Served) -> None:
    function = {"name": "weather", "arguments": '{"city": "Paris"}'}
    turns = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "tool_calls": [{"id": "c1", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    ]
    assert server.chat(messages=turns).status_code == 200


def test_it_drains(server: Served) -> None:
    server.execution.terminate()
    code, told = server.execution.end(60)
    assert (code, told["reason"]) == (0, "Drained"), told
