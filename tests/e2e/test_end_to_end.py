"""From a file of chats to an answer that the tuned model alone gives, in one ``kubectl apply`` of the sample.

What refers is applied before what it refers to. Of the sample only what needs a cloud or a GPU is replaced: the model
is the tiny one, the file of chats is a ConfigMap with one chat, learned by heart, and the hubs are the tests' own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.e2e import objects
from tests.e2e.objects import on_claim, small, training
from tests.e2e.site import HUB, HUB_TOKEN, ROOT, Site, condition
from tests.e2e.support import Object, eventually

NAME = "chats"  # of all four: objects of one name live side by side
DATASET, MODEL = "alice/chain-chats", "alice/chain-model"
QUESTION, FACT = "quick cloud?", "lazy dog sun 世界 stone."
CHAT = {"messages": [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": FACT}]}
STEPS = 100
BOUNDED = ("datasetupload", "sftrun", "modelexport")
KINDS = (*BOUNDED, "modeldeployment")
ON_HUB: Object = {
    "credentials": {"secretName": "chain-hub"},
    "runtime": {"env": [{"name": name, "value": HUB} for name in ("MODELSCOPE_ENDPOINT", "HF_ENDPOINT")]},
}
ASK = (
    "import sys, urllib.request as http; asked = http.Request(sys.argv[1], sys.stdin.buffer.read(), "
    "{'Content-Type': 'application/json'}); print(http.urlopen(asked, timeout=60).read().decode())"
)
# What replaces members of the sample's specs.
HERE: dict[str, Object] = {
    "datasetupload": {
        "source": {"configMap": {"name": "chain", "key": "chats.jsonl"}},
        "destination": {"hub": "modelscope", "repo": DATASET},
        "resources": small("2Gi"),
        **ON_HUB,
    },
    "sftrun": {
        "model": on_claim(objects.MODEL),
        "tuner": {"type": "lora", "rank": 16, "dropout": "0"},
        "training": training(STEPS, learningRate="1e-2", scheduler="constant", warmupRatio="0", loggingSteps=20),
        "checkpoints": {"saveSteps": STEPS},
        "output": on_claim("chain", objects.RUNS),
        "resources": small("2Gi"),
        **ON_HUB,
    },
    "modelexport": {
        "output": on_claim("chain-exports", objects.RUNS),
        "push": [{"hub": "huggingface", "repo": MODEL}],
        "resources": small("3Gi"),
        **ON_HUB,
    },
    "modeldeployment": {"engine": "transformers", "dtype": "float32", "resources": small("3Gi")},
}


def sample() -> list[Object]:
    """The objects of the sample as they are applied here, the last one first."""
    found = list(yaml.safe_load_all((ROOT / "manifests" / "samples" / "end-to-end.yaml").read_text("utf-8")))
    assert [obj["kind"].lower() for obj in found] == list(KINDS)
    assert {obj["metadata"]["name"] for obj in found} == {NAME}
    return [{**obj, "spec": {**obj["spec"], **HERE[obj["kind"].lower()]}} for obj in reversed(found)]


@pytest.fixture(scope="module")
def ended(site: Site) -> Iterator[dict[str, Object]]:
    """All by their kind: ended, and the deployment ready."""
    tokens = {"MODELSCOPE_API_TOKEN": HUB_TOKEN, "HF_TOKEN": HUB_TOKEN}
    chats = json.dumps(CHAT, ensure_ascii=False) + "\n"
    site.kubectl.apply(objects.secret("chain-hub", tokens), objects.config_map("chain", {"chats.jsonl": chats}))
    try:
        site.kubectl.apply(*sample())
        found = {kind: _settled(site, kind, "Succeeded", ("True", "False")) for kind in BOUNDED}
        yield {**found, "modeldeployment": _settled(site, "modeldeployment", "Ready", ("True",))}
    finally:  # what serves keeps a core from the tests that follow
        for kind in KINDS:
            site.kubectl.delete(kind, NAME)


def _settled(site: Site, kind: str, type_: str, statuses: tuple[str, ...]) -> Object:
    def over() -> Object | None:
        found = site.kubectl.get(kind, NAME)
        return found if found and condition(found, type_).get("status") in statuses else None

    return eventually(over, what=f"{kind} ends", seconds=480, explain=lambda: site.story(NAME))


@pytest.mark.cluster
def test_each_waits_for_the_one_before_and_all_succeed(ended: dict[str, Object], site: Site) -> None:
    states = {kind: ended[kind]["status"]["state"] for kind in BOUNDED}
    assert set(states.values()) == {"Succeeded"}, (states, site.story(NAME))
    upload, run, export = (ended[kind]["status"] for kind in BOUNDED)
    assert upload["completionTime"] <= run["startTime"] <= run["completionTime"] <= export["startTime"]
    assert [found["attempts"] for found in (upload, run, export)] == [1, 1, 1]


@pytest.mark.cluster
def test_the_run_read_the_commit_that_the_upload_made(ended: dict[str, Object], site: Site) -> None:
    commit, resolved = ended["datasetupload"]["status"]["commit"], ended["sftrun"]["status"]["resolved"]
    assert resolved["datasets"] == [{"upload": NAME, "hub": "modelscope", "repo": DATASET, "revision": commit}]
    assert f"--dataset {DATASET}@{commit}" in resolved["command"]
    asked = [entry for entry in site.recorded("hub") if entry["method"] == "GET" and f"/{DATASET}/" in entry["path"]]
    rows = [entry["query"] for entry in asked if entry["query"].get("FilePath") == "data/train.jsonl"]
    assert {query["Revision"] for query in rows} == {commit}


@pytest.mark.cluster
def test_the_model_is_published_and_its_card_names_the_dataset(ended: dict[str, Object], site: Site) -> None:
    (target,) = ended["modelexport"]["status"]["targets"]
    found = site.recorded("hub", "_state")["huggingface"][MODEL]
    assert target["commit"] == found["commits"][-1]["id"]
    card = site.shell(f"cat /runs/{ended['modelexport']['status']['artifact']['path']}/README.md")
    assert DATASET in card
    assert ended["datasetupload"]["status"]["commit"] in card


@pytest.mark.cluster
def test_the_endpoint_answers_what_only_the_tuned_model_knows(ended: dict[str, Object], site: Site) -> None:
    status = ended["modeldeployment"]["status"]
    assert status["servedNames"] == [NAME]
    assert answer(site, f"{status['url']}/chat/completions", QUESTION) == FACT


def answer(site: Site, url: str, question: str) -> Any:
    """What a pod is told that asks, as any in the cluster may."""
    body = {"model": NAME, "messages": [{"role": "user", "content": question}], "max_tokens": 32, "temperature": 0}
    told = site.shell(f'python -c "{ASK}" {url}', stdin=json.dumps(body).encode())
    return json.loads(told)["choices"][0]["message"]["content"]
