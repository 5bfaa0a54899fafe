"""The memory of a GPU that a run needs, as far as its spec tells: which settings fit, and what would make it fit.

The estimate itself is that of the pod (``swiftop.acceleration.memory``). Here it is made of the spec alone, for models
whose shape is known by their name; where anything is set that it knows nothing of, there is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from swiftop.acceleration.memory import SHARE, Change, Choice, Fit, Shape, Training, choose, fit
from swiftop.api.v1alpha1.sftrun import SFTRunSpec
from swiftop.errors import Problem
from swiftop.kinds.sftrun import acceleration
from swiftop.runner.report import Accelerated
from swiftop.swift.paths import model_path
from swiftop.swift.shapes import shape
from swiftop.workload.gpus import Gpu, gpu_of

_STAGES = {None: 0, "zero0": 0, "zero1": 1, "zero2": 2, "zero3": 3}
_TUNERS = ("lora", "full")
_UNKNOWN_WITH = frozenset({"fsdp", "optim", "target_parameters", "torch_empty_cache_steps", "use_galore"})
"""Flags of extraArgs that move memory in ways which the estimate does not follow."""
_RANK, _DROPOUT, _SAMPLES = 8, "0.05", 16  # ms-swift's defaults: of LoRA, and of a step's samples
_WHOLE, _SHARDED = 16, 3  # bits of a weight that is not quantized, and the stage of ZeRO that divides weights
_LARGEST_RANK = 64  # that is fused
_CLEARLY_LESS = 0.85
_MOST_CHANGES = 3  # that are told, the least costly


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """A training as its spec has it, and what of it its pod may choose anew."""

    training: Training
    accumulation: int
    batch: bool  # whether the step may be split otherwise
    checkpointing: bool  # whether it may be switched
    whole: bool = False  # the spec has globalBatchSize

    def on(self, gib: float) -> Choice | None:
        """Settings on a GPU of so much memory; None where none fit."""
        return choose(
            self.training,
            gib * SHARE,
            accumulation=self.accumulation,
            batch=self.batch,
            checkpointing=self.checkpointing,
        )

    def fit(self, gib: float) -> Fit:
        """Whether such a GPU is enough, with the settings that need least, and else what makes it so."""
        return fit(self.smallest, gib * SHARE)

    @property
    def smallest(self) -> Training:
        """With what may be chosen so that it takes the least memory."""
        rows = 1 if self.batch else self.training.rows
        return replace(self.training, rows=rows, checkpointing=self.checkpointing or self.training.checkpointing)

    @property
    def product(self) -> int:
        """Samples of a step in each process."""
        return self.training.rows * self.accumulation


def estimated(spec: SFTRunSpec) -> Estimated | None:
    """What the spec tells; None where it leaves open, or sets, what there is no estimate for."""
    training, known = spec.training, shape(model_path(spec.model))
    if known is None or training.max_length is None or not _estimable(spec):
        return None
    rows = training.per_device_batch_size or 1
    passes = training.gradient_accumulation_steps or max(1, math.ceil(_SAMPLES / rows / spec.resources.world_size))
    if training.global_batch_size is not None:
        passes = max(1, training.global_batch_size // spec.data_parallel_size)
    chosen = _accelerated(spec) and (training.sequence_parallel_size or 1) == 1
    split = (training.per_device_batch_size, training.gradient_accumulation_steps)
    return Estimated(
        training=_training(spec, known, rows, training.max_length),
        accumulation=passes,
        whole=training.global_batch_size is not None,
        batch=chosen and _packed(spec) and split == (None, None),
        checkpointing=chosen and training.gradient_checkpointing is None,
    )


def _training(spec: SFTRunSpec, known: Shape, rows: int, length: int) -> Training:
    training, tuner, accelerated = spec.training, spec.tuner, _accelerated(spec)
    rank = tuner.rank or _RANK
    everywhere = not tuner.target_modules or "all-linear" in tuner.target_modules
    fused = accelerated and everywhere and rank <= _LARGEST_RANK
    return Training(
        known,
        rows=rows,
        length=math.ceil(length / (training.sequence_parallel_size or 1)),
        checkpointing=training.gradient_checkpointing is not False,
        liger=accelerated if training.liger is None else training.liger,
        fused=fused,
        eightbit=fused and acceleration.mode(spec) == "Approximate",
        padded=not _packed(spec),
        full=tuner.type == "full",
        rank=rank,
        dropout=float(tuner.dropout or _DROPOUT) > 0,
        bits=_bits(spec),
        stage=_STAGES[training.deepspeed],
        gpus=spec.resources.world_size,
    )


def _accelerated(spec: SFTRunSpec) -> bool:
    """Whether the pod can choose and fuse: its GPU is new enough, and has the whole model as it is saved."""
    gpu, stage = gpu_of(spec), _STAGES[spec.training.deepspeed]
    new = gpu is None or not gpu.before_ampere
    return acceleration.mode(spec) != "Off" and new and _bits(spec) == _WHOLE and stage < _SHARDED


def _bits(spec: SFTRunSpec) -> int:
    """Of a frozen weight."""
    quantization = spec.tuner.quantization
    return quantization.bits or _WHOLE if quantization is not None else _WHOLE


def _packed(spec: SFTRunSpec) -> bool:
    return bool(spec.training.packing or spec.training.padding_free)


def _estimable(spec: SFTRunSpec) -> bool:
    tuner, training, resources = spec.tuner, spec.training, spec.resources
    return (
        resources.gpus > 0
        and resources.processes >= resources.gpus  # else its layers are divided among the GPUs of a process
        and tuner.type in _TUNERS
        and not tuner.modules_to_save
        and training.precision != "fp32"
        and training.deepspeed in _STAGES
        and (training.task is None or training.task.type == "causal_lm")
        and not any(arg.name in _UNKNOWN_WITH for arg in spec.extra_args)
    )


def warnings(spec: SFTRunSpec) -> Iterator[Problem]:
    """That it does not fit the GPUs that the spec itself asks for."""
    gpu, known = gpu_of(spec), estimated(spec)
    if gpu is not None and known is not None and not (found := known.fit(gpu.gib)).fits:
        yield Problem("spec.resources", _too_large(found, gpu), suggestion=_suggestion(known, found))


def _too_large(found: Fit, gpu: Gpu) -> str:
    return (
        f"the training needs about {found.gib:.0f} GiB of a GPU's memory, and {found.limit:.0f} of the {gpu.gib:.0f} "
        f"GiB of {gpu.name} can be planned with"
    )


def _suggestion(known: Estimated, found: Fit) -> str:
    changes = changed(known, found)
    return f"it fits with {changes}" if changes else "use GPUs with more memory, or more of them"


def changed(known: Estimated, found: Fit) -> str:
    """The changes that make it fit, each with what it needs then, as a person writes them into the spec."""
    few = found.changes[:_MOST_CHANGES]
    return ", or with ".join(f"{_written(known, change)} ({change.gib:.0f} GiB)" for change in few)


def _written(known: Estimated, change: Change) -> str:
    after = change.training
    batch = f"perDeviceBatchSize: {after.rows} and gradientAccumulationSteps: {known.product // after.rows}"
    batch += " in place of globalBatchSize" if known.whole else ""
    texts = {
        "Liger": "training.liger: true",
        "Checkpointing": "training.gradientCheckpointing: true",
        "BatchSize": f"training.{batch}",
        "MaxLength": f"training.maxLength: {after.length}",
        "Quantization": "tuner.quantization: {method: bnb, bits: 4}",
        "Gpus": f"training.deepspeed: zero3 and {after.gpus} GPUs",
        "Together": f"training.liger: true, gradientCheckpointing: true, {batch} together",
    }
    return texts[change.what]


def _as_told(known: Estimated, told: Accelerated) -> Estimated:
    """With the settings that were chosen in the pod, and the parts that were at work there."""
    rows = told.per_device_batch_size or known.training.rows
    passes = told.gradient_accumulation_steps or max(1, known.product // rows)
    kept, parts = known.training, frozenset(told.parts)
    training = replace(
        kept,
        rows=rows,
        checkpointing=kept.checkpointing if told.gradient_checkpointing is None else told.gradient_checkpointing,
        liger="liger" in parts,
        fused="linears" in parts,
        eightbit="eightbit" in parts,
    )
    return replace(known, training=training, accumulation=passes)


def advice(spec: SFTRunSpec, told: Accelerated | None) -> str:
    """What to change after it ran out of memory; empty where nothing is known that would help.

    What the pod told of its settings and its GPU counts more than the spec. It did not fit whatever was estimated: so
    what is advised needs clearly less than that.
    """
    known = estimated(spec)
    if known is None:
        return ""
    if told is not None:
        known = _as_told(known, told)
    gpu, needs = gpu_of(spec), fit(known.training, 0).gib
    there = told.gpu_gib if told is not None and told.gpu_gib else gpu.gib if gpu is not None else None
    limit = min(needs * _CLEARLY_LESS, there * SHARE if there else needs)
    changes = changed(known, fit(known.training, limit))
    about = f"By the estimate the training needs about {needs:.0f} GiB of each GPU" + (
        f", and there are {there:.0f}" if there else ""
    )
    return f"{about}: try it with {changes}." if changes else f"{about}: use GPUs with more memory, or more of them."
