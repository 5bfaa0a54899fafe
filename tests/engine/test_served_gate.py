"""The gate: a revision that does not pass it is taken back, and what served before goes on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swiftop import names
from swiftop.model.conditions import by_type
from tests.engine.kubernetes import NAMESPACE, termination
from tests.engine.served import OF_EXPORT, Object, Served, export_of, run_of, served, serving

PROMPTS = [{"prompt": "Who are you?", "contains": "swift"}]
WRONG = 'prompt 1 of 1, asked of chat: the answer does not contain "swift", it was "a duck"'


def gate(**members: Any) -> Object:
    return {"rollout": {"gate": {"prompts": PROMPTS, **members}}}


def newer(number: int, **artifact: Any) -> Object:
    """The export made again, with another result."""
    export = export_of()
    export["status"]["artifact"] = {**export["status"]["artifact"], "path": f"merged-{number}/model", **artifact}
    return export


async def follow(harness: Served, export: Object) -> None:
    harness.cluster.remove(names.MODELEXPORT, NAMESPACE, "merged")
    await harness.put(export)


async def fail(harness: Served, known: list[Object]) -> None:
    """The pods that are not among these have answered wrongly."""
    harness.replicas.act()
    harness.replicas.run()
    old = {pod["metadata"]["name"] for pod in known}
    new = [pod for pod in harness.replicas.pods if pod["metadata"]["name"] not in old]
    assert new
    harness.replicas.die(termination("failed", "GateFailed", message=WRONG), pods=new, exit_code=12)
    await harness.settle()


def model_of(pod: Object) -> str:
    plan = json.loads(pod["spec"]["containers"][0]["env"][0]["value"])
    return str(plan["settings"]["model"])


async def test_each_new_pod_is_asked(harness: Served) -> None:
    adapters = [{"name": "tuned", "sftRunRef": {"name": "tiny"}}]
    asked = [*PROMPTS, {"name": "tuned", "prompt": "1+1?", "contains": "2", "maxTokens": 4}]
    harness.cluster.put(run_of())
    await harness.put(served(adapters=adapters, rollout={"gate": {"prompts": asked}}))
    assert harness.plan["settings"]["gate"] == [
        {"name": "chat", "prompt": "Who are you?", "contains": "swift", "maxTokens": 256},
        {"name": "tuned", "prompt": "1+1?", "contains": "2", "maxTokens": 4},
    ]


async def test_a_newer_result_that_answers_wrongly_is_taken_back(harness: Served) -> None:
    harness.cluster.put(export_of())
    await serving(harness, replicas=2, **OF_EXPORT, **gate())
    before, template = harness.replicas.pods, harness.replicas.deployment["spec"]["template"]
    old = harness.status["serving"]["revision"]
    await follow(harness, newer(1))
    await fail(harness, before)
    deployment = harness.replicas.deployment
    assert deployment["spec"]["template"] == template
    assert deployment["spec"]["replicas"] == 2
    harness.replicas.act()
    await harness.settle()
    assert [pod["metadata"]["name"] for pod in harness.replicas.pods] == [p["metadata"]["name"] for p in before]
    assert harness.told("Ready") == ("True", "Answering", "2 of 2 replicas answer")
    status, reason, message = harness.told("Progressing")
    assert (status, reason) == ("False", "GateFailed")
    assert message.startswith(WRONG)
    assert harness.told("Stalled")[:2] == ("True", "GateFailed")
    assert harness.told("ModelReady")[0] == "True"
    assert harness.status["serving"] == {"revision": old}
    assert harness.status["resolved"]["sources"][0]["path"] == "merged-0/model"
    assert ("Warning", "GateFailed") in [posted[:2] for posted in harness.cluster.posted]

    # Nothing is tried again, nothing is written, and a restart of the operator changes neither.
    harness.restart()
    await harness.look()
    counted = len(harness.cluster.writes)
    assert await harness.look() is None
    assert len(harness.cluster.writes) == counted

    # What does not touch the pods still counts.
    await harness.edit(replicas=1)
    assert harness.replicas.deployment["spec"]["replicas"] == 1
    assert harness.replicas.deployment["spec"]["template"] == template
    # The next result is another try.
    await follow(harness, newer(2))
    await harness.start()
    assert harness.told("Progressing")[:2] == ("True", "RolledOut")
    assert [model_of(pod).partition("/merged-2/")[1] for pod in harness.replicas.pods] == ["/merged-2/"]
    assert names.ANNOTATION_WITHDRAWN not in harness.replicas.deployment["metadata"]["annotations"]


async def test_an_edit_that_answers_wrongly_is_taken_back_whole(harness: Served) -> None:
    await serving(harness, **gate())
    before, template = harness.replicas.pods, harness.replicas.deployment["spec"]["template"]
    await harness.edit(system="Say duck.")
    await fail(harness, before)
    assert harness.replicas.deployment["spec"]["template"] == template
    assert harness.told("Progressing")[:2] == ("False", "GateFailed")
    await harness.edit(rollout={"gate": {"prompts": [{"prompt": "Who are you?", "contains": "duck"}]}})
    await harness.start()
    assert harness.told("Progressing")[:2] == ("True", "RolledOut")
    assert harness.plan["command"][-2:] == ["--system", "Say duck."]


async def test_the_first_revision_that_answers_wrongly_gives_its_gpus_back(harness: Served) -> None:
    await harness.put(served(replicas=2, **gate()))
    await fail(harness, [])
    assert harness.replicas.deployment["spec"]["replicas"] == 0
    harness.replicas.act()
    await harness.settle()
    assert harness.told("Ready")[:2] == ("False", "GateFailed")
    assert harness.told("Ready")[2].startswith(WRONG)
    assert "serving" not in harness.status
    await harness.edit(rollout={"gate": None})
    assert harness.replicas.deployment["spec"]["replicas"] == 2
    await harness.start()
    assert harness.told("Ready")[:2] == ("True", "Answering")


async def test_what_was_let_through_once_stays(harness: Served) -> None:
    """Another node may compute another word: that is no reason to stop what serves."""
    await serving(harness, replicas=2, **gate())
    harness.replicas.die(termination("failed", "GateFailed", message=WRONG))
    await harness.settle()
    assert harness.replicas.deployment["spec"]["replicas"] == 2
    assert harness.told("Ready")[:2] == ("False", "GateFailed")
    assert names.ANNOTATION_WITHDRAWN not in harness.replicas.deployment["metadata"]["annotations"]
    await harness.start()
    assert harness.told("Ready")[:2] == ("True", "Answering")


async def test_without_the_earlier_template_what_serves_is_left_as_it_is(harness: Served) -> None:
    await serving(harness, **gate())
    before = harness.replicas.pods
    revision = before[0]["metadata"]["labels"][names.LABEL_REVISION]
    await harness.edit(system="Say duck.")
    harness.replicas.act()
    del harness.cluster.objects["ReplicaSet", NAMESPACE, f"chat-mdep-{revision}"]
    await fail(harness, before)
    assert harness.told("Ready")[:2] == ("True", "Answering")
    assert harness.told("Progressing")[:2] == ("False", "GateFailed")
    assert harness.replicas.deployment["spec"]["replicas"] == 1


async def test_a_revision_is_tried_again_once_the_mark_is_taken_away(harness: Served) -> None:
    await serving(harness, **gate())
    before = harness.replicas.pods
    await harness.edit(system="Say duck.")
    await fail(harness, before)
    harness.replicas.act()
    del harness.replicas.deployment["metadata"]["annotations"][names.ANNOTATION_WITHDRAWN]
    harness.restart()
    await harness.settle()
    await harness.start()
    assert harness.told("Progressing")[:2] == ("True", "RolledOut")
    assert harness.plan["command"][-2:] == ["--system", "Say duck."]


@pytest.mark.parametrize("loss", [2.5, None])
async def test_a_newer_result_of_a_high_loss_is_not_rolled_out(harness: Served, loss: float | None) -> None:
    harness.cluster.put(newer(0, evalLoss=1.25))
    await serving(harness, **OF_EXPORT, rollout={"gate": {"maxEvalLoss": "1.5"}})
    template = harness.replicas.deployment["spec"]["template"]
    await follow(harness, newer(1, **({"evalLoss": loss} if loss else {})))
    assert harness.replicas.deployment["spec"]["template"] == template
    assert harness.told("Progressing")[:2] == ("False", "GateFailed")
    assert ("is 2.5, above 1.5" if loss else "nothing is known of an evaluation loss") in harness.told("Progressing")[2]
    assert harness.told("Ready")[:2] == ("True", "Answering")
    assert harness.told("ModelReady")[0] == "True"
    counted = len(harness.cluster.writes)
    await harness.look()
    assert len(harness.cluster.writes) == counted
    await harness.edit(rollout={"gate": {"maxEvalLoss": "1.5", "prompts": PROMPTS}})  # what serves was let through
    assert harness.plan["settings"]["model"].endswith("/merged-0/model")
    await follow(harness, newer(2, evalLoss=1.5))
    await harness.start()
    assert harness.plan["settings"]["model"].endswith("/merged-2/model")
    assert harness.told("Progressing")[:2] == ("True", "RolledOut")


@pytest.mark.parametrize(
    ("checkpoint", "loss", "through"),
    [("last", "1.25", True), ("last", "1.2", False), ("best", "1.2", True), ("20", "1.25", True), ("10", "9", False)],
)
async def test_the_loss_of_a_run_is_that_of_the_checkpoint(
    harness: Served, checkpoint: str, loss: str, through: bool
) -> None:
    best = {"step": 15, "metric": 0.9, "evalLoss": 1.1}
    harness.cluster.put(run_of(tuner="full", checkpoint={"step": 20, "evalLoss": 1.25}, bestCheckpoint=best))
    model = {"sftRunRef": {"name": "tiny", "checkpoint": checkpoint}}
    await harness.put(served(model=model, rollout={"gate": {"maxEvalLoss": loss}}))
    assert ("Deployment", "chat-mdep") in harness.children() if through else harness.children() == []
    told = by_type(harness.status)
    assert (told["Ready"]["reason"] == "GateFailed") is not through
    assert (told["Stalled"]["status"] == "True") is not through


async def test_a_deployment_that_lost_what_was_written_on_it_this_moment_is_no_mistake(
    harness: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    await serving(harness, **gate())
    before = harness.replicas.pods
    await harness.edit(system="Say duck.")
    get = harness.cluster.get

    async def bare(resource: names.Resource, namespace: str, name: str) -> Object | None:
        found = await get(resource, namespace, name)
        if found is None or resource is not names.DEPLOYMENT:
            return found
        meta = {key: value for key, value in found["metadata"].items() if key != "annotations"}
        return {**found, "metadata": meta}

    monkeypatch.setattr(harness.cluster, "get", bare)
    await fail(harness, before)
    assert harness.told("Progressing")[:2] == ("False", "GateFailed")
