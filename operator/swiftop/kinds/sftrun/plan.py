"""The runner's plan: all that PID 1 of a training pod has to know, as JSON in one environment variable."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from swiftop import names
from swiftop.api.v1alpha1.sftrun import SFTRun, SFTRunSpec
from swiftop.kinds.sftrun import tracking
from swiftop.kinds.sftrun.command import secret_vars
from swiftop.swift import paths
from swiftop.swift.paths import Identity

VARIABLE = "SWIFTOP_PLAN"
VERSION = 1

_MIN_FREE_BYTES = 512 * 1024 * 1024  # less than this on the output volume does not even hold a LoRA of a 7B model
_FINISH_TIMEOUT_SECONDS = 300  # for the tracker's last upload, which may never end
_PROGRESS_SECONDS = 15


def plan(run: SFTRun, spec: SFTRunSpec, *, attempt: int, command: tuple[str, ...]) -> dict[str, Any]:
    """Plan of one attempt; ``spec`` has the defaults in it."""
    meta, swanlab = run.metadata, spec.tracking.swanlab
    wanted = secret_vars(spec)
    return {
        "version": VERSION,
        "run": {"namespace": meta.namespace, "name": meta.name, "uid": meta.uid, "attempt": attempt},
        "swiftVersion": spec.runtime.swift_version,
        "command": list(command),
        "outputDir": paths.output_dir(spec.output, Identity(meta.name, meta.uid, meta.namespace)),
        "resume": spec.checkpoints.resume,
        "requiredEnv": [secret.name for secret in wanted if not secret.optional],
        "secretEnv": [secret.name for secret in wanted],
        "swanlab": {"host": tracking.api_host(swanlab)} if swanlab and swanlab.mode == "cloud" else None,
        "gpus": spec.resources.gpus,
        "gpuResource": spec.resources.gpu_resource,
        "nodes": spec.resources.nodes,
        "masterAddr": master_address(run, attempt) if spec.resources.nodes > 1 else None,
        "cacheDir": paths.cache_dir(spec.cache) if spec.cache else None,
        "stallSeconds": spec.lifecycle.stall_seconds,
        "loggingSteps": spec.training.logging_steps,
        "maxSteps": spec.training.max_steps,
        "minFreeBytes": _MIN_FREE_BYTES,
        "port": names.PROGRESS_PORT,
        "progressIntervalSeconds": _PROGRESS_SECONDS,
        "finishTimeoutSeconds": _FINISH_TIMEOUT_SECONDS,
    }


def master_address(run: SFTRun, attempt: int) -> str:
    """Name of the pod of rank 0, by the headless Service."""
    name = run.metadata.name
    return f"{names.job_name(name, attempt)}-0.{names.service_name(name)}.{run.metadata.namespace}.svc"


def with_secrets(content: dict[str, Any], env: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The plan with the names of all variables that come from a Secret, those that a pod patch added among them."""
    found = [item["name"] for item in env if "secretKeyRef" in (item.get("valueFrom") or {})]
    return {**content, "secretEnv": list(dict.fromkeys((*content["secretEnv"], *found)))}


def encoded(content: dict[str, Any]) -> str:
    """The plan as the value of an environment variable.

    The kubelet expands ``$(NAME)`` in such a value, so that a plan could pull a secret into the command line, and takes
    ``$$`` for an escaped ``$``: every ``$`` is escaped.
    """
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("$", "$$")


def decoded(value: str) -> dict[str, Any]:
    """The plan out of the variable of a Job's pod template; empty for what is no plan."""
    try:
        content = json.loads(value.replace("$$", "$"))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
