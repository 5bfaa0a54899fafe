"""What a ModelDeployment serves of other objects: waited for in any order, followed, and kept when they go."""

from __future__ import annotations

import json

import pytest

from swiftop import names
from swiftop.model.kind import Key
from tests.engine.kubernetes import NAMESPACE
from tests.engine.served import DONE, OF_EXPORT, WITH_ADAPTER, Object, Served, export_of, run_of, served, serving


@pytest.mark.parametrize("order", [("run", "served"), ("served", "run")])
async def test_it_waits_for_the_run_of_an_adapter_in_any_order(harness: Served, order: tuple[str, str]) -> None:
    objects = {"run": run_of(), "served": served(**WITH_ADAPTER)}
    harness.cluster.put(objects[order[0]])
    if order[0] == "served":
        await harness.settle()
        assert harness.told("ModelReady")[:2] == ("False", "SourceMissing")
        assert harness.children() == []
        harness.cluster.put(run_of(conditions=[{**DONE[0], "status": "Unknown"}]))
        await harness.settle()
        assert harness.told("ModelReady")[:2] == ("False", "SourcePending")
    await harness.put(objects[order[1]])
    assert harness.key in harness.engine.referring(Key("SFTRun", NAMESPACE, "tiny"))
    assert harness.told("ModelReady")[:2] == ("True", "Ready")
    uid = harness.cluster.find(names.SFTRUN, "tiny")["metadata"]["uid"]
    path = "/swiftop/source/tiny-output/tiny-0/checkpoint-20"
    assert harness.plan["settings"]["adapters"] == [{"name": "tuned", "path": path, "rank": 8, "version": uid}]
    await harness.start()
    assert harness.status["servedNames"] == ["chat", "tuned"]
    assert harness.told("AdaptersLoaded")[:2] == ("True", "AdaptersLoaded")


async def test_a_whole_chain_in_reverse(harness: Served) -> None:
    await harness.put(served(**OF_EXPORT))
    assert harness.told("Ready")[:2] == ("False", "SourceMissing")
    await harness.put(export_of(status={}))
    assert harness.told("Ready")[:2] == ("False", "SourcePending")
    await harness.put(export_of())
    assert harness.plan["settings"]["model"] == "/swiftop/source/merged-mexp-output/merged-0/model"
    await harness.start()
    assert harness.told("Ready")[:2] == ("True", "Answering")
    assert harness.status["display"]["model"] == "merged"


@pytest.mark.parametrize(
    ("other", "spec", "reason", "said"),
    [
        (
            run_of(),
            {"model": {"sftRunRef": {"name": "tiny"}}, "adapters": [{"name": "a", "id": "me/a"}]},
            "SourceUnusable",
            "merged, it is another model than that of the adapters",
        ),
        (run_of(tuner="full"), WITH_ADAPTER, "SourceUnusable", "trains the whole model"),
        (run_of(output=None), WITH_ADAPTER, "SourceUnusable", "not on a volume"),
        (export_of(merge=False), OF_EXPORT, "SourceUnusable", "exports an adapter, not a model"),
        (export_of(), {"adapters": [{"name": "a", "exportRef": {"name": "merged"}}]}, "SourceUnusable", "merges its"),
        (export_of(status={"conditions": DONE}), OF_EXPORT, "SourceUnusable", "keeps no result on a volume"),
        (export_of(status={"conditions": [{**DONE[0], "status": "False"}]}), OF_EXPORT, "SourceFailed", "has failed"),
    ],
)
async def test_what_cannot_be_served_is_told(
    harness: Served, other: Object, spec: Object, reason: str, said: str
) -> None:
    harness.cluster.put(other)
    await harness.put(served(**spec))
    status, found, message = harness.told("ModelReady")
    assert (status, found) == ("False", reason)
    assert said in message
    assert harness.told("Stalled")[0] == "True"
    assert harness.children() == []


async def test_a_source_that_is_deleted_while_it_is_waited_for_is_told_until_another_is_named(harness: Served) -> None:
    harness.cluster.put(export_of(status={}))
    await harness.put(served(**OF_EXPORT))
    harness.cluster.remove(names.MODELEXPORT, NAMESPACE, "merged")
    await harness.settle()
    assert harness.told("Stalled")[:2] == ("True", "SourceDeleted")
    await harness.edit(model={"exportRef": {"name": "other"}})
    assert harness.told("ModelReady")[:2] == ("False", "SourceMissing")
    assert harness.told("Stalled")[0] == "False"


async def test_a_whole_model_of_a_run_keeps_its_type(harness: Served) -> None:
    harness.cluster.put(run_of(tuner="full"))
    await harness.put(served(model={"sftRunRef": {"name": "tiny", "checkpoint": 20}}))
    assert harness.plan["command"][3:7] == [
        *("--model", "/swiftop/source/tiny-output/tiny-0/checkpoint-20", "--model_type", "qwen2_5"),
    ]


async def test_a_deleted_source_stops_nothing_and_is_told(harness: Served) -> None:
    harness.cluster.put(export_of())
    await serving(harness, **OF_EXPORT)
    template = harness.replicas.deployment["spec"]["template"]
    harness.cluster.remove(names.MODELEXPORT, NAMESPACE, "merged")
    harness.restart()  # nothing is remembered
    await harness.settle()
    assert harness.replicas.deployment["spec"]["template"] == template
    assert harness.told("Ready")[0] == "True"
    assert harness.told("ModelReady") == (
        "True",
        "SourceDeleted",
        "ModelExport merged was deleted: what serves goes on from merged-mexp-output/merged-0/model: its volume has to "
        "stay",
    )
    # Even with the Deployment gone it is made again of what was resolved.
    harness.cluster.remove(names.DEPLOYMENT, NAMESPACE, "chat-mdep")
    await harness.settle()
    assert harness.replicas.deployment["spec"]["template"] == template


async def test_a_newer_result_is_followed_unless_asked_not_to(harness: Served) -> None:
    harness.cluster.put(export_of())
    await serving(harness, **OF_EXPORT)
    old = harness.status["serving"]["revision"]
    harness.cluster.remove(names.MODELEXPORT, NAMESPACE, "merged")
    newer = export_of()
    newer["status"]["artifact"]["path"] = "merged-1/model"
    await harness.put(newer)
    assert harness.plan["settings"]["model"].endswith("/merged-1/model")
    harness.replicas.act()
    harness.replicas.run()
    await harness.settle()
    assert harness.status["serving"]["revision"] == old
    assert harness.status["serving"]["nextRevision"] != old
    assert harness.told("Progressing")[:2] == ("True", "Loading")
    assert harness.told("Ready")[:2] == ("True", "Answering")
    await harness.start()
    assert harness.status["serving"]["revision"] != old
    assert harness.told("Progressing")[:2] == ("True", "RolledOut")

    await harness.edit(rollout={"follow": False})
    harness.cluster.remove(names.MODELEXPORT, NAMESPACE, "merged")
    newer["status"]["artifact"]["path"] = "merged-2/model"
    await harness.put(newer)
    assert harness.plan["settings"]["model"].endswith("/merged-1/model")
    assert harness.told("ModelReady")[:2] == ("True", "SourcePending")


@pytest.mark.parametrize("member", ["ref", "uid", "claimName", "path", "madeOf"])
async def test_what_somebody_writes_to_the_deployment_that_is_no_text_is_not_read(harness: Served, member: str) -> None:
    harness.cluster.put(export_of())
    await serving(harness, **OF_EXPORT)
    deployment = harness.replicas.deployment
    resolved = json.loads(deployment["metadata"]["annotations"][names.ANNOTATION_RESOLVED])
    resolved["sources"][0][member] = "\ud800"
    told = {names.ANNOTATION_RESOLVED: json.dumps(resolved)}
    annotations = {**deployment["metadata"]["annotations"], **told}
    await harness.put({**deployment, "metadata": {**deployment["metadata"], "annotations": annotations}})
    await harness.edit(system="Be brief.")
    assert harness.plan["settings"]["model"].endswith("/merged-0/model")
