"""What ``swiftop preview`` tells of a run beside its command: the acceleration, and what fits which GPU."""

from __future__ import annotations

from collections.abc import Iterator

from swiftop.api.v1alpha1.sft_args import FIELD_OF_FLAG
from swiftop.api.v1alpha1.sftrun import SFTRunSpec
from swiftop.kinds.sftrun import acceleration, memory
from swiftop.kinds.sftrun.memory import Estimated
from swiftop.kinds.sftrun.prepare import Prepared
from swiftop.workload.gpus import gpu_of

_CHOSEN = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "gradient_checkpointing",
    "use_liger_kernel",
    "logging_nan_inf_filter",
    "dataloader_prefetch_factor",
)
"""Flags that an acceleration sets where the spec does not."""
_GIB = (24, 40, 80, 141)  # of GPUs that are in use


def notes(prepared: Prepared) -> tuple[str, ...]:
    """A line each; nothing for a run on the CPU."""
    return tuple(_notes(prepared.spec)) if prepared.spec.resources.gpus else ()


def _notes(spec: SFTRunSpec) -> Iterator[str]:
    mode, known = acceleration.mode(spec), memory.estimated(spec)
    yield f"acceleration: {mode}"
    if mode != "Off" and (fixed := [_field(flag) for flag in acceleration.given(spec) if flag in _CHOSEN]):
        yield f"set by the spec, and kept: {', '.join(fixed)}"
    if known is not None:
        yield from _fits(spec, known)
    elif mode != "Off":
        yield "how a step fits the GPU's memory is chosen in the pod: there is no estimate for this spec"


def _field(flag: str) -> str:
    return FIELD_OF_FLAG[flag].partition(" or ")[0] if flag in FIELD_OF_FLAG else f"extraArgs {flag}"


def _fits(spec: SFTRunSpec, known: Estimated) -> Iterator[str]:
    gpu = gpu_of(spec)
    sizes = [(f"{gpu.name} ({gpu.gib:.0f} GiB)", gpu.gib)] if gpu else [(f"{size} GiB", float(size)) for size in _GIB]
    yield f"estimated for a GPU of{' (with liger, where the image has it)' if known.training.liger else ''}:"
    width = max(len(name) for name, _ in sizes)
    for name, gib in sizes:
        yield f"  {name:<{width}}  {_choice(known, gib)}"


def _choice(known: Estimated, gib: float) -> str:
    found = known.on(gib)
    if found is None:
        changes = memory.changed(known, known.fit(gib))
        return f"does not fit{f'; it does with {changes}' if changes else ''}"
    return (
        f"perDeviceBatchSize {found.rows}, gradientAccumulationSteps {found.accumulation}, gradientCheckpointing "
        f"{str(found.checkpointing).lower()}: about {found.gib:.0f} GiB"
    )
