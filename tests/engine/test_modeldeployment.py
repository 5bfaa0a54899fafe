"""A ModelDeployment from its sources, in any order, to replicas that answer, and through all that happens to them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from swiftop import names
from swiftop.errors import Forbidden
from swiftop.model.conditions import by_type
from swiftop.model.kind import Key
from tests.engine.fakecluster import Fault
from tests.engine.harness import Harness
from tests.engine.kubernetes import NAMESPACE, termination
from tests.engine.replicas import Replicas

Object = dict[str, Any]

DONE = [{"type": "Succeeded", "status": "True", "reason": "MaxSteps", "message": ""}]


def served(**spec: Any) -> Object:
    return {
        "apiVersion": names.API_VERSION,
        "kind": "ModelDeployment",
        "metadata": {"name": "chat", "namespace": NAMESPACE},
        "spec": {
            "model": {"id": "Qwen/Qwen2.5-0.5B-Instruct"},
            "engine": "transformers",
            "resources": {"gpus": 0},
            "runtime": {"image": "x/y:1"},
            **spec,
        },
    }


def run_of(name: str = "tiny", *, tuner: str = "lora", **status: Any) -> Object:
    """A run that has ended."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": "SFTRun",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"model": {"id": "Qwen/Qwen2.5-0.5B-Instruct", "type": "qwen2_5"}, "tuner": {"type": tuner}},
        "status": {
            "conditions": DONE,
            "checkpoint": {"step": 20},
            "output": {"claimName": f"{name}-output", "path": f"{name}-0"},
            **status,
        },
    }


def export_of(name: str = "merged", *, merge: bool = True, status: Object | None = None) -> Object:
    artifact = {"claimName": f"{name}-mexp-output", "path": f"{name}-0/model"}
    return {
        "apiVersion": names.API_VERSION,
        "kind": "ModelExport",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"source": {"sftRunRef": {"name": "tiny"}}, "merge": merge},
        "status": {"conditions": DONE, "artifact": artifact} if status is None else status,
    }


WITH_ADAPTER = {"adapters": [{"name": "tuned", "sftRunRef": {"name": "tiny"}}]}
OF_EXPORT = {"model": {"exportRef": {"name": "merged"}}}


class Served(Harness):
    """An operator and the pods of one deployment."""

    def __init__(self) -> None:
        super().__init__()
        self.key = Key("ModelDeployment", NAMESPACE, "chat")
        self.replicas = Replicas(self.cluster, self.readings)

    async def put(self, obj: Object) -> None:
        self.cluster.put(obj)
        await self.settle()

    async def edit(self, **spec: Any) -> None:
        await self.put({**self.run, "spec": {**self.run["spec"], **spec}})

    async def start(self) -> None:
        self.replicas.start()
        await self.settle()

    @property
    def run(self) -> Object:
        return self.cluster.find(names.MODELDEPLOYMENT, "chat")

    def told(self, type_: str) -> tuple[str, str, str]:
        found = by_type(self.status)[type_]
        return found["status"], found["reason"], found["message"]

    @property
    def plan(self) -> Object:
        (container,) = self.replicas.deployment["spec"]["template"]["spec"]["containers"]
        plan: Object = json.loads(container["env"][0]["value"])
        return plan

    def children(self) -> list[tuple[str, str]]:
        resources = (names.SERVICE, names.PDB, names.HPA, names.DEPLOYMENT)
        return [(o["kind"], o["metadata"]["name"]) for resource in resources for o in self.cluster.of_kind(resource)]


@pytest.fixture
def harness() -> Served:
    return Served()


async def serving(harness: Served, **spec: Any) -> Served:
    await harness.put(served(**spec))
    await harness.start()
    assert harness.told("Ready")[0] == "True"
    return harness


async def test_from_nothing_to_an_answer(harness: Served) -> None:
    await harness.put(served())
    assert harness.children() == [("Service", "chat"), ("Deployment", "chat-mdep")]
    assert harness.condition("Ready") == ("False", "DeploymentCreated")
    assert [c["type"] for c in harness.status["conditions"]] == [
        *("Ready", "Reconciling", "Stalled", "Validated", "Progressing", "ModelReady", "AdaptersLoaded"),
    ]
    harness.replicas.act()
    harness.replicas.run()
    harness.replicas.say(phase=1)
    await harness.settle()
    assert harness.condition("Ready") == ("False", "Loading")
    assert harness.status["state"] == "Preparing"
    harness.replicas.answer()
    harness.replicas.say(phase=2, names=1, answering=1, tokensPerSecond=41.2345, firstTokenSeconds=0.1, inFlight=2)
    await harness.settle()
    revision = harness.replicas.deployment["metadata"]["annotations"][names.ANNOTATION_DIGEST]
    uid = harness.run["metadata"]["uid"]
    assert {name: value for name, value in harness.status.items() if name != "conditions"} == {
        "state": "Ready",
        "observedGeneration": 1,
        "url": "http://chat.team.svc:8000/v1",
        "servedNames": ["chat"],
        "replicas": 1,
        "readyReplicas": 1,
        "selector": f"app.kubernetes.io/managed-by=swiftop,swiftop.dev/kind=ModelDeployment,swiftop.dev/name=chat,"
        f"swiftop.dev/uid={uid}",
        "firstTokenSeconds": 0.1,
        "tokensPerSecond": 41.2,
        "serving": {"revision": revision, "inFlight": 2},
        "resolved": {
            "image": "x/y:1",
            "swiftVersion": "4.6",
            "command": "python -m swift.cli.deploy --model Qwen/Qwen2.5-0.5B-Instruct --infer_backend transformers "
            "--served_model_name chat --max_batch_size 1",
        },
        "display": {
            "replicas": "1/1",
            "model": "Qwen/Qwen2.5-0.5B-Instruct",
            "names": "chat",
            "tokensPerSecond": "41.2",
        },
    }
    assert {name: harness.told(name)[:2] for name in by_type(harness.status)} == {
        "Ready": ("True", "Answering"),
        "Reconciling": ("False", "RolledOut"),
        "Stalled": ("False", "Valid"),
        "Validated": ("True", "Valid"),
        "Progressing": ("True", "RolledOut"),
        "ModelReady": ("True", "Ready"),
        "AdaptersLoaded": ("True", "NoAdapters"),
    }
    assert [posted[:2] for posted in harness.cluster.posted] == [
        *(("Normal", "DeploymentCreated"), ("Normal", "Loading"), ("Normal", "Answering")),
    ]


async def test_twice_is_no_write_and_no_read_the_second_time(harness: Served) -> None:
    await serving(harness, replicas=2)
    harness.restart()
    await harness.look()
    before = len(harness.cluster.writes), len(harness.cluster.calls)
    for _ in range(3):
        await harness.look()
    assert (len(harness.cluster.writes), len(harness.cluster.calls)) == before
    assert not [call for call in harness.cluster.writes if call[0] == "apply"][3:]  # Service, budget, Deployment


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
    assert harness.plan["settings"]["adapters"] == [
        {"name": "tuned", "path": "/swiftop/source/tiny-output/tiny-0/checkpoint-20", "rank": 8}
    ]
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
        (run_of(), {"model": {"sftRunRef": {"name": "tiny"}}}, "SourceUnusable", "trained an adapter"),
        (run_of(tuner="full"), WITH_ADAPTER, "SourceUnusable", "trained the whole model"),
        (run_of(output=None), WITH_ADAPTER, "SourceUnusable", "not on a volume"),
        (export_of(merge=False), OF_EXPORT, "SourceUnusable", "exported an adapter, not a model"),
        (export_of(), {"adapters": [{"name": "a", "exportRef": {"name": "merged"}}]}, "SourceUnusable", "merged its"),
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


async def test_an_edit_rolls_out_pod_by_pod(harness: Served) -> None:
    await serving(harness, replicas=2)
    old = harness.status["serving"]["revision"]
    await harness.edit(system="Be brief.")
    harness.replicas.act()
    harness.replicas.run()
    await harness.settle()
    assert harness.told("Ready") == ("True", "Answering", "2 of 2 replicas answer")
    assert harness.told("Reconciling")[0] == "True"
    assert harness.status["serving"]["revision"] == old
    await harness.start()
    assert harness.status["serving"]["revision"] != old
    assert len(harness.replicas.pods) == 2
    assert harness.told("Reconciling")[0] == "False"


@pytest.mark.parametrize("spec", [{"system": "Be brief."}, {"replicas": 2}])
async def test_an_edit_is_not_said_to_be_rolled_out_before_it_is(harness: Served, spec: Object) -> None:
    await serving(harness)
    harness.replicas.count(
        conditions=[{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    )
    harness.cluster.put({**harness.run, "spec": {**harness.run["spec"], **spec}})
    await harness.look()  # the Deployment is changed, and its controller has not seen it
    assert harness.status["observedGeneration"] == harness.run["metadata"]["generation"] == 2
    assert harness.told("Progressing")[:2] == ("True", "RollingOut")
    assert [harness.told(type_)[0] for type_ in ("Ready", "Reconciling", "Stalled")] == ["True", "True", "False"]


async def test_a_new_revision_that_fails_leaves_the_old_one_serving(harness: Served) -> None:
    await serving(harness)
    old = harness.replicas.pods[0]["metadata"]["name"]
    await harness.edit(dtype="float16")
    harness.replicas.act()
    harness.replicas.run()
    new = [pod for pod in harness.replicas.pods if pod["metadata"]["name"] != old]
    harness.replicas.die(restarts=4, exit_code=137, reason="OOMKilled", pods=new)
    await harness.settle()
    assert harness.told("Ready")[:2] == ("True", "Answering")
    status, reason, message = harness.told("Progressing")
    assert (status, reason) == ("False", "HostOutOfMemory")
    assert "(restarted 4 times)" in message
    assert harness.told("Stalled")[:2] == ("True", "HostOutOfMemory")
    assert harness.cluster.posted[-1][:2] == ("Warning", "HostOutOfMemory")  # though it is as Ready as before
    await harness.edit(dtype="bfloat16")
    await harness.start()
    assert harness.told("Progressing")[:2] == ("True", "RolledOut")
    assert harness.told("Stalled")[0] == "False"


async def test_a_pod_that_dies_is_told_in_the_runner_s_words(harness: Served) -> None:
    await serving(harness)
    harness.replicas.die(termination("failed", "CUDAOutOfMemory"), restarts=2)
    await harness.settle()
    assert harness.told("Ready")[:2] == ("False", "CUDAOutOfMemory")
    assert harness.told("Ready")[2].startswith("it ended with CUDAOutOfMemory (restarted 2 times)")
    assert harness.told("Progressing")[0] == "False"
    for pod in harness.replicas.pods:
        harness.replicas.remove(pod)
    await harness.start()
    assert harness.told("Ready")[:2] == ("True", "Answering")


async def test_a_pod_that_is_lost_is_made_up_for(harness: Served) -> None:
    await serving(harness, replicas=2)
    harness.replicas.remove(harness.replicas.pods[0])
    harness.replicas.act()
    await harness.settle()
    assert harness.told("Ready") == ("True", "Answering", "1 of 2 replicas answer")
    assert harness.told("Progressing")[:2] == ("True", "DeploymentCreated")
    assert harness.status["display"]["replicas"] == "1/2"


async def test_an_adapter_that_does_not_load_is_named(harness: Served) -> None:
    harness.cluster.put(run_of())
    await harness.put(served(**WITH_ADAPTER))
    harness.replicas.act()
    harness.replicas.run()
    harness.replicas.say(phase=3, names=2, answering=1, badAdapter="tuned", badAdapterWhy="RankTooHigh")
    await harness.settle()
    assert harness.told("Ready")[:2] == ("False", "AdapterNotLoaded")
    status, reason, message = harness.told("AdaptersLoaded")
    assert (status, reason) == ("False", "AdapterNotLoaded")
    assert "adapter tuned does not load in pod chat-mdep-1: RankTooHigh" in message


async def test_an_adapter_that_keeps_its_pod_from_starting_is_named(harness: Served) -> None:
    harness.cluster.put(run_of())
    await harness.put(served(**WITH_ADAPTER))
    harness.replicas.act()
    harness.replicas.run()
    last = {"phase": 0, "names": 2, "answering": 0, "badAdapter": "tuned", "badAdapterWhy": "Missing"}
    harness.replicas.die(termination("failed", "WeightsMissing", progress=last))
    await harness.settle()
    assert harness.told("Ready")[:2] == ("False", "WeightsMissing")
    assert harness.told("AdaptersLoaded")[:2] == ("False", "AdapterNotLoaded")
    harness.replicas.restart()
    await harness.settle()
    assert harness.told("AdaptersLoaded")[:2] == ("False", "AdapterNotLoaded")
    harness.replicas.say(phase=2, names=2, answering=2)
    await harness.settle()
    assert harness.told("AdaptersLoaded")[:2] == ("True", "AdaptersLoaded")


async def test_an_engine_that_stops_answering_is_not_ready(harness: Served) -> None:
    await serving(harness)
    harness.replicas.say(phase=3)
    harness.replicas.answer(ready=False)
    await harness.settle()
    assert harness.told("Ready")[:2] == ("False", "NotAnswering")
    assert harness.status["state"] == "NotReady"


async def test_why_a_pod_waits_is_told_as_of_a_run(harness: Served) -> None:
    await harness.put(served(resources={"gpus": 1}))
    harness.replicas.act()
    (pod,) = harness.replicas.pods
    said = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    harness.replicas.condition(pod, "PodScheduled", False, reason="Unschedulable", message=said)
    await harness.settle()
    assert harness.told("Ready")[:2] == ("False", "InsufficientGPU")
    assert harness.told("Progressing")[0] == "True"  # GPUs may become free
    harness.replicas.count(
        conditions=[{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
    )
    await harness.settle()
    assert harness.told("Progressing")[:2] == ("False", "InsufficientGPU")
    assert harness.told("Stalled")[0] == "True"


async def test_pods_that_are_refused(harness: Served) -> None:
    await harness.put(served())
    message = 'pods "chat-mdep-x" is forbidden: exceeded quota: q, requested: cpu=1, used: cpu=4, limited: cpu=4'
    harness.replicas.count(conditions=[{"type": "ReplicaFailure", "status": "True", "message": message}])
    await harness.settle()
    assert harness.told("Ready")[:2] == ("False", "QuotaExceeded")


async def test_a_volume_that_is_not_mounted_is_told_by_events(harness: Served) -> None:
    await harness.put(served(apiKey={"name": "keys", "key": "k"}))
    harness.replicas.act()
    (pod,) = harness.replicas.pods
    harness.replicas.condition(pod, "PodScheduled", True)
    harness.cluster.now += 30
    about = {"kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    event = {"reason": "FailedMount", "message": 'MountVolume.SetUp failed: configmap "x" not found', "metadata": {}}
    harness.cluster.warned.append({**event, "lastTimestamp": "2027-01-15T08:00:30Z", "involvedObject": about})
    await harness.settle()
    assert harness.told("Ready")[:2] == ("False", "ConfigMapMissing")


async def test_a_runner_that_is_gone_is_made_again_once_a_pod_misses_it(harness: Served) -> None:
    await serving(harness)
    (runner,) = harness.cluster.of_kind(names.CONFIG_MAP)
    harness.cluster.remove(names.CONFIG_MAP, NAMESPACE, runner["metadata"]["name"])
    harness.replicas.remove(harness.replicas.pods[0])
    harness.replicas.act()
    (pod,) = harness.replicas.pods
    harness.replicas.condition(pod, "PodScheduled", True)
    harness.cluster.now += 30
    about = {"kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    message = f'MountVolume.SetUp failed for volume "runner" : configmap "{runner["metadata"]["name"]}" not found'
    event = {"reason": "FailedMount", "message": message, "metadata": {}, "involvedObject": about}
    harness.cluster.warned.append({**event, "lastTimestamp": "2027-01-15T08:00:30Z"})
    await harness.settle()
    assert [made["binaryData"] for made in harness.cluster.of_kind(names.CONFIG_MAP)] == [runner["binaryData"]]


async def test_a_namespace_that_is_made_anew_gets_the_runner_before_any_pod(harness: Served) -> None:
    await serving(harness)
    for resource in (names.SERVICE, names.DEPLOYMENT, names.CONFIG_MAP, names.POD):
        for child in harness.cluster.of_kind(resource):
            harness.cluster.remove(resource, NAMESPACE, child["metadata"]["name"])
    harness.cluster.remove(names.MODELDEPLOYMENT, NAMESPACE, "chat")
    await harness.settle()
    await harness.put(served())
    assert len(list(harness.cluster.of_kind(names.CONFIG_MAP))) == 1


async def test_a_foreign_service_of_its_name_is_never_taken_over(harness: Served) -> None:
    foreign = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "chat", "namespace": NAMESPACE, "labels": {"app": "theirs"}},
        "spec": {"selector": {"app": "theirs"}},
    }
    harness.cluster.put(foreign)
    await harness.put(served())
    assert harness.told("Stalled")[:2] == ("True", "NameConflict")
    assert harness.cluster.find(names.SERVICE, "chat")["spec"] == foreign["spec"]
    assert harness.children() == [("Service", "chat")]  # and no GPU is taken
    harness.cluster.remove(names.SERVICE, NAMESPACE, "chat")
    await harness.settle()
    await harness.start()
    assert harness.told("Ready")[0] == "True"


async def test_a_foreign_deployment_with_our_labels_is_not_ours(harness: Served) -> None:
    await harness.put(served())
    deployment = harness.replicas.deployment
    harness.cluster.remove(names.DEPLOYMENT, NAMESPACE, "chat-mdep")
    copied = {name: value for name, value in deployment["metadata"].items() if name not in ("uid", "ownerReferences")}
    harness.cluster.put({**deployment, "metadata": copied, "spec": {"replicas": 7}})
    await harness.settle()
    assert harness.told("Progressing")[:2] == ("True", "NameConflict")
    assert harness.replicas.deployment["spec"] == {"replicas": 7}


async def test_what_others_change_is_put_right(harness: Served) -> None:
    await serving(harness)
    deployment, service = harness.replicas.deployment, harness.cluster.find(names.SERVICE, "chat")
    harness.cluster.put({**deployment, "spec": {**deployment["spec"], "replicas": 5}})
    harness.cluster.put({**service, "spec": {**service["spec"], "selector": {"app": "theirs"}}})
    harness.cluster.objects["Service", NAMESPACE, "chat"]["spec"]["selector"] = {"app": "theirs"}
    harness.cluster.remove(names.SERVICE, NAMESPACE, "chat")
    await harness.settle()
    assert harness.replicas.deployment["spec"]["replicas"] == 1
    assert harness.cluster.find(names.SERVICE, "chat")["spec"] == service["spec"]


async def test_what_is_no_longer_asked_for_goes(harness: Served) -> None:
    await serving(harness, replicas=2, autoscaling={"min": 2, "max": 4, "target": 8})
    kinds = [kind for kind, _ in harness.children()]
    assert kinds == ["Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "Deployment"]
    await harness.edit(autoscaling=None, replicas=1)
    assert [kind for kind, _ in harness.children()] == ["Service", "Deployment"]
    assert harness.replicas.deployment["spec"]["replicas"] == 1


async def test_none_is_asked_for(harness: Served) -> None:
    await serving(harness)
    await harness.edit(replicas=0)
    harness.replicas.act()
    await harness.settle()
    assert harness.told("Ready")[:2] == ("False", "ScaledToZero")
    assert harness.told("Progressing")[:2] == ("True", "RolledOut")


async def test_an_edit_that_cannot_be_made_leaves_what_serves(harness: Served) -> None:
    await serving(harness)
    await harness.edit(engineArgs=[{"name": "no_such_flag", "value": "1"}])
    assert harness.told("Ready")[0] == "True"
    assert harness.told("Validated")[:2] == ("False", "UnknownFlag")
    assert harness.told("Progressing")[:2] == ("False", "UnknownFlag")
    await harness.edit(model={"exportRef": {"name": "merged"}}, engineArgs=[])
    assert harness.told("ModelReady")[:2] == ("False", "SourceMissing")
    assert harness.told("Ready")[0] == "True"
    await harness.edit(replicas="many")
    assert harness.told("Ready")[0] == "True"
    assert harness.told("Stalled")[:2] == ("True", "InvalidSpec")


async def test_a_missing_right_is_told(harness: Served) -> None:
    def forbidden(verb: str, kind: str) -> Fault | None:
        error = Forbidden('PATCH /x: 403 User "swiftop" cannot patch resource "deployments"')
        return Fault(error) if (verb, kind) == ("apply", "Deployment") else None

    harness.cluster.fault = forbidden
    harness.cluster.put(served())
    assert await harness.look() == 30.0  # no watch tells of a right that is granted
    assert harness.told("Ready")[:2] == ("False", "MissingPermission")


async def test_its_children_go_with_it(harness: Served) -> None:
    await serving(harness)
    harness.cluster.remove(names.MODELDEPLOYMENT, NAMESPACE, "chat")
    assert await harness.look() is None
    assert harness.children() == []
