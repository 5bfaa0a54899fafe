"""What the operator asks of the runner: the JSON in ``SWIFTOP_PLAN``, parsed once and never changed.

Unknown members are ignored, so that a newer operator can say more to a runner that it shipped earlier; a missing
required member is a fault of the operator and ends the run at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

ENV = "SWIFTOP_PLAN"
TERMINATION_LOG = "/dev/termination-log"
NVIDIA = "nvidia.com/gpu"
DEFAULT_LOGGING_STEPS = 5  # ms-swift's own, in each of its releases


class BadPlan(Exception):
    """The plan is absent or unusable."""


@dataclass(frozen=True)
class Plan:
    """Version 1 of the plan. Field names are those of the JSON in snake_case."""

    namespace: str
    name: str
    uid: str
    attempt: int
    command: tuple[str, ...]
    output_dir: str
    swift_version: Optional[str] = None
    resume: bool = True
    required_env: tuple[str, ...] = ()
    secret_env: tuple[str, ...] = ()
    swanlab_host: Optional[str] = None
    gpus: int = 0
    gpu_resource: str = NVIDIA
    nodes: int = 1
    master_addr: Optional[str] = None
    cache_dir: Optional[str] = None
    stall_seconds: Optional[float] = None
    logging_steps: Optional[int] = DEFAULT_LOGGING_STEPS  # None: not by steps
    max_steps: Optional[int] = None
    min_free_bytes: int = 0
    port: int = 8080
    progress_interval: float = 15.0
    finish_timeout: float = 300.0
    termination_log: str = TERMINATION_LOG

    @property
    def world_size(self) -> int:
        """Processes of the whole run, as its own command says."""
        return _count(self.command, "--nproc_per_node", 1) * _count(self.command, "--nnodes", 1)

    @property
    def elastic(self) -> bool:
        """Whether torchrun stands between the runner and the workers."""
        return "torch.distributed.run" in self.command

    @property
    def silent_evaluation(self) -> bool:
        """Whether there are evaluations that show no progress bar: nothing is heard until such a one has ended."""
        if _true(self.command, "--eval_use_evalscope"):
            return True
        evaluates = any(flag in self.command for flag in ("--val_dataset", "--cached_val_dataset"))
        evaluates = evaluates or _value(self.command, "--split_dataset_ratio").strip("0.") != ""
        return evaluates and (_true(self.command, "--streaming") or _true(self.command, "--disable_tqdm"))


def parse(text: Optional[str]) -> Plan:
    """Read the plan from its JSON text."""
    if not text:
        raise BadPlan(f"environment variable {ENV} is not set")
    try:
        data = json.loads(text)
        if data["version"] != 1:
            raise BadPlan(f"plan version {data['version']!r} is not supported")
        return _plan(data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadPlan(f"{type(error).__name__}: {error}") from error


def _plan(data: Mapping[str, Any]) -> Plan:
    run, swanlab, command = data["run"], data.get("swanlab"), tuple(str(arg) for arg in data["command"])
    return Plan(
        namespace=str(run["namespace"]),
        name=str(run["name"]),
        uid=str(run["uid"]),
        attempt=int(run["attempt"]),
        command=command,
        output_dir=str(data["outputDir"]),
        swift_version=data.get("swiftVersion") or None,
        resume=data.get("resume", "Auto") == "Auto",
        required_env=tuple(data.get("requiredEnv") or ()),
        secret_env=tuple(data.get("secretEnv") or ()),
        swanlab_host=swanlab["host"] if swanlab else None,
        gpus=int(data.get("gpus") or 0),
        gpu_resource=str(data.get("gpuResource") or NVIDIA),
        nodes=int(data.get("nodes") or 1),
        master_addr=data.get("masterAddr") or None,
        cache_dir=data.get("cacheDir") or None,
        stall_seconds=data.get("stallSeconds"),
        logging_steps=_logging_steps(command, data.get("loggingSteps")),
        max_steps=data.get("maxSteps"),
        min_free_bytes=int(data.get("minFreeBytes") or 0),
        port=int(data.get("port", 8080)),
        progress_interval=float(data.get("progressIntervalSeconds", 15)),
        finish_timeout=float(data.get("finishTimeoutSeconds", 300)),
        termination_log=str(data.get("terminationLog") or TERMINATION_LOG),
    )


def fill(command: tuple[str, ...], *, rank: int, master_addr: Optional[str]) -> tuple[str, ...]:
    """Put this node's rank and the rendezvous name in for their placeholders.

    Kubernetes expands ``$(VAR)`` in a container's command only, and the command of ms-swift is in the plan.
    """
    values = {"$(NODE_RANK)": str(rank), "$(MASTER_ADDR)": master_addr or "127.0.0.1"}
    return tuple(values.get(arg, arg) for arg in command)


def _logging_steps(command: tuple[str, ...], asked: Optional[int]) -> Optional[int]:
    if _value(command, "--logging_strategy") not in ("", "steps"):
        return None
    return int(asked or _count(command, "--logging_steps", DEFAULT_LOGGING_STEPS))


def _value(command: tuple[str, ...], flag: str) -> str:
    """What follows a flag, or stands behind its ``=``; empty without it."""
    for at, arg in enumerate(command):
        name, _, value = arg.partition("=")
        if name == flag:
            return value or (command[at + 1] if at + 1 < len(command) else "")
    return ""


def _count(command: tuple[str, ...], flag: str, default: int) -> int:
    text = _value(command, flag)
    return int(text) if text.isdigit() else default


def _true(command: tuple[str, ...], flag: str) -> bool:
    return _value(command, flag).lower() in ("true", "1", "yes")
