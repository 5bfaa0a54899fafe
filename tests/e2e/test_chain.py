"""From a file of chats to a published model in one ``kubectl apply``: what refers comes before what it refers to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e import objects
from tests.e2e.objects import datasetupload, modelexport, on_claim, sftrun, training
from tests.e2e.site import HUB, HUB_TOKEN, Site, condition
from tests.e2e.support import Object, eventually

NAME = "chain"  # of all three: objects of one name live side by side
DATASET, MODEL = "alice/chain-chats", "alice/chain-model"
STEPS = 4
ON_HUB: Object = {
    "credentials": {"secretName": "chain-hub"},
    "runtime": {"env": [{"name": name, "value": HUB} for name in ("MODELSCOPE_ENDPOINT", "HF_ENDPOINT")]},
}
KINDS = ("modelexport", "sftrun", "datasetupload")


def chain() -> list[Object]:
    """The last one first."""
    export = modelexport(
        NAME,
        {"sftRunRef": {"name": NAME}},
        dtype="float16",
        output=on_claim("chain-exports", objects.RUNS),
        push=[{"hub": "huggingface", "repo": MODEL}],
        **ON_HUB,
    )
    run = sftrun(
        NAME,
        datasets=[{"uploadRef": {"name": NAME}}],
        training=training(STEPS),
        output=on_claim("chain", objects.RUNS),
        **ON_HUB,
    )
    upload = datasetupload(
        NAME, on_claim("datasets/sharegpt.jsonl"), destination={"hub": "modelscope", "repo": DATASET}, **ON_HUB
    )
    return [export, run, upload]


@pytest.fixture(scope="module")
def ended(site: Site) -> Iterator[dict[str, Object]]:
    """All three, ended, by their kind."""
    tokens = {"MODELSCOPE_API_TOKEN": HUB_TOKEN, "HF_TOKEN": HUB_TOKEN}
    site.kubectl.apply(objects.secret("chain-hub", tokens))
    site.kubectl.apply(*chain())
    yield {kind: _ended(site, kind) for kind in reversed(KINDS)}
    for kind in KINDS:
        site.kubectl.delete(kind, NAME)


def _ended(site: Site, kind: str) -> Object:
    def over() -> Object | None:
        found = site.kubectl.get(kind, NAME)
        return found if found and condition(found, "Succeeded").get("status") in ("True", "False") else None

    return eventually(over, what=f"{kind} ends", seconds=480, explain=lambda: site.story(NAME))


@pytest.mark.cluster
def test_each_waits_for_the_one_before_and_all_succeed(ended: dict[str, Object], site: Site) -> None:
    states = {kind: ended[kind]["status"]["state"] for kind in KINDS}
    assert set(states.values()) == {"Succeeded"}, (states, site.story(NAME))
    upload, run, export = (ended[kind]["status"] for kind in reversed(KINDS))
    assert upload["completionTime"] <= run["startTime"] <= run["completionTime"] <= export["startTime"]
    assert [found["attempts"] for found in (upload, run, export)] == [1, 1, 1]


@pytest.mark.cluster
def test_the_run_read_the_commit_that_the_upload_made(ended: dict[str, Object], site: Site) -> None:
    commit, resolved = ended["datasetupload"]["status"]["commit"], ended["sftrun"]["status"]["resolved"]
    assert resolved["datasets"] == [{"upload": NAME, "hub": "modelscope", "repo": DATASET, "revision": commit}]
    assert f"--dataset {DATASET}@{commit}" in resolved["command"]
    rows = [entry for entry in site.recorded("hub") if entry["query"].get("FilePath") == "data/train.jsonl"]
    assert {entry["query"]["Revision"] for entry in rows if entry["method"] == "GET"} == {commit}


@pytest.mark.cluster
def test_the_model_is_published_and_its_card_names_the_dataset(ended: dict[str, Object], site: Site) -> None:
    (target,) = ended["modelexport"]["status"]["targets"]
    found = site.recorded("hub", "_state")["huggingface"][MODEL]
    assert target["commit"] == found["commits"][-1]["id"]
    card = site.shell(f"cat /runs/{ended['modelexport']['status']['artifact']['path']}/README.md")
    assert DATASET in card
    assert ended["datasetupload"]["status"]["commit"] in card
