"""vLLM's real engine in hardened pods without a GPU, by ms-swift's server and by its own: what clients get.

Each start is half a minute of work for one core, so that one follows the other, and what needs no cluster is tried at
the process. A run teaches one adapter an answer and the call of a tool.
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
from tests.e2e.support import eventually

IMAGE = "server-vllm-cpu"
FOLDER = "vllm"  # of the library: a model whose heads are wide enough, and its adapters
MODEL = f"{FOLDER}/{objects.MODEL}"
SERVERS = {"vllm-swift": "Swift", "vllm-native": "Native"}  # deployments of the same, by their server
TUNED, ADA, LATE = "tuned", "ada", "late"
HUGE = "huge"  # an adapter of a rank that no vLLM serves, found before any engine starts
REFUSED = "vllm-huge"  # its deployment
SOURCE = "vllm-tuned"  # the run
STEPS = 40
QUESTION, FACT = "silent river?", "green fox jumps 你好 over moon."
ASKED, CITY = "weather?", {"city": "river"}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Weather.", "parameters": PARAMETERS}}]
ENGINE = "VLLM::EngineCore"  # title of its process
CACHE = {"name": "vllm_engine_kwargs", "json": json.dumps({"kv_cache_memory_bytes": 64 << 20})}
START_SECONDS = 240  # of an engine, with what comes before and after it
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
    """Behind the key. It asks for half of a core, for its start is nothing but work."""
    container = {"name": "swift", "resources": {"requests": {"cpu": "500m", "memory": "300Mi"}}}
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
def trained(site: Site, image: str) -> Iterator[str]:
    """The image, once the model, its adapters and the run are there. What is refused has been applied before."""
    start_client(site)
    site.shell(_ASSETS)
    try:
        site.kubectl.apply(
            serves(REFUSED, image, [adapter(HUGE)]), objects.config_map(SOURCE, {"chat.jsonl": rows()}), run()
        )
        site.succeeded(SOURCE)
        yield image
    finally:
        site.kubectl("delete", "modeldeployment", REFUSED, "--ignore-not-found")
        site.remove(SOURCE)


@pytest.fixture(scope="module", params=SERVERS)
def answered(request: pytest.FixtureRequest, site: Site, trained: str) -> Iterator[Answered]:
    """All names of one of them asked once."""
    served = Endpoint(site, request.param)
    adapters = [{"name": TUNED, "sftRunRef": {"name": SOURCE}}, adapter(ADA)]
    try:
        site.kubectl.apply(serves(served.name, trained, adapters, server=SERVERS[served.name]))
        served.rolled_out(START_SECONDS)
        answers, tools = served.ask(QUESTION), served.tools(TUNED, ASKED, TOOLS)
        yield Answered(served, eventually(lambda: _told_server(served), what="its server", seconds=60), answers, tools)
    finally:
        site.kubectl("delete", "modeldeployment", served.name)


def _told_server(served: Endpoint) -> Object | None:
    """The deployment once a report of its pod has come."""
    now = served.now
    return now if "server" in now["status"].get("serving", {}) else None


@pytest.mark.cluster
def test_an_adapter_of_too_high_a_rank_is_named_and_never_served(site: Site, trained: str) -> None:
    found = Endpoint(site, REFUSED).told("AdaptersLoaded", "False", "AdapterNotLoaded")
    message = condition(found, "AdaptersLoaded")["message"]
    assert f"adapter {HUGE} does not load" in message
    assert "RankTooHigh" in message
    assert condition(found, "Ready")["status"] == "False"
    site.kubectl("delete", "modeldeployment", REFUSED)  # its container would be started again and again


@pytest.mark.cluster
def test_it_is_ready_with_every_name(answered: Answered) -> None:
    status, names = answered.ready["status"], [answered.deployment.name, TUNED, ADA]
    assert (status["state"], status["servedNames"], answered.answers["names"]) == ("Ready", names, names)
    assert status["serving"]["server"] == SERVERS[answered.deployment.name]
    said = condition(answered.ready, "AdaptersLoaded")
    assert (said["status"], said["reason"]) == ("True", "AdaptersLoaded")


@pytest.mark.cluster
def test_the_tuned_name_alone_answers_what_was_learned(answered: Answered) -> None:
    whole = answered.answers["whole"]
    assert whole == answered.answers["streamed"]
    assert [name for name, text in whole.items() if text == FACT] == [TUNED]


@pytest.mark.cluster
def test_the_call_of_a_tool_that_was_learned_is_one(answered: Answered) -> None:
    expected = {"calls": [["weather", CITY]], "ended": "tool_calls", "text": ""}
    assert answered.tools == {"whole": expected, "streamed": expected}


@pytest.mark.cluster
def test_the_key_shows_up_nowhere_but_in_its_secret(answered: Answered, site: Site) -> None:
    shown = [site.kubectl.text("get", "modeldeployments,deployments,pods,events", "-o", "json")]
    shown.append(site.kubectl.text("logs", answered.deployment.pod["metadata"]["name"]))
    assert not [text for text in shown if KEY in text]


@pytest.mark.cluster
@pytest.mark.parametrize("answered", ["vllm-native"], indirect=True)
def test_a_killed_engine_is_told_and_restarted(answered: Answered, node: Node) -> None:
    """Though its server then ends with exit code 0."""
    served = answered.deployment
    before = served.pod
    node.kill_process(before, ENGINE)
    said = condition(served.told("Ready", "False", "EngineDead"), "Ready")
    assert "the container is started again" in said["message"]
    served.told("Ready", "True", seconds=START_SECONDS)
    after = served.pod
    assert before["metadata"]["uid"] == after["metadata"]["uid"]
    assert _restarts(after) == 1
    assert served.ask(QUESTION) == answered.answers


@pytest.mark.cluster
@pytest.mark.parametrize("answered", ["vllm-native"], indirect=True)
def test_adapters_come_and_go_without_a_restart(answered: Answered) -> None:
    """The kubelet takes about a minute to show the pod what is declared now."""
    served, said = answered.deployment, answered.answers["whole"]
    before = served.pod
    served.patch(adapters=[{"name": TUNED, "sftRunRef": {"name": SOURCE}}, {**adapter(ADA), "name": LATE}])
    now = served.told("AdaptersLoaded", "True", "AdaptersLoaded", seconds=START_SECONDS)
    found = served.ask(QUESTION)
    assert now["status"]["servedNames"] == found["names"] == [served.name, TUNED, LATE]
    assert found["whole"] == {served.name: said[served.name], TUNED: said[TUNED], LATE: said[ADA]}
    after = served.pod
    assert (after["metadata"]["uid"], _restarts(after)) == (before["metadata"]["uid"], _restarts(before))


def _restarts(pod: Object) -> int:
    found: int = pod["status"]["containerStatuses"][0]["restartCount"]
    return found
