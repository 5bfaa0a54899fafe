"""The adapter of a run as the model: a ModelExport is made for the deployment, waited for, and goes when unused."""

from __future__ import annotations

from typing import Any

import pytest

from swiftop import names
from swiftop.errors import Forbidden
from tests.engine.fakecluster import Fault
from tests.engine.kubernetes import NAMESPACE
from tests.engine.served import DONE, Object, Served, run_of, served

SERVED = {
    "model": {"sftRunRef": {"name": "tiny"}},
    "engine": "sglang",
    "resources": {"gpus": 1},
    "cache": {"persistentVolumeClaim": {"claimName": "cache"}},
    "runtime": {"image": "x/y:1", "podPatch": {"metadata": {"annotations": {"a/b": "c"}}}},
}


def exports(harness: Served) -> list[Object]:
    return list(harness.cluster.of_kind(names.MODELEXPORT))


def tell(harness: Served, export: Object, **status: Any) -> None:
    """The export says how it stands."""
    harness.cluster.put({**export, "status": {**export.get("status", {}), **status}})


def end(harness: Served, export: Object) -> None:
    """It is done."""
    path = f"{export['metadata']['name']}-{export['metadata']['uid'][:8]}/model"
    tell(harness, export, conditions=DONE, artifact={"claimName": "tiny-output", "path": path})


def model(harness: Served) -> str:
    return str(harness.plan["settings"]["model"])


async def merging(harness: Served, **spec: Any) -> Object:
    """A deployment that waits for its export."""
    harness.cluster.put(run_of())
    await harness.put(served(**SERVED, **spec))
    (export,) = exports(harness)
    return export


async def serving(harness: Served, **spec: Any) -> Object:
    """One that serves what was merged."""
    export = await merging(harness, **spec)
    end(harness, export)
    await harness.settle()
    await harness.start()
    assert harness.told("Ready")[:2] == ("True", "Answering")
    return export


async def newer(harness: Served, step: int = 40) -> Object:
    """The run has come further, and another export is made."""
    known = {export["metadata"]["name"] for export in exports(harness)}
    await harness.put(run_of(checkpoint={"step": step}))
    (export,) = [export for export in exports(harness) if export["metadata"]["name"] not in known]
    return export


async def test_it_is_made_waited_for_and_served(harness: Served) -> None:
    export = await merging(harness)
    uid = harness.run["metadata"]["uid"]
    name = export["metadata"]["name"]
    assert name.startswith("chat-mdep-")
    assert export["spec"] == {
        "source": {"sftRunRef": {"name": "tiny", "checkpoint": "20"}},
        "output": {"persistentVolumeClaim": {"claimName": "tiny-output"}},
        "runtime": {"image": "x/y:1"},
        "cache": {"persistentVolumeClaim": {"claimName": "cache"}},
    }
    (owner,) = export["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == (uid, True)
    assert harness.children() == []
    assert harness.told("ModelReady") == (
        "False",
        "Merging",
        f"ModelExport {name} is made, which merges the adapter: wait; the deployment then starts by itself",
    )
    assert harness.told("Stalled")[0] == "False"
    tell(harness, export, state="Running", startTime="2027-01-01T00:00:00Z", display={"progress": "Merging 40%"})
    harness.cluster.now += 60  # words alone are not worth a write at once
    await harness.settle()
    assert "merges the adapter: Merging 40%" in harness.told("Ready")[2]
    end(harness, export)
    await harness.settle()
    path = f"{name}-{export['metadata']['uid'][:8]}/model"
    assert model(harness) == f"/swiftop/source/tiny-output/{path}"
    assert harness.plan["command"][3:9] == [
        *("--model", f"/swiftop/source/tiny-output/{path}", "--model_type", "qwen2_5", "--infer_backend", "sglang"),
    ]
    await harness.start()
    assert harness.told("ModelReady")[:2] == ("True", "Ready")
    assert harness.status["resolved"]["sources"] == [
        {
            "ref": "SFTRun/tiny/last",
            "uid": harness.cluster.find(names.SFTRUN, "tiny")["metadata"]["uid"],
            "claimName": "tiny-output",
            "path": path,
            "type": "qwen2_5",
            "madeOf": "tiny-output/tiny-0/checkpoint-20",
        }
    ]


async def test_twice_is_no_write_and_no_read_the_second_time(harness: Served) -> None:
    export = await merging(harness)
    for ended in (False, True):
        if ended:
            end(harness, export)
            await harness.settle()
            await harness.start()
        harness.restart()
        await harness.look()
        before = len(harness.cluster.writes), len(harness.cluster.calls)
        await harness.look()
        assert (len(harness.cluster.writes), len(harness.cluster.calls)) == before
    assert len(exports(harness)) == 1


@pytest.mark.parametrize("engine", ["transformers", "vllm", "lmdeploy"])
async def test_whatever_the_engine(harness: Served, engine: str) -> None:
    harness.cluster.put(run_of())
    await harness.put(served(**{**SERVED, "engine": engine}))
    assert harness.told("ModelReady")[:2] == ("False", "Merging")


async def test_where_it_goes_and_what_it_gets_may_be_said(harness: Served) -> None:
    output = {"volume": {"size": "20Gi", "retain": "Delete"}}
    export = await merging(harness, merge={"output": output, "resources": {"gpus": 0, "memory": "24Gi"}})
    assert export["spec"]["output"] == output
    assert export["spec"]["resources"] == {"gpus": 0, "memory": "24Gi"}


async def test_a_failure_is_told_and_an_edit_that_heals_it_makes_it_anew(harness: Served) -> None:
    export = await merging(harness)
    name = export["metadata"]["name"]
    message = "No space left on device: Free or enlarge the output volume"
    tell(harness, export, conditions=[{**DONE[0], "status": "False", "reason": "DiskFull", "message": message}])
    await harness.settle()
    assert harness.told("ModelReady")[:2] == ("False", "SourceFailed")
    said = harness.told("ModelReady")[2]
    assert said.startswith(f"ModelExport {name}, which merges the adapter, has failed (DiskFull): {message}")
    assert f"kubectl delete modelexport {name}" in said
    assert harness.told("Stalled")[:2] == ("True", "SourceFailed")
    await harness.edit(replicas=2)  # does not touch it
    assert exports(harness)[0]["metadata"]["uid"] == export["metadata"]["uid"]
    await harness.edit(merge={"output": {"volume": {"size": "20Gi"}}})
    (again,) = exports(harness)
    assert again["metadata"]["name"] == name
    assert again["metadata"]["uid"] != export["metadata"]["uid"]
    assert harness.told("ModelReady")[:2] == ("False", "Merging")


async def test_a_failed_one_that_a_person_deletes_is_made_again(harness: Served) -> None:
    export = await merging(harness)
    tell(harness, export, conditions=[{**DONE[0], "status": "False"}])
    await harness.settle()
    harness.cluster.remove(names.MODELEXPORT, NAMESPACE, export["metadata"]["name"])
    await harness.settle()
    (again,) = exports(harness)
    assert again["metadata"]["uid"] != export["metadata"]["uid"]


async def test_one_that_waits_follows_an_edit_and_one_that_works_does_not(harness: Served) -> None:
    export = await merging(harness)
    await harness.edit(runtime={"image": "x/y:2"})
    (second,) = exports(harness)
    assert second["spec"]["runtime"] == {"image": "x/y:2"}
    assert second["metadata"]["uid"] != export["metadata"]["uid"]
    tell(harness, second, startTime="2027-01-01T00:00:00Z")
    await harness.edit(runtime={"image": "x/y:3"})
    assert [one["metadata"]["uid"] for one in exports(harness)] == [second["metadata"]["uid"]]


async def test_a_newer_checkpoint_is_merged_and_the_old_one_goes_when_nothing_serves_it(harness: Served) -> None:
    old = await serving(harness)
    served_before = model(harness)
    new = await newer(harness)
    assert model(harness) == served_before
    assert harness.told("ModelReady")[:2] == ("True", "Merging")
    assert harness.told("Progressing")[:2] == ("True", "RolledOut")
    assert len(exports(harness)) == 2
    end(harness, new)
    await harness.settle()
    assert new["metadata"]["name"] in model(harness)
    harness.replicas.act()
    harness.replicas.run()
    await harness.settle()
    assert len(exports(harness)) == 2  # the old pod still answers
    await harness.start()
    assert harness.told("Progressing")[:2] == ("True", "RolledOut")
    assert [one["metadata"]["name"] for one in exports(harness)] == [new["metadata"]["name"]]
    assert old["metadata"]["name"] not in model(harness)


async def test_a_newer_one_that_cannot_be_merged_leaves_what_serves(harness: Served) -> None:
    await serving(harness)
    served_before = model(harness)
    new = await newer(harness)
    tell(harness, new, conditions=[{**DONE[0], "status": "False", "reason": "VerificationFailed", "message": "no"}])
    await harness.settle()
    assert model(harness) == served_before
    assert harness.told("Ready")[:2] == ("True", "Answering")
    assert harness.told("Progressing")[:2] == ("False", "SourceFailed")
    assert "(VerificationFailed): no" in harness.told("Progressing")[2]


async def test_what_the_gate_does_not_let_through_is_not_merged(harness: Served) -> None:
    harness.cluster.put(run_of(checkpoint={"step": 20, "evalLoss": 1.0}))
    await harness.put(served(**SERVED, rollout={"gate": {"maxEvalLoss": "1.5"}}))
    (export,) = exports(harness)
    end(harness, export)
    await harness.settle()
    await harness.start()
    await harness.put(run_of(checkpoint={"step": 40, "evalLoss": 2.0}))
    assert len(exports(harness)) == 1
    assert harness.told("Progressing")[:2] == ("False", "GateFailed")


async def test_a_deleted_run_or_export_stops_nothing_that_serves(harness: Served) -> None:
    export = await serving(harness)
    template = harness.replicas.deployment["spec"]["template"]
    harness.cluster.remove(names.SFTRUN, NAMESPACE, "tiny")
    harness.cluster.remove(names.MODELEXPORT, NAMESPACE, export["metadata"]["name"])
    harness.restart()
    await harness.settle()
    assert harness.replicas.deployment["spec"]["template"] == template
    assert exports(harness) == []
    assert harness.told("Ready")[:2] == ("True", "Answering")
    assert harness.told("ModelReady")[:2] == ("True", "SourceDeleted")


async def test_another_model_makes_the_merged_one_superfluous(harness: Served) -> None:
    await serving(harness)
    await harness.edit(model={"sftRunRef": None, "id": "a/b"}, engine="transformers")
    assert len(exports(harness)) == 1
    await harness.start()
    assert exports(harness) == []


async def test_it_goes_with_the_deployment(harness: Served) -> None:
    await serving(harness)
    harness.cluster.remove(names.MODELDEPLOYMENT, NAMESPACE, "chat")
    assert exports(harness) == []


@pytest.mark.parametrize("labelled", [False, True])
async def test_a_foreign_export_of_its_name_is_left_alone(harness: Served, labelled: bool) -> None:
    export = await merging(harness)
    name = export["metadata"]["name"]
    harness.cluster.remove(names.MODELEXPORT, NAMESPACE, name)
    labels = export["metadata"]["labels"] if labelled else {}
    foreign = {**export, "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}}
    foreign["spec"] = {"source": {"id": "a/b"}, "output": {"volume": {"size": "1Gi"}}}
    harness.cluster.put(foreign)
    await harness.settle()
    assert harness.told("Ready")[:2] == ("False", "NameConflict")
    (left,) = exports(harness)
    assert left["spec"] == foreign["spec"]


async def test_a_missing_right_is_told(harness: Served) -> None:
    def forbidden(verb: str, kind: str) -> Fault | None:
        error = Forbidden('POST /x: 403 User "swiftop" cannot create resource "modelexports"')
        return Fault(error) if (verb, kind) == ("create", "ModelExport") else None

    harness.cluster.fault = forbidden
    harness.cluster.put(run_of())
    harness.cluster.put(served(**SERVED))
    assert await harness.look() == 30.0
    assert harness.told("Ready")[:2] == ("False", "MissingPermission")


async def test_a_name_of_full_length_leaves_room_for_that_of_the_export() -> None:
    name = names.merge_name(names.MODELDEPLOYMENT, "a" * 37 + "-" + "b" * 14, "0123456789")
    assert name == "a" * 37 + "-mdep-01234567"
    assert len(names.merge_name(names.MODELDEPLOYMENT, "a" * 52, "0123456789")) == names.MAX_NAME


@pytest.mark.parametrize(
    ("member", "value"), [("uid", "another"), ("path", "evil/checkpoint-20"), ("claimName", "evil")]
)
async def test_what_was_merged_of_another_checkpoint_is_not_served(harness: Served, member: str, value: str) -> None:
    """Somebody has edited the export before its start, or its run was made again."""
    export = await merging(harness)
    uid = harness.cluster.find(names.SFTRUN, "tiny")["metadata"]["uid"]
    source = {"uid": uid, "claimName": "tiny-output", "path": "tiny-0/checkpoint-20"}
    tell(harness, export, resolved={"source": {**source, member: value}})
    end(harness, exports(harness)[0])
    await harness.settle()
    assert harness.told("ModelReady")[:2] == ("False", "SourceUnusable")
    assert f"kubectl delete modelexport {export['metadata']['name']}" in harness.told("ModelReady")[2]
    assert harness.children() == []
    tell(harness, exports(harness)[0], resolved={"source": source})
    await harness.settle()
    assert export["metadata"]["name"] in model(harness)
