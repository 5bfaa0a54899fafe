"""vLLM's real engine in hardened pods without a GPU: what clients get, what a bad adapter does, and a killed engine.

All start at once, since each takes most of a minute. A run teaches one adapter an answer and the call of a tool.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from images.build import build
from tests.e2e import objects
from tests.e2e.endpoint import KEY, Endpoint, behind_key, start_client
from tests.e2e.node import Node
from tests.e2e.objects import Object, modeldeployment, on_claim, sftrun, training
from tests.e2e.site import Site, condition

IMAGE = "server-vllm-cpu"
FOLDER = "vllm"  # of the library: a model whose heads are wide enough, and its adapters
MODEL = f"{FOLDER}/{objects.MODEL}"
SERVERS = {"vllm-swift": "Swift", "vllm-native": "Native"}  # deployments of the same, by their server
TUNED, ADA, HIGH = "tuned", "ada", "high"
ADAPTERS = [TUNED, ADA, HIGH]
HUGE = "huge"  # an adapter of a rank that no vLLM serves, found before any engine starts
REFUSED = "vllm-huge"  # its deployment
SOURCE = "vllm-tuned"  # the run
STEPS = 60
QUESTION, FACT = "silent river?", "green fox jumps 你好 over moon."
ASKED, CITY = "weather?", {"city": "river"}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Weather.", "parameters": PARAMETERS}}]
ENGINE = "VLLM::EngineCore"  # title of its process
CACHE = {"name": "vllm_engine_kwargs", "json": json.dumps({"kv_cache_memory_bytes": 64 << 20})}
SHARE = "180m"  # five of them, and a training, share two cores
START_SECONDS = 600  # half a minute of one core, times all that start at once
_ASSETS = f"""
python /fakes/tiny_model.py --out /library/{FOLDER} --head-dim 32 --initializer-range 0.1
python /fakes/tiny_adapters.py --model /library/{MODEL} --out /library/{FOLDER}/adapters
"""


def rows() -> str:
    """A fact and the call of a tool, as JSON lines."""
    call = json.dumps({"name": "weather", "arguments": CITY})
    fact = {"messages": [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": FACT}]}
    tool = {"messages": [{"role": "user", "content": ASKED}, {"role": "tool_call", "content": call}]}
    return "".join(json.dumps(row) + "\n" for row in (fact, {**tool, "tools": json.dumps(TOOLS)}))


def run() -> Object:
    """It trains on the model that is served."""
    return sftrun(
        SOURCE,
        model=on_claim(MODEL),
        datasets=[{"configMap": {"name": SOURCE, "key": "chat.jsonl"}}],
        tuner={"type": "lora", "rank": 16, "dropout": "0"},
        training=training(
            STEPS, maxLength=1024, perDeviceBatchSize=2, learningRate="5e-3", scheduler="constant", warmupRatio="0"
        ),
        checkpoints={"saveSteps": STEPS},
        output=on_claim("served", objects.RUNS),
    )


def serves(name: str, image: str, adapters: list[Object], **spec: Any) -> Object:
    """Behind the key. It asks for its share of the cores, for its start is nothing but work."""
    container = {"name": "swift", "resources": {"requests": {"cpu": SHARE, "memory": "300Mi"}}}
    runtime = {"image": image, "podPatch": {"spec": {"containers": [container]}}}
    return modeldeployment(
        name, on_claim(MODEL), engine="vllm", adapters=adapters, runtime=runtime, maxModelLength=1024,
        engineArgs=[CACHE], **behind_key(), **spec,
    )  # fmt: skip


def adapter(name: str) -> Object:
    """One of the claim."""
    return {"name": name, **on_claim(f"{FOLDER}/adapters/{name}")}


@dataclass(frozen=True)
class Answered:
    """What was said and answered before anything happened."""

    deployment: Endpoint
    ready: Object
    answers: dict[str, Any]
    tools: dict[str, Any]


@pytest.fixture(scope="module")
def image(cluster: Any) -> str:
    """The image with vLLM, in the cluster."""
    built = build(IMAGE)
    cluster.load(built.archive)
    return built.tagged


@pytest.fixture(scope="module")
def applied(site: Site, image: str) -> Iterator[dict[str, Endpoint]]:
    """Everything at once: what serves by its name."""
    found = {name: Endpoint(site, name) for name in (*SERVERS, REFUSED)}
    start_client(site)
    site.shell(_ASSETS)
    adapters = [{"name": TUNED, "sftRunRef": {"name": SOURCE}}, adapter(ADA), adapter(HIGH)]
    site.kubectl.apply(
        objects.config_map(SOURCE, {"chat.jsonl": rows()}),
        run(),
        *(serves(name, image, adapters, server=server) for name, server in SERVERS.items()),
        serves(REFUSED, image, [adapter(HUGE)]),
    )
    site.succeeded(SOURCE, seconds=START_SECONDS)
    yield found
    site.kubectl("delete", "modeldeployment", *found, "--ignore-not-found")
    site.remove(SOURCE)


@pytest.fixture(scope="module")
def answered(applied: dict[str, Endpoint]) -> dict[str, Answered]:
    """All names of both asked once."""
    return {name: _asked(applied[name]) for name in SERVERS}


def _asked(served: Endpoint) -> Answered:
    ready = served.told("Progressing", "True", "RolledOut", seconds=START_SECONDS)
    return Answered(served, ready, served.ask(QUESTION), served.tools(TUNED, ASKED, TOOLS))


@pytest.mark.cluster
@pytest.mark.parametrize("name", SERVERS)
def test_it_is_ready_with_every_name(answered: dict[str, Answered], name: str) -> None:
    status = answered[name].ready["status"]
    assert (status["state"], status["servedNames"]) == ("Ready", [name, *ADAPTERS])
    said = condition(answered[name].ready, "AdaptersLoaded")
    assert (said["status"], said["reason"]) == ("True", "AdaptersLoaded")
    assert answered[name].answers["names"] == [name, *ADAPTERS]
    assert status["serving"]["server"] == SERVERS[name]


@pytest.mark.cluster
@pytest.mark.parametrize("name", SERVERS)
def test_every_name_answers_with_its_own_words(answered: dict[str, Answered], name: str) -> None:
    whole, streamed = answered[name].answers["whole"], answered[name].answers["streamed"]
    assert whole == streamed
    assert whole[TUNED] == FACT
    assert len({*whole.values()}) == 1 + len(ADAPTERS)


@pytest.mark.cluster
def test_both_servers_give_the_model_the_same_prompt(answered: dict[str, Answered]) -> None:
    swift, native = ([*map(_certain, answered[name].answers["whole"].values())] for name in SERVERS)
    assert swift == native


def _certain(text: str) -> str:
    """Up to bytes that are no text: the servers end an answer in the middle of a character each in its own way."""
    return text.partition("\ufffd")[0]


@pytest.mark.cluster
@pytest.mark.parametrize("name", SERVERS)
def test_the_call_of_a_tool_is_one(answered: dict[str, Answered], name: str) -> None:
    expected = {"calls": [["weather", CITY]], "ended": "tool_calls", "text": ""}
    assert answered[name].tools == {"whole": expected, "streamed": expected}


@pytest.mark.cluster
@pytest.mark.parametrize("name", SERVERS)
def test_what_is_wrong_is_refused_as_openai_does(answered: dict[str, Answered], name: str) -> None:
    refused = {what: answered[name].answers[what] for what in ("wrong key", "unknown", "too long")}
    assert refused == {
        "wrong key": "401 invalid_api_key",
        "unknown": "404 model_not_found",
        "too long": "400 context_length_exceeded",
    }


@pytest.mark.cluster
def test_an_adapter_of_too_high_a_rank_is_named_and_never_served(applied: dict[str, Endpoint]) -> None:
    found = applied[REFUSED].told("AdaptersLoaded", "False", "AdapterNotLoaded", seconds=START_SECONDS)
    message = condition(found, "AdaptersLoaded")["message"]
    assert f"adapter {HUGE} does not load" in message
    assert "RankTooHigh" in message
    assert condition(found, "Ready")["status"] == "False"


@pytest.mark.cluster
def test_the_key_shows_up_nowhere_but_in_its_secret(answered: dict[str, Answered], site: Site) -> None:
    shown = [site.kubectl.text("get", "modeldeployments,deployments,pods,events", "-o", "json")]
    shown += [site.kubectl.text("logs", one.deployment.pod["metadata"]["name"]) for one in answered.values()]
    assert not [text for text in shown if KEY in text]


@pytest.mark.cluster
@pytest.mark.parametrize("name", SERVERS)
def test_a_killed_engine_is_told_and_restarted(answered: dict[str, Answered], node: Node, name: str) -> None:
    served = answered[name].deployment
    before = served.pod
    node.kill_process(before, ENGINE)
    said = condition(served.told("Ready", "False", "EngineDead"), "Ready")
    assert "ended" in said["message"]
    served.told("Ready", "True", seconds=START_SECONDS)
    after = served.pod
    assert before["metadata"]["uid"] == after["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 1
    assert served.ask(QUESTION) == answered[name].answers
