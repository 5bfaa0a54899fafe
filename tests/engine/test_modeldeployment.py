"""A ModelDeployment and its children: made, written once, put right, and left alone where they are not its own."""

from __future__ import annotations

import copy

from swiftop import names
from swiftop.errors import Forbidden
from swiftop.model.conditions import by_type
from tests.engine.fakecluster import Fault
from tests.engine.kubernetes import NAMESPACE
from tests.engine.served import Served, served, serving


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
    deployment, service = harness.replicas.deployment, copy.deepcopy(harness.cluster.find(names.SERVICE, "chat"))
    harness.cluster.put({**deployment, "spec": {**deployment["spec"], "replicas": 5}})
    harness.cluster.put({**service, "spec": {**service["spec"], "type": "NodePort"}})
    await harness.settle()
    assert harness.replicas.deployment["spec"]["replicas"] == 1
    assert harness.cluster.find(names.SERVICE, "chat")["spec"] == service["spec"]


async def test_a_child_that_others_delete_is_made_again(harness: Served) -> None:
    await serving(harness)
    service = copy.deepcopy(harness.cluster.find(names.SERVICE, "chat"))
    harness.cluster.remove(names.SERVICE, NAMESPACE, "chat")
    await harness.settle()
    assert harness.cluster.find(names.SERVICE, "chat")["spec"] == service["spec"]


async def test_what_is_no_longer_asked_for_goes(harness: Served) -> None:
    await serving(harness, replicas=2, autoscaling={"min": 2, "max": 4, "target": 8})
    kinds = [kind for kind, _ in harness.children()]
    assert kinds == ["Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "Deployment"]
    await harness.edit(autoscaling=None, replicas=1)
    assert [kind for kind, _ in harness.children()] == ["Service", "Deployment"]
    assert harness.replicas.deployment["spec"]["replicas"] == 1


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
