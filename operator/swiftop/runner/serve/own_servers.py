"""The engines' own servers: what differs between them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .upstream import HOST


@dataclass(frozen=True)
class OwnServer:
    """One of them, by its flags and pages."""

    host: str
    port: str
    key_env: str = ""  # variable that it reads its key from; a key in argv could be read by anybody
    environ: Mapping[str, str] = field(default_factory=dict)
    health: str = "/health"
    tells_death: bool = False  # its page says 503 once the engine is dead, and asks the engine for nothing
    chat_template: str = ""  # flag that takes a file; empty: none
    tools: tuple[str, ...] = ()  # flags of the parser of tool calls, its name follows
    parsers: Mapping[str, str] = field(default_factory=dict)  # by ms-swift's agent templates
    takes_stops: bool = False  # knows stop_token_ids of a request
    progress: tuple[str, ...] = ()  # metrics that grow with each token
    waiting: str = ""  # metric of the requests that are not taken up

    def words(self, command: Sequence[str], *, port: int, chat_template: str, agent_template: str) -> tuple[str, ...]:
        """The command with all that only the pod knows."""
        found = [*command, self.host, HOST, self.port, str(port)]
        if chat_template and self.chat_template:
            found += [self.chat_template, chat_template]
        parser = self.parsers.get(agent_template)
        if parser and self.tools and self.tools[-1] not in command:
            found += [*self.tools, parser]
        return tuple(found)


_OFFLINE = {"HF_HUB_OFFLINE": "1"}  # model and adapters are folders by then
OWN_SERVERS: Mapping[str, OwnServer] = {
    "vllm": OwnServer(
        host="--host",
        port="--port",
        key_env="VLLM_API_KEY",
        environ={**_OFFLINE, "VLLM_NO_USAGE_STATS": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"},
        tells_death=True,
        chat_template="--chat-template",
        tools=("--enable-auto-tool-choice", "--tool-call-parser"),
        parsers={
            "hermes": "hermes",
            "llama3": "llama3_json",
            "llama4": "llama4_pythonic",
            "mistral": "mistral",
            "glm4_5": "glm45",
            "qwen3_coder": "qwen3_coder",
            "deepseek_v3_1": "deepseek_v31",
            "seed_oss": "seed_oss",
            "minimax_m2": "minimax_m2",
        },
        takes_stops=True,
        progress=("vllm:generation_tokens_total", "vllm:prompt_tokens_total"),
        waiting="vllm:num_requests_waiting",
    ),
    "sglang": OwnServer(
        host="--host",
        port="--port",
        environ=_OFFLINE,
        chat_template="--chat-template",
        tools=("--tool-call-parser",),
        parsers={"hermes": "qwen25", "llama3": "llama3", "mistral": "mistral", "glm4_5": "glm45"},
        takes_stops=True,
        progress=("sglang:generation_tokens_total", "sglang:prompt_tokens_total"),
        waiting="sglang:num_queue_reqs",
    ),
    "lmdeploy": OwnServer(
        host="--server-name",
        port="--server-port",
        environ=_OFFLINE,
        tools=("--tool-call-parser",),
        parsers={"hermes": "qwen", "llama3": "llama3"},
    ),
}


def counts(page: bytes) -> dict[str, float]:
    """A page of metrics: the sum of each, over its labels."""
    found: dict[str, float] = {}
    for line in page.decode("utf-8", "replace").splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, value = line.rpartition(" ")
        try:
            number = float(value)
        except ValueError:
            continue
        name = name.partition("{")[0]
        found[name] = found.get(name, 0.0) + number
    return found
