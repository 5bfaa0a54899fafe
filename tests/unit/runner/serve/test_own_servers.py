"""What differs between the engines' own servers."""

from __future__ import annotations

import pytest

from swiftop.runner.serve.own_servers import OWN_SERVERS, counts


def words(engine: str, *command: str, chat_template: str = "", agent_template: str = "") -> tuple[str, ...]:
    server = OWN_SERVERS[engine]
    found = server.words(command, port=5, chat_template=chat_template, agent_template=agent_template)
    assert found[: len(command)] == command
    return found[len(command) :]


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ("vllm", "--host 127.0.0.1 --port 5 --chat-template t --enable-auto-tool-choice --tool-call-parser hermes"),
        ("sglang", "--host 127.0.0.1 --port 5 --chat-template t --tool-call-parser qwen25"),
    ],
)
def test_what_only_the_pod_knows(engine: str, expected: str) -> None:
    assert " ".join(words(engine, "x", chat_template="t", agent_template="hermes")) == expected


def test_a_parser_that_was_asked_for_stays() -> None:
    assert words("vllm", "x", "--tool-call-parser", "pythonic", agent_template="hermes")[4:] == ()


def test_of_an_unknown_way_to_call_tools_no_parser_is_named() -> None:
    assert words("lmdeploy", "x", agent_template="toolbench") == ("--server-name", "127.0.0.1", "--server-port", "5")


def test_metrics_are_summed_over_their_labels() -> None:
    page = b'# HELP a b\na{name="x 1"} 2\na{name="y"} 3.5\nb 1e3\nbroken\nc NaNa\n'
    assert counts(page) == {"a": 5.5, "b": 1000.0}
