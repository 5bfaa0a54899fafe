"""What Kubernetes does with a run's Job, step by step, so that a test can stop between any two steps."""

from __future__ import annotations

import json
from typing import Any

from swiftop import names
from swiftop.model.times import text_of
from tests.engine.fakecluster import FakeCluster, Object

NAMESPACE = "team"


def sftrun(name: str = "tiny", **spec: Any) -> Object:
    """A small valid run."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": "SFTRun",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "model": {"id": "Qwen/Qwen2.5-7B-Instruct"},
            "datasets": [{"id": "CodyWhy/mh-sharegpt-20250820"}],
            "resources": {"gpus": 1},
            "output": {"persistentVolumeClaim": {"claimName": "results"}},
            "runtime": {"image": "registry.example/trainer:0"},
            **spec,
        },
    }


def termination(outcome: str, reason: str, **more: Any) -> str:
    """The runner's last message."""
    return json.dumps({"outcome": outcome, "reason": reason, "message": f"it ended with {reason}", **more})


class Kubernetes:
    """Job controller, scheduler and kubelet for the Job of one run."""

    def __init__(self, cluster: FakeCluster, run: str = "tiny", attempt: int = 1) -> None:
        self.cluster = cluster
        self.run_name = run
        self.attempt(attempt)

    def attempt(self, number: int) -> None:
        """What follows is done to the Job of this attempt."""
        self.job_name = names.job_name(names.SFTRUN, self.run_name, number)
        self.pods = 0

    @property
    def job(self) -> Object:
        return self.cluster.find(names.JOB, self.job_name)

    def has_job(self) -> bool:
        return (names.JOB.kind, NAMESPACE, self.job_name) in self.cluster.objects

    @property
    def pod_name(self) -> str:
        return f"{self.job_name}-{self.pods}"

    def _now(self) -> str:
        return text_of(self.cluster.now)

    def take_up(self, *, active: int = 1) -> None:
        """The Job controller has seen the Job."""
        self._job_status(startTime=self._now(), active=active)

    def suspend_job(self, *, suspended: bool = True) -> None:
        """By somebody else. The Job controller ends the pods and forgets when it took the Job up."""
        job = self.job
        self.cluster.put({**job, "spec": {**job["spec"], "suspend": suspended}})
        if suspended:
            self._job_status(startTime=None, active=0)
        else:
            self.take_up()

    def create_pod(self, index: int | None = None) -> None:
        self.pods += 1
        template = self.job["spec"]["template"]
        annotations = {"batch.kubernetes.io/job-completion-index": str(index)} if index is not None else {}
        self.cluster.put(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": self.pod_name,
                    "namespace": NAMESPACE,
                    "labels": dict(template["metadata"]["labels"]),
                    "annotations": annotations,
                    "ownerReferences": [
                        {"kind": "Job", "name": self.job_name, "uid": self.job["metadata"]["uid"], "controller": True}
                    ],
                },
                "spec": dict(template["spec"]),
                "status": {"phase": "Pending"},
            }
        )

    def refuse_to_place(self, message: str = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.") -> None:
        self._pod_status(conditions=[self._placed("False", "Unschedulable", message)])

    def place(self) -> None:
        self._pod_status(conditions=[self._placed("True")])

    def container(self, pod: str | None = None, **state: Any) -> None:
        self._pod_status(pod, containerStatuses=[{"name": names.CONTAINER, "state": state}])

    def run(self) -> None:
        self._pod_status(phase="Running", podIP="10.0.0.7")
        self.container(running={"startedAt": self._now()})

    def end(self, *, exit_code: int = 0, message: str = "", reason: str = "", pod: str | None = None) -> None:
        known = self.cluster.find(names.POD, pod or self.pod_name)
        states = [c["state"] for c in known.get("status", {}).get("containerStatuses") or ()]
        started = next((s["running"]["startedAt"] for s in states if "running" in s), "")
        terminated = {
            "startedAt": started,
            "exitCode": exit_code,
            "reason": reason or ("Completed" if exit_code == 0 else "Error"),
            "message": message,
            "finishedAt": self._now(),
        }
        self._pod_status(pod, phase="Succeeded" if exit_code == 0 else "Failed")
        self.container(pod, terminated=terminated)

    def disrupt(self, reason: str = "EvictionByEvictionAPI", message: str = "the node is drained") -> None:
        target = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
        known = self.cluster.find(names.POD, self.pod_name)["status"].get("conditions") or [self._placed("True")]
        self._pod_status(conditions=[*known, target])

    def complete_job(self) -> None:
        self._job_status(active=0, succeeded=1, conditions=[self._held("Complete", "CompletionsReached")])

    def fail_job(self, reason: str = "BackoffLimitExceeded", message: str = "") -> None:
        self._job_status(active=0, failed=1, conditions=[{**self._held("Failed", reason), "message": message}])

    def beside_a_sidecar(self) -> None:
        """Another container keeps the pod alive."""
        self._pod_status(phase="Running")

    def start(self) -> None:
        """From a new Job to a container that runs."""
        self.take_up()
        self.create_pod()
        self.place()
        self.run()

    def end_deletion(self, *, message: str = "") -> None:
        """The pods of a Job that is being deleted have ended; they and the Job are gone."""
        for pod in self.cluster.owned(self.job["metadata"]["uid"]):
            if pod["kind"] == "Pod" and pod["status"]["phase"] == "Running":
                self.end(exit_code=75, message=message, pod=pod["metadata"]["name"])
        self.delete_job()

    def delete_job(self) -> None:
        self.cluster.remove(names.JOB, NAMESPACE, self.job_name)

    def delete_pod(self) -> None:
        self.cluster.remove(names.POD, NAMESPACE, self.pod_name)

    def tell(self, obj: Object, reason: str, message: str) -> None:
        """Another component posts an Event about an object."""
        about = {"kind": obj["kind"], "name": obj["metadata"]["name"], "uid": obj["metadata"]["uid"]}
        event = {"reason": reason, "message": message, "lastTimestamp": self._now(), "metadata": {}}
        self.cluster.warned.append({**event, "involvedObject": about})

    def _placed(self, status: str, reason: str = "", message: str = "") -> Object:
        return {
            "type": "PodScheduled",
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": self._now(),
        }

    def _held(self, type_: str, reason: str) -> Object:
        return {"type": type_, "status": "True", "reason": reason, "lastTransitionTime": self._now()}

    def _job_status(self, **status: Any) -> None:
        job = self.job
        self.cluster.put({**job, "status": {**job.get("status", {}), **status}})

    def _pod_status(self, pod: str | None = None, **status: Any) -> None:
        known = self.cluster.find(names.POD, pod or self.pod_name)
        self.cluster.put({**known, "status": {**known.get("status", {}), **status}})
