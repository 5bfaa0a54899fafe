"""The runner's plan of a run: all that PID 1 of its pods has to know, as JSON in one environment variable.

What the runner has to know of its command is read here out of the flags that were rendered, those of ``extraArgs``
among them; the runner reads nothing back out of a command line.
"""

from __future__ import annotations

from collections.abc import Mapping

from swiftop import names
from swiftop.api.v1alpha1.sftrun import SFTRun, SFTRunSpec
from swiftop.kinds.sftrun import acceleration, tracking
from swiftop.kinds.sftrun.command import Rendered
from swiftop.runner.protocol import DEFAULT_LOGGING_STEPS, NVIDIA, Plan, Source, TrainSettings, UploadedDataset
from swiftop.runner.typed_json import to_json
from swiftop.swift import paths
from swiftop.swift.cache import cache_keys
from swiftop.swift.paths import identity_of
from swiftop.workload.meta import plan_owner

_MIN_FREE_BYTES = 512 * 1024 * 1024  # less than this on the output volume does not even hold a LoRA of a 7B model
_TRUE = ("true", "1", "yes")

Flags = Mapping[str, tuple[str, ...]]


def plan(
    run: SFTRun,
    spec: SFTRunSpec,
    *,
    attempt: int,
    rendered: Rendered,
    resume_from: Source | None = None,
    datasets: tuple[UploadedDataset, ...] = (),
) -> Plan:
    """Plan of one attempt; ``spec`` has the defaults in it, and ``datasets`` is what it has for uploads."""
    resources = spec.resources
    return Plan(
        program="train",
        owner=plan_owner(run),
        attempt=attempt,
        command=rendered.command,
        output_dir=paths.output_dir(spec.output, identity_of(run)),
        settings=to_json(_settings(spec, rendered.flags, resume_from, datasets)),
        swift_version=spec.runtime.swift_version,
        gpus=resources.gpus,
        gpu_resource=resources.gpu_resource or NVIDIA,
        nodes=resources.nodes,
        world_size=resources.world_size,
        elastic=rendered.launcher.elastic,
        master_addr=master_address(run, attempt) if resources.nodes > 1 else None,
        cache_dir=paths.cache_dir(spec.cache) if spec.cache else None,
        cache_keys=cache_keys(rendered.flags) if spec.cache else (),
        min_free_bytes=_MIN_FREE_BYTES,
    )


def _settings(
    spec: SFTRunSpec, flags: Flags, resume_from: Source | None, datasets: tuple[UploadedDataset, ...]
) -> TrainSettings:
    swanlab = spec.tracking.swanlab
    return TrainSettings(
        resume=spec.checkpoints.resumable,
        logging_steps=logging_steps(flags),
        silent_evaluation=silent_evaluation(flags),
        max_steps=_whole(flags, "max_steps"),
        asked_epochs="max_epochs" in flags,
        stall_seconds=spec.lifecycle.stall_seconds,
        swanlab_host=tracking.api_host(swanlab) if swanlab and swanlab.mode == "cloud" else None,
        resume_from=resume_from,
        datasets=datasets,
        acceleration=acceleration.planned(spec),
    )


def logging_steps(flags: Flags) -> int | None:
    """Steps between two lines of the training's log; None when it does not log by steps."""
    if _first(flags, "logging_strategy") not in ("", "steps"):
        return None
    return _whole(flags, "logging_steps") or DEFAULT_LOGGING_STEPS


def silent_evaluation(flags: Flags) -> bool:
    """Whether there are evaluations that show no progress bar: nothing is heard until such a one has ended."""
    if _true(flags, "eval_use_evalscope"):
        return True
    evaluates = any(name in flags for name in ("val_dataset", "cached_val_dataset"))
    evaluates = evaluates or _first(flags, "split_dataset_ratio").strip("0.") != ""
    return evaluates and (_true(flags, "streaming") or _true(flags, "disable_tqdm"))


def _first(flags: Flags, name: str) -> str:
    return (*flags.get(name, ()), "")[0]


def _true(flags: Flags, name: str) -> bool:
    return _first(flags, name).lower() in _TRUE


def _whole(flags: Flags, name: str) -> int | None:
    text = _first(flags, name)
    return int(text) if text.isdecimal() else None


def master_address(run: SFTRun, attempt: int) -> str:
    """Name of the pod of rank 0, by the headless Service."""
    kind, name = run.DEFINITION.resource, run.metadata.name
    return f"{names.job_name(kind, name, attempt)}-0.{names.service_name(kind, name)}.{run.metadata.namespace}.svc"
