"""A run and a deployment for tests of the operator against an API server."""

from __future__ import annotations

from typing import Any

from swiftop import names
from swiftop.shell.cluster import Cluster

NOW = {"lastTransitionTime": "2027-01-01T00:00:00Z"}
SUCCEEDED = {"type": "Succeeded", "status": "True", "reason": "MaxSteps", "message": "", **NOW}
GATED = {"gate": {"prompts": [{"prompt": "Who are you?", "contains": "swift"}]}}  # a rollout


def run_of(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    """A run that needs no GPU, no volume and no Secret, so that it gets as far as its Job everywhere."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": "SFTRun",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"id": "Qwen/Qwen2.5-0.5B-Instruct"},
            "datasets": [{"id": "swift/self-cognition"}],
            "resources": {"gpus": 0},
            "output": {"ephemeral": True},
            "runtime": {"image": "registry.example/trainer:0"},
            # Nowhere schedulable: these tests are about the API server only.
            "placement": {"nodeSelector": {"swiftop.dev/no-such-node": "true"}},
            **spec,
        },
    }


def served(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    """What serves, likewise."""
    shared = {member: run_of("", "")["spec"][member] for member in ("resources", "runtime", "placement")}
    return {
        "apiVersion": names.API_VERSION,
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"model": {"id": "Qwen/Qwen2.5-0.5B-Instruct"}, "engine": "transformers", **shared, **spec},
    }


async def trained(cluster: Cluster, namespace: str, name: str) -> None:
    """A run of this name that is over, with a checkpoint on its own volume."""
    made = run_of(name, namespace)
    made["spec"]["output"] = {"volume": {"size": "1Gi"}}
    run = await cluster.create(made)
    output = {"claimName": f"{name}-output", "path": f"{name}-0"}
    status = {"conditions": [SUCCEEDED], "checkpoint": {"step": 20}, "output": output}
    await cluster.patch_status(run, status, run["metadata"]["resourceVersion"])
