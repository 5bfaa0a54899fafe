"""Why a pod of a ModelDeployment does not answer, and what is said of it."""

from __future__ import annotations

from swiftop import names
from tests.engine.kubernetes import NAMESPACE, termination
from tests.engine.served import WITH_ADAPTER, Served, run_of, served, serving


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
