"""The Deployment controller, the scheduler and the kubelet for what serves, driven by hand."""

from __future__ import annotations

import copy
from typing import Any

from swiftop import names
from swiftop.model.kind import Reading
from swiftop.model.times import text_of
from swiftop.runner.report import SERVING, read
from tests.engine.fakecluster import FakeCluster, Object
from tests.engine.harness import Readings
from tests.engine.kubernetes import NAMESPACE


class Replicas:
    """Pods of one Deployment: no old one goes before a new one answers, and one more than asked for at most."""

    def __init__(self, cluster: FakeCluster, readings: Readings, name: str = "chat") -> None:
        self.cluster = cluster
        self.readings = readings
        self.name = f"{name}-mdep"
        self.made = 0
        self.available: Object | None = None  # labels of the template whose pods were all ready once

    @property
    def deployment(self) -> Object:
        return self.cluster.find(names.DEPLOYMENT, self.name)

    @property
    def pods(self) -> list[Object]:
        return [pod for pod in self.cluster.of_kind(names.POD) if pod["metadata"]["name"].startswith(self.name)]

    def _is_new(self, pod: Object) -> bool:
        labels: Object = self.deployment["spec"]["template"]["metadata"]["labels"]
        return bool(pod["metadata"]["labels"] == labels)

    def act(self) -> None:
        """The Deployment controller does what it can for now."""
        wanted: int = self.deployment["spec"]["replicas"]
        while sum(map(self._is_new, self.pods)) < wanted and len(self.pods) < wanted + 1:
            self._create()
        for pod in [pod for pod in self.pods if not self._is_new(pod)]:
            if sum(map(is_ready, self.pods)) > wanted or not is_ready(pod):
                self.remove(pod)
        for pod in self.pods[::-1]:
            if len(self.pods) > wanted and all(map(self._is_new, self.pods)):
                self.remove(pod)
        while sum(map(self._is_new, self.pods)) < wanted and len(self.pods) < wanted + 1:
            self._create()
        self.count()

    def count(self, **more: Any) -> None:
        """Its status."""
        deployment = self.deployment
        if all(map(self._is_new, self.pods)) and sum(map(is_ready, self.pods)) >= deployment["spec"]["replicas"]:
            self.available = deployment["spec"]["template"]["metadata"]["labels"]
        done = self.available == deployment["spec"]["template"]["metadata"]["labels"]
        reason = "NewReplicaSetAvailable" if done else "ReplicaSetUpdated"
        status = {
            **deployment.get("status", {}),
            "conditions": [{"type": "Progressing", "status": "True", "reason": reason}],
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(self.pods),
            "updatedReplicas": sum(map(self._is_new, self.pods)),
            "readyReplicas": sum(map(is_ready, self.pods)),
            "availableReplicas": sum(map(is_ready, self.pods)),
            **more,
        }
        self.cluster.put({**deployment, "status": status})

    def _create(self) -> None:
        self.made += 1
        template = copy.deepcopy(self.deployment["spec"]["template"])
        owner = self._set(template)
        metadata = {
            "name": f"{self.name}-{self.made}",
            "namespace": NAMESPACE,
            "labels": template["metadata"]["labels"],
            "ownerReferences": [{"kind": "ReplicaSet", **owner, "controller": True}],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        self.cluster.put({**pod, "status": {"phase": "Pending"}})

    def _set(self, template: Object) -> Object:
        """The ReplicaSet of a template, with a copy of the Deployment's annotations; its name and UID."""
        meta, labels = self.deployment["metadata"], template["metadata"]["labels"]
        name = f"{self.name}-{labels[names.LABEL_REVISION]}"
        hashed = {**labels, "pod-template-hash": "x"}
        metadata = {
            "name": name,
            "namespace": NAMESPACE,
            "labels": hashed,
            "annotations": meta["annotations"],
            "ownerReferences": [{"kind": "Deployment", "name": self.name, "uid": meta["uid"], "controller": True}],
        }
        kept = {**template, "metadata": {**template["metadata"], "labels": hashed}}
        made = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": {"template": kept}}
        uid = self.cluster.put(made)["metadata"]["uid"]
        return {"name": name, "uid": uid}

    def remove(self, pod: Object) -> None:
        self.cluster.remove(names.POD, NAMESPACE, pod["metadata"]["name"])

    def run(self) -> None:
        """All pods have a node, and their containers run."""
        now = text_of(self.cluster.now)
        placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": now}
        for pod in self.pods:
            if pod["status"]["phase"] == "Pending":
                state = {"name": names.CONTAINER, "state": {"running": {"startedAt": now}}, "restartCount": 0}
                status = {"phase": "Running", "conditions": [placed], "containerStatuses": [state]}
                self.cluster.put({**pod, "status": status})

    def answer(self, *, ready: bool = True) -> None:
        """All pods that run pass their readiness probe, or none does any more."""
        for pod in self.pods:
            if pod["status"]["phase"] == "Running":
                self.condition(pod, "Ready", ready)
        self.count()

    def restart(self) -> None:
        """The containers that died run again, and say nothing yet."""
        for pod in self.pods:
            (state,) = pod["status"]["containerStatuses"]
            running = {**state, "state": {"running": {"startedAt": text_of(self.cluster.now)}}}
            self.cluster.put({**pod, "status": {**pod["status"], "containerStatuses": [running]}})

    def condition(self, pod: Object, type_: str, holds: bool, **more: Any) -> None:
        others = [c for c in pod["status"].get("conditions", ()) if c["type"] != type_]
        conditions = [*others, {"type": type_, "status": str(holds), **more}]
        self.cluster.put({**pod, "status": {**pod["status"], "conditions": conditions}})

    def start(self) -> None:
        """From a Deployment, new or changed, to pods that answer."""
        for _ in range(2 * self.deployment["spec"]["replicas"] + 2):
            self.act()
            self.run()
            self.answer()

    def die(
        self,
        message: str = "",
        *,
        restarts: int = 1,
        exit_code: int = 3,
        reason: str = "Error",
        pods: list[Object] | None = None,
    ) -> None:
        """The containers of these pods, or of all, have died, and wait to be started again."""
        now = text_of(self.cluster.now)
        end = {"exitCode": exit_code, "reason": reason, "message": message, "startedAt": now, "finishedAt": now}
        for pod in self.pods if pods is None else pods:
            state = {
                "name": names.CONTAINER,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
                "lastState": {"terminated": end},
                "restartCount": restarts,
            }
            conditions = [c for c in pod["status"].get("conditions", ()) if c["type"] != "Ready"]
            status = {**pod["status"], "containerStatuses": [state], "conditions": conditions}
            self.cluster.put({**pod, "status": status})
        self.count()

    def say(self, **document: Any) -> None:
        """All pods report."""
        for pod in self.pods:
            self.readings.by_pod[pod["metadata"]["uid"]] = Reading(read(SERVING, document))


def is_ready(pod: Object) -> bool:
    conditions = {c["type"]: c["status"] for c in pod["status"].get("conditions", ())}
    return conditions.get("Ready") == "True"
