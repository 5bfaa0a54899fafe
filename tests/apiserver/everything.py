"""All that makes the operator ask the API server for something: what its rights are compared with."""

from __future__ import annotations

import json
from typing import Any

from swiftop import names
from swiftop.shell.cluster import Cluster
from tests.apiserver import export_cases, upload_cases
from tests.apiserver.kubelet import answer_wrongly, pods_of, tell
from tests.apiserver.process import eventually, started
from tests.apiserver.runs import GATED, run_of, served, trained


async def everything(cluster: Any, k8s: Cluster, namespace: str) -> None:
    """One story after the other: the last one leaves a quota behind that lets no pod start."""
    await _runs(cluster, k8s, namespace)
    await _other_batch_kinds(k8s, namespace)
    await _scaled(cluster, k8s, namespace)
    await _following(cluster, k8s, namespace)
    await _withdrawn(cluster, k8s, namespace)
    await _merged(cluster, k8s, namespace)
    await _refused(cluster, k8s, namespace)


def _change(cluster: Any, namespace: str, what: str, **spec: Any) -> None:
    cluster.kubectl("patch", what, "-n", namespace, "--type=merge", "-p", json.dumps({"spec": spec}))


async def _runs(cluster: Any, k8s: Cluster, namespace: str) -> None:
    """A deadline that changes, a pod without an address, whose log is asked for, and a Job that is deleted."""
    volume = {"size": "1Gi", "accessMode": "ReadWriteMany"}
    spread = {"output": {"volume": volume}, "resources": {"gpus": 1, "nodes": 2}}
    await k8s.create(run_of("a", namespace, lifecycle={"activeDeadlineSeconds": 5000}))
    await k8s.create(run_of("b", namespace, **spread))
    for name in ("a", "b"):
        await started(k8s, namespace, name, within=10)
    assert await k8s.get(names.SERVICE, namespace, "b-ranks") is not None
    assert await k8s.get(names.PVC, namespace, "b-output") is not None
    _change(cluster, namespace, "sftrun/a", lifecycle={"activeDeadlineSeconds": 7000})
    (pod,) = await pods_of(k8s, namespace, "a", 1)
    await tell(k8s, pod, ready=True, state={"running": {"startedAt": "2026-01-01T00:00:00Z"}})
    _change(cluster, namespace, "sftrun/b", suspend=True)


async def _other_batch_kinds(k8s: Cluster, namespace: str) -> None:
    for minimal, source in ((export_cases.MINIMAL, "adapter"), (upload_cases.MINIMAL, "chats.jsonl")):
        claim = {"source": {"persistentVolumeClaim": {"claimName": "data", "path": source}}}
        shared = {member: run_of("", "")["spec"][member] for member in ("runtime", "placement")}
        spec = {**minimal["spec"], **claim, **shared}
        await k8s.create({**minimal, "metadata": {"name": "other", "namespace": namespace}, "spec": spec})


async def _scaled(cluster: Any, k8s: Cluster, namespace: str) -> None:
    """What serves, with a budget and an autoscaler that are asked for no longer."""
    await k8s.create(served("chat", namespace, autoscaling={"min": 2, "max": 3, "target": 4}, replicas=2))

    async def autoscaler() -> dict[str, Any] | None:
        return await k8s.get(names.HPA, namespace, "chat-mdep")

    await eventually(autoscaler, within=20)
    _change(cluster, namespace, "mdep/chat", autoscaling=None, replicas=1)


async def _following(cluster: Any, k8s: Cluster, namespace: str) -> None:
    """Adapters that pods follow: another one, and then none of them any more."""
    name = names.adapters_name(names.MODELDEPLOYMENT, "live")
    claim = {"claimName": "data", "path": "a"}
    adapters = [{"name": adapter, "persistentVolumeClaim": claim} for adapter in ("a", "b")]
    await k8s.create(served("live", namespace, engine="vllm", server="Native", adapters=adapters[:1]))

    async def told() -> str:
        found = await k8s.get(names.CONFIG_MAP, namespace, name)
        return json.dumps(found["data"]) if found else ""

    async def both() -> bool:
        return '\\"b\\"' in await told()

    async def none() -> bool:
        return not await told()

    async def no_pod() -> bool:
        return not await k8s.list(names.POD, namespace, {names.LABEL_NAME: "live"})

    await eventually(told, within=20)
    _change(cluster, namespace, "mdep/live", adapters=adapters)
    await eventually(both, within=20)
    _change(cluster, namespace, "mdep/live", replicas=0)
    await eventually(no_pod, within=60)
    _change(cluster, namespace, "mdep/live", server="Swift")
    await eventually(none, within=30)


async def _withdrawn(cluster: Any, k8s: Cluster, namespace: str) -> None:
    """A revision that fails its gate: the earlier one is looked up."""
    await k8s.create(served("gated", namespace, rollout=GATED))
    (old,) = await pods_of(k8s, namespace, "gated", 1)
    await tell(k8s, old, "Ready", "ContainersReady", ready=True, state={"running": {}})
    _change(cluster, namespace, "mdep/gated", system="Say duck.")
    pods = await pods_of(k8s, namespace, "gated", 2)
    (new,) = [pod for pod in pods if pod["metadata"]["uid"] != old["metadata"]["uid"]]
    await answer_wrongly(k8s, new)
    (left,) = await pods_of(k8s, namespace, "gated", 1)
    assert left["metadata"]["uid"] == old["metadata"]["uid"]


async def _merged(cluster: Any, k8s: Cluster, namespace: str) -> None:
    """The adapter of a run: it is merged, and that asks for something else before it starts."""
    await trained(k8s, namespace, "tiny")
    await k8s.create(served("tuned", namespace, model={"sftRunRef": {"name": "tiny"}}))

    async def merging() -> dict[str, Any] | None:
        found = await k8s.list(names.MODELEXPORT, namespace, {names.LABEL_NAME: "tuned"})
        return found[0] if found else None

    first = await eventually(merging, within=20)
    assert first is not None

    async def made_anew() -> bool:
        now = await merging()
        return now is not None and now["metadata"]["uid"] != first["metadata"]["uid"]

    _change(cluster, namespace, "mdep/tuned", merge={"resources": {"gpus": 0, "memory": "2Gi"}})
    await eventually(made_anew, within=20)


async def _refused(cluster: Any, k8s: Cluster, namespace: str) -> None:
    """A Job's name is taken by somebody else's, and a Job's pod is refused."""
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "x", "image": "x"}]}}
    taken = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "c-1", "namespace": namespace}}
    await k8s.create({**taken, "spec": {"suspend": True, "template": template}})
    cluster.kubectl("create", "quota", "none", "-n", namespace, "--hard=pods=0")
    await k8s.create(run_of("d", namespace))
    await k8s.create(run_of("c", namespace))
