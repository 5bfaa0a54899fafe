"""Flags of the typed fields of a spec: one small function per member, in the order in which a person reads a command.

Every value is a tuple of words, one for most flags and several for list flags.
"""

from __future__ import annotations

import json

from swiftop.api.v1alpha1.hub import DatasetSource
from swiftop.api.v1alpha1.sftrun import SFTRunSpec
from swiftop.swift import fields, tracking
from swiftop.swift.paths import RunIdentity, adapter_path, dataset_path, file_path, model_path, output_dir
from swiftop.swift.releases import FlagTable

Flags = dict[str, tuple[str, ...]]

# Of fp16 and bf16, ms-swift sets the one that is not given by the type of the weights (_init_mixed_precision in its
# model_args.py), and transformers refuses both at once: `--bf16 true` alone ends in an error on a model that is saved
# in fp16 or fp32, `--fp16 true` alone on one in bf16. So the type is always named; with bfloat16, fp16 stays off.
_PRECISION: dict[str, Flags] = {
    "bf16": {"torch_dtype": ("bfloat16",), "bf16": ("true",)},
    "fp16": {"torch_dtype": ("float16",), "fp16": ("true",), "bf16": ("false",)},
    "fp32": {"torch_dtype": ("float32",), "fp16": ("false",), "bf16": ("false",)},
}
# What is trained in fp16 must be kept in fp32, or gradients cannot be scaled: ms-swift sees to it for adapters only.
_FULL_FP16: Flags = {**_PRECISION["fp16"], "torch_dtype": ("float32",)}


def typed_flags(spec: SFTRunSpec, run: RunIdentity, table: FlagTable) -> Flags:
    """Flags that the typed fields set, and those that a run on the CPU needs."""
    return {
        **_model(spec),
        **_tuner(spec, table),
        **_data(spec),
        **_training(spec),
        **_cached(spec),
        **_precision(spec),
        **_cpu(spec),
        **fields.passed(spec.checkpoints, fields.CHECKPOINTS),
        "output_dir": (output_dir(spec, run),),
        **tracking.flags(spec, run),
    }


def _model(spec: SFTRunSpec) -> Flags:
    flags: Flags = {"model": (model_path(spec.model),), **fields.passed(spec.model, fields.MODEL)}
    if spec.model.hub == "huggingface":
        flags["use_hf"] = ("true",)
    if spec.model.adapters:
        flags["adapters"] = tuple(adapter_path(adapter) for adapter in spec.model.adapters)
    return flags


def _tuner(spec: SFTRunSpec, table: FlagTable) -> Flags:
    return {
        table.tuner_flag: (spec.tuner.type,),
        **fields.passed(spec.tuner, fields.TUNER),
        **fields.passed(spec.tuner.quantization, fields.QUANTIZATION),
    }


def _data(spec: SFTRunSpec) -> Flags:
    flags: Flags = {"dataset": tuple(_dataset(spec, source) for source in spec.datasets)}
    if spec.validation.datasets:
        flags["val_dataset"] = tuple(_dataset(spec, source) for source in spec.validation.datasets)
    return {**flags, **fields.passed(spec.validation, fields.VALIDATION)}


def _dataset(spec: SFTRunSpec, source: DatasetSource) -> str:
    """ms-swift's own syntax: ``[HF::|MS::]id_or_path[:subset/subset][#sample]``; the prefix overrides ``--use_hf``."""
    default = spec.model.hub or "modelscope"
    prefix = {"huggingface": "HF::", "modelscope": "MS::"}[source.hub] if source.hub not in (None, default) else ""
    subsets = f":{'/'.join(source.subsets)}" if source.subsets else ""
    sample = f"#{source.sample}" if source.sample is not None else ""
    return f"{prefix}{dataset_path(source)}{subsets}{sample}"


def _training(spec: SFTRunSpec) -> Flags:
    training = spec.training
    flags = {
        **fields.passed(training, fields.TRAINING),
        **fields.passed(training.task, fields.TASK),
        **fields.passed(training.freeze, fields.FREEZE),
        **fields.passed(training.self_cognition, fields.SELF_COGNITION),
    }
    if training.deepspeed is not None:
        flags["deepspeed"] = (_file_or_text(spec, training.deepspeed),)
    if training.system is not None:
        flags["system"] = (_file_or_text(spec, training.system),)
    if training.columns:
        # Sorted: the API server does not keep the order of a map, and the same run must give the same command.
        flags["columns"] = (json.dumps(training.columns, ensure_ascii=False, sort_keys=True),)
    return flags


def _cached(spec: SFTRunSpec) -> Flags:
    """Tokenized data in the cache is used again only when asked for: ms-swift stopped doing so by itself in 3.12."""
    wanted = spec.cache is not None and spec.training.load_from_cache_file is None
    return {"load_from_cache_file": ("true",)} if wanted else {}


def _file_or_text(spec: SFTRunSpec, value: str) -> str:
    """Path of the file among ``files`` that has this name, otherwise the value itself."""
    return {source.basename: file_path(source) for source in spec.files}.get(value, value)


def _precision(spec: SFTRunSpec) -> Flags:
    precision = spec.training.precision or ("fp32" if spec.resources.gpus == 0 else None)
    if precision == "fp16" and spec.tuner.type == "full":
        return _FULL_FP16
    return _PRECISION[precision] if precision else {}


def _cpu(spec: SFTRunSpec) -> Flags:
    """A run without GPU: asking for it is needed with bf16, and gloo because nccl needs GPUs.

    No worker processes for the data by default: they would compete for the same cores and need more /dev/shm than a
    container has.
    """
    if spec.resources.gpus > 0:
        return {}
    flags: Flags = {"use_cpu": ("true",)}
    if spec.training.dataloader_workers is None:
        flags["dataloader_num_workers"] = ("0",)
    if spec.resources.world_size > 1:
        flags["ddp_backend"] = ("gloo",)
    return flags
