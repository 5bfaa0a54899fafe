"""What serves, on a real API server: server-side apply, defaults and the Deployment controller are the real ones."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from swiftop import names
from swiftop.errors import Conflict
from swiftop.model.conditions import by_type
from swiftop.model.kind import Key
from swiftop.shell.cluster import Cluster
from tests.apiserver.cases import merged
from tests.apiserver.kubelet import answer_wrongly, pods_of, tell
from tests.apiserver.process import eventually
from tests.apiserver.runs import GATED, SUCCEEDED, served, trained
from tests.apiserver.test_children import Operator
from tests.unit.kinds.modeldeployment.deployments import children_of
from tests.unit.kinds.modeldeployment.test_children_of_deployment import CASES

pytestmark = pytest.mark.cluster

CHILDREN = {
    names.SERVICE: "chat",
    names.PDB: "chat-mdep",
    names.HPA: "chat-mdep",
    names.DEPLOYMENT: "chat-mdep",
}


class Served(Operator):
    """An operator whose deployment is ``chat``."""

    def key(self, name: str) -> Key:
        return Key("ModelDeployment", self.namespace, name)

    async def generations(self) -> dict[str, Any]:
        """Of each child what changes by a write of ours alone."""
        found = {kind.kind: await self.cluster.get(kind, self.namespace, name) for kind, name in CHILDREN.items()}
        return {
            kind: (child["metadata"]["uid"], child["metadata"].get("generation"), child["spec"])
            for kind, child in found.items()
            if child
        }

    async def edit(self, **spec: Any) -> None:
        known = await self.find(names.MODELDEPLOYMENT, "chat")
        await self.cluster.replace(merged(known, {"spec": spec}))
        await self.look("chat")


@pytest.fixture
def operator(k8s: Cluster, namespace: str) -> Served:
    return Served(k8s, namespace)


@pytest.mark.parametrize("case", CASES)
async def test_the_api_server_takes_every_child_as_it_is_built(k8s: Cluster, namespace: str, case: str) -> None:
    for child in children_of(CASES[case]):
        child["metadata"]["namespace"] = namespace
        taken = await k8s.apply(child)
        assert taken["metadata"]["name"] == child["metadata"]["name"]


async def test_a_second_look_writes_nothing_though_the_server_filled_in_defaults(operator: Served) -> None:
    scaling = {"min": 2, "max": 3, "target": 4}
    await operator.cluster.create(served("chat", operator.namespace, autoscaling=scaling))
    await operator.look("chat")
    before = await operator.generations()
    assert before.keys() == {kind.kind for kind in CHILDREN}
    applied: list[str] = []
    apply = operator.cluster.apply

    async def counted(obj: dict[str, Any]) -> dict[str, Any]:
        applied.append(obj["kind"])
        return await apply(obj)

    operator.cluster.apply = counted  # type: ignore[method-assign]
    again = Served(operator.cluster, operator.namespace)  # another process, which remembers nothing
    for engine in (operator, again, again):
        await engine.look("chat")
    assert applied == []
    assert await operator.generations() == before


async def test_an_edit_is_a_new_generation_of_what_it_changes_and_of_nothing_else(operator: Served) -> None:
    await operator.cluster.create(served("chat", operator.namespace, replicas=2))
    await operator.look("chat")
    before = await operator.generations()
    await operator.edit(system="Be brief.")
    after = await operator.generations()
    assert {kind for kind in before if before[kind][2] != after[kind][2]} == {"Deployment"}
    await operator.edit(replicas=1)

    async def left() -> bool:
        return (await operator.generations()).keys() == {"Service", "Deployment"}

    await eventually(left, within=30)


async def scale(operator: Served, name: str, replicas: int) -> None:
    """Kubernetes writes its status at the same time."""
    for _ in range(20):
        with contextlib.suppress(Conflict):
            deployment = await operator.find(names.DEPLOYMENT, name)
            await operator.cluster.replace(merged(deployment, {"spec": {"replicas": replicas}}))
            return
    raise AssertionError(f"{name} was changed by somebody else 20 times")


async def test_what_a_person_changes_is_put_right(operator: Served) -> None:
    await operator.cluster.create(served("chat", operator.namespace))
    await operator.look("chat")
    await scale(operator, "chat-mdep", 4)
    await operator.look("chat")
    assert (await operator.find(names.DEPLOYMENT, "chat-mdep"))["spec"]["replicas"] == 1


async def test_a_revision_that_fails_its_gate_gets_the_earlier_template_back(operator: Served) -> None:
    await operator.cluster.create(served("chat", operator.namespace, rollout=GATED))
    await operator.look("chat")
    (old,) = await pods_of(operator.cluster, operator.namespace, "chat", 1)
    await tell(operator.cluster, old, "Ready", "ContainersReady", ready=True, state={"running": {}})
    before = await operator.find(names.DEPLOYMENT, "chat-mdep")
    await operator.edit(system="Say duck.")
    pods = await pods_of(operator.cluster, operator.namespace, "chat", 2)
    (new,) = [pod for pod in pods if pod["metadata"]["uid"] != old["metadata"]["uid"]]
    await answer_wrongly(operator.cluster, new)
    await operator.look("chat")
    after = await operator.find(names.DEPLOYMENT, "chat-mdep")
    assert after["spec"] == before["spec"]
    (left,) = await pods_of(operator.cluster, operator.namespace, "chat", 1)
    assert left["metadata"]["uid"] == old["metadata"]["uid"]
    for _ in range(2):
        await operator.look("chat")
    settled = await operator.find(names.DEPLOYMENT, "chat-mdep")
    assert settled["metadata"]["generation"] == after["metadata"]["generation"]
    told = by_type((await operator.find(names.MODELDEPLOYMENT, "chat"))["status"])["Progressing"]
    assert (told["status"], told["reason"]) == ("False", "GateFailed")
    assert "it was a duck" in told["message"]
    # The template that the API server has filled in gives way to what is rendered.
    await operator.edit(system="Be brief.")
    pods = await pods_of(operator.cluster, operator.namespace, "chat", 2)
    assert {pod["metadata"]["labels"][names.LABEL_REVISION] for pod in pods} > {
        old["metadata"]["labels"][names.LABEL_REVISION]
    }
    last = await operator.find(names.DEPLOYMENT, "chat-mdep")
    assert names.ANNOTATION_WITHDRAWN not in last["metadata"]["annotations"]


async def test_a_first_revision_that_fails_its_gate_has_no_pods(operator: Served) -> None:
    await operator.cluster.create(served("chat", operator.namespace, rollout=GATED))
    await operator.look("chat")
    (pod,) = await pods_of(operator.cluster, operator.namespace, "chat", 1)
    await answer_wrongly(operator.cluster, pod)
    await operator.look("chat")
    assert (await operator.find(names.DEPLOYMENT, "chat-mdep"))["spec"]["replicas"] == 0
    await operator.look("chat")
    assert (await operator.find(names.DEPLOYMENT, "chat-mdep"))["metadata"]["generation"] == 2
    told = by_type((await operator.find(names.MODELDEPLOYMENT, "chat"))["status"])["Ready"]
    assert (told["status"], told["reason"]) == ("False", "GateFailed")


async def test_the_adapter_of_a_run_is_merged_by_an_export_that_the_api_server_takes(operator: Served) -> None:
    await trained(operator.cluster, operator.namespace, "tiny")
    await operator.cluster.create(served("chat", operator.namespace, model={"sftRunRef": {"name": "tiny"}}))
    for _ in range(2):
        await operator.look("chat")
    (export,) = await operator.cluster.list(names.MODELEXPORT, operator.namespace)
    assert export["metadata"]["ownerReferences"][0]["name"] == "chat"
    assert export["spec"]["output"] == {"persistentVolumeClaim": {"claimName": "tiny-output"}}
    told = by_type((await operator.find(names.MODELDEPLOYMENT, "chat"))["status"])["ModelReady"]
    assert (told["status"], told["reason"]) == ("False", "Merging")
    done = {"conditions": [SUCCEEDED], "artifact": {"claimName": "tiny-output", "path": "merged-0/model"}}
    await operator.cluster.patch_status(export, done, export["metadata"]["resourceVersion"])
    await operator.look("chat")
    made = await operator.find(names.DEPLOYMENT, "chat-mdep")
    pod = made["spec"]["template"]["spec"]
    (mount,) = [one for one in pod["containers"][0]["volumeMounts"] if one["mountPath"].endswith("/tiny-output")]
    assert mount["readOnly"]
    versions = [made["metadata"]["generation"], export["metadata"]["uid"]]
    for _ in range(2):
        await operator.look("chat")
    again = await operator.find(names.DEPLOYMENT, "chat-mdep")
    (left,) = await operator.cluster.list(names.MODELEXPORT, operator.namespace)
    assert [again["metadata"]["generation"], left["metadata"]["uid"]] == versions


async def test_another_adapter_of_the_engine_s_own_server_changes_no_deployment(operator: Served) -> None:
    claim = {"claimName": "data", "path": "a"}
    adapters = [{"name": name, "persistentVolumeClaim": claim} for name in ("a", "b")]
    spec = {"engine": "vllm", "server": "Native", "adapters": adapters[:1]}
    await operator.cluster.create(served("chat", operator.namespace, **spec))
    await operator.look("chat")
    before = await operator.generations()
    assert len(await pods_of(operator.cluster, operator.namespace, "chat", 1)) == 1
    told = await operator.find(names.CONFIG_MAP, "chat-mdep-adapters")
    for engine in (operator, Served(operator.cluster, operator.namespace)):  # the second one remembers nothing
        await engine.look("chat")
        known = await operator.find(names.CONFIG_MAP, "chat-mdep-adapters")
        assert known["metadata"]["resourceVersion"] == told["metadata"]["resourceVersion"]
    await operator.edit(adapters=adapters)
    (text,) = (await operator.find(names.CONFIG_MAP, "chat-mdep-adapters"))["data"].values()
    assert [one["name"] for one in json.loads(text)["adapters"]] == ["a", "b"]
    assert await operator.generations() == before
    # What somebody writes over it is put right, and what they add is theirs.
    known = await operator.find(names.CONFIG_MAP, "chat-mdep-adapters")
    ours = known["data"]
    await operator.cluster.replace({**known, "data": {**dict.fromkeys(ours, "{"), "theirs": "x"}})
    for _ in range(2):
        await operator.look("chat")
    known = await operator.find(names.CONFIG_MAP, "chat-mdep-adapters")
    assert known["data"] == {**ours, "theirs": "x"}
    await operator.look("chat")
    after = await operator.find(names.CONFIG_MAP, "chat-mdep-adapters")
    assert after["metadata"]["resourceVersion"] == known["metadata"]["resourceVersion"]


async def test_a_foreign_service_is_left_alone(operator: Served) -> None:
    port = {"name": "http", "port": 80, "protocol": "TCP"}
    foreign = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat", "namespace": operator.namespace}}
    await operator.cluster.create({**foreign, "spec": {"selector": {"app": "theirs"}, "ports": [port]}})
    await operator.cluster.create(served("chat", operator.namespace))
    await operator.look("chat")
    status = (await operator.find(names.MODELDEPLOYMENT, "chat"))["status"]
    assert by_type(status)["Stalled"]["reason"] == "NameConflict"
    assert (await operator.find(names.SERVICE, "chat"))["spec"]["selector"] == {"app": "theirs"}
    assert await operator.cluster.get(names.DEPLOYMENT, operator.namespace, "chat-mdep") is None
