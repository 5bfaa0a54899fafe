"""The objects that the end-to-end tests apply: pure builders, no cluster in sight."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
LIBRARY = "library"  # claim with models, datasets and the hub's repositories; runs read it
RUNS = "runs"  # claim that the runs share as output
CACHE = "cache"
MODEL = "models/Qwen2.5-0.5B-Instruct"
# One training at a time per free core: the scheduler keeps the others waiting, and no two fight for a core.
CORE = "900m"
SPARE = "50m"  # for a run whose pod never computes
# A plugin that makes each step last a second without computing: such runs can train at once and be looked at.
SLOW = """
import time
from transformers import Trainer

step = Trainer.training_step

def slow(self, *args, **kwargs):
    print("global step", self.state.global_step, flush=True)
    time.sleep(1)
    return step(self, *args, **kwargs)

Trainer.training_step = slow
"""
SLOW_REQUEST = "300m"  # they sleep more than they compute: they share the cores, and take them whole to start


def namespace(name: str) -> Object:
    """Namespace in which the API server refuses every pod that is not hardened."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}


def claim(name: str) -> Object:
    """ReadWriteMany claim of the default StorageClass."""
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def config_map(name: str, data: dict[str, str]) -> Object:
    """ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def secret(name: str, data: dict[str, str]) -> Object:
    """Secret, as ``kubectl create secret generic --from-literal`` makes it."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def service(name: str) -> Object:
    """Service on port 8000 for the pod of the same name."""
    spec = {"selector": {"app": name}, "ports": [{"port": 8000, "targetPort": 8000}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def pod(
    name: str,
    *,
    image: str,
    command: list[str],
    claims: dict[str, str] | None = None,
    config_maps: dict[str, str] | None = None,
) -> Object:
    """Hardened pod with claims and ConfigMaps (name to path) mounted."""
    mounts = {**(claims or {}), **(config_maps or {})}
    volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims or ()]
    volumes += [{"name": c, "configMap": {"name": c}} for c in config_maps or ()]
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "workingDir": "/tmp",
        "env": [{"name": "HOME", "value": "/tmp"}, {"name": "OMP_NUM_THREADS", "value": "1"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": source, "mountPath": path} for source, path in mounts.items()],
    }
    security = {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "fsGroup": 1000,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": security,
        "containers": [container],
        "volumes": volumes,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def on_claim(path: str, name: str = LIBRARY) -> Object:
    """Reference to a path on a claim, as model, dataset or output."""
    return {"persistentVolumeClaim": {"claimName": name, "path": path}}


def training(steps: int = 4, **more: Any) -> Object:
    """Settings with which one step of the tiny model takes a fraction of a second."""
    return {
        "maxSteps": steps,
        "maxLength": 256,
        "perDeviceBatchSize": 1,
        "gradientAccumulationSteps": 1,
        "gradientCheckpointing": False,
        "loggingSteps": 1,
        **more,
    }


def resource(kind: str, name: str, spec: Object) -> Object:
    """Object of one of swiftop's kinds."""
    return {"apiVersion": "swiftop.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def sftrun(name: str, *, cpu: str = CORE, memory: str = "2Gi", gpus: int = 0, nodes: int = 1, **spec: Any) -> Object:
    """SFTRun of the tiny model on the library's ShareGPT file; ``spec`` replaces whole members."""
    default = {
        "model": on_claim(MODEL),
        "datasets": [on_claim("datasets/sharegpt.jsonl")],
        "training": training(),
        "checkpoints": {"saveSteps": 2},
        "output": on_claim("", RUNS),
        "resources": {"gpus": gpus, "cpu": cpu, "memory": memory, "nodes": nodes},
    }
    return resource("SFTRun", name, {**default, **spec})


def modelexport(name: str, source: Object, **spec: Any) -> Object:
    """ModelExport onto the claim of the runs; ``spec`` replaces whole members."""
    default = {"source": source, "output": on_claim("exports", RUNS), "resources": small("3Gi")}
    return resource("ModelExport", name, {**default, **spec})


def datasetupload(name: str, source: Object, **spec: Any) -> Object:
    """DatasetUpload; ``spec`` has the destination."""
    return resource("DatasetUpload", name, {"source": source, "resources": small("2Gi"), **spec})


def modeldeployment(name: str, model: Object, **spec: Any) -> Object:
    """ModelDeployment on the CPU; ``spec`` replaces whole members."""
    default = {"model": model, "engine": "transformers", "dtype": "float32", "resources": small("3Gi")}
    return resource("ModelDeployment", name, {**default, **spec})


def small(memory: str) -> Object:
    """What a pod without a GPU gets."""
    return {"gpus": 0, "cpu": CORE, "memory": memory}


def slow(name: str, plugin: str = "slow.py", pod: Object | None = None, *, steps: int = 40, **spec: Any) -> Object:
    """Run that trains for as many seconds as it has steps; ``pod`` adds to its pod. ConfigMap ``slow`` has plugins."""
    trainer = {"name": "swift", "resources": {"requests": {"cpu": SLOW_REQUEST}}}
    return sftrun(
        name,
        runtime={"podPatch": {"spec": {"containers": [trainer], **(pod or {})}}},
        output=on_claim("live", RUNS),
        files=[{"configMap": {"name": "slow", "key": plugin}}],
        extraArgs=[{"name": "external_plugins", "values": [f"/swiftop/files/{plugin}"]}],
        **{"training": training(steps), "checkpoints": {"saveSteps": 5, "keep": 3}, **spec},
    )


def hardened(name: str, *, image: str, script: str, **more: Any) -> Object:
    """Further container of a run's pod, which a shell script is."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        **more,
    }


def changed(run: Object, **spec: Any) -> Object:
    """The run with these members of its spec in place of what it has."""
    return {**run, "spec": {**run["spec"], **spec}}
