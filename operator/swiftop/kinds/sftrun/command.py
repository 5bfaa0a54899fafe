"""The command of a run: a pure function of (spec, flag table, identity).

Nothing is checked here (kinds/sftrun/check.py does), and nothing is said that only the pod knows:
``--resume_from_checkpoint`` is added by the runner, which sees the volume.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from swiftop.api.v1alpha1.sftrun import SFTRunSpec
from swiftop.api.v1alpha1.training import SelfCognition
from swiftop.kinds.sftrun import tracking
from swiftop.swift import datasets, secrets
from swiftop.swift.argv import Flags, Launcher, passed, threads, with_extra, words
from swiftop.swift.paths import Identity, adapter_path, cache_env, file_path, model_path, output_dir
from swiftop.swift.releases import FlagTable
from swiftop.swift.secrets import SecretVar

PROGRAM = "swift.cli.sft"

OPERATIONAL: Flags = {
    # A stable directory instead of a new one per start, so that a restarted pod finds its checkpoints.
    "add_version": ("false",),
    # No call home at the start, seconds without network: the model is what the spec says.
    "check_model": ("false",),
    # 4.x: save at the end of the step when the pod is told to go; all ranks agree on it.
    "callbacks": ("graceful_exit",),
}
"""Flags that swiftop adds to what the spec says, where the version knows them."""

MERGED = ("callbacks", "report_to", "external_plugins", "custom_dataset_info")
"""List flags that swiftop and ``extraArgs`` fill together; any other flag in ``extraArgs`` replaces ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """How the training is started. Whoever wants to know what the command says reads ``flags``, never the words."""

    launcher: Launcher
    flags: Mapping[str, tuple[str, ...]]
    env: Mapping[str, str]  # without secrets

    @property
    def command(self) -> tuple[str, ...]:
        """The words of the child that the runner starts."""
        return (*self.launcher.words, "-m", PROGRAM, *words(self.flags))


def command(spec: SFTRunSpec, *, typed: Flags, table: FlagTable, identity: Identity) -> Rendered:
    """Command and environment of a run whose spec has been checked; ``typed`` is what the fields set."""
    ours = {**typed, **_operational(table)}
    flags = with_extra(ours, spec.extra_args, merged=MERGED)
    return Rendered(
        launcher=_launcher(spec),
        flags=MappingProxyType(flags),
        env=MappingProxyType(_env(spec, identity)),
    )


def secret_vars(spec: SFTRunSpec) -> list[SecretVar]:
    """Secret variables of the pod, in a fixed order; ``optional`` ones may be missing."""
    key = tracking.key(spec)
    return [*([key] if key else []), *secrets.hub_tokens(spec.credentials, hubs(spec))]


def hubs(spec: SFTRunSpec) -> frozenset[str]:
    """Hubs that something is downloaded from."""
    default = spec.model.hub or "modelscope"
    used = {default} if spec.model.id or any(adapter.id for adapter in spec.model.adapters) else set[str]()
    used |= {dataset.hub or default for dataset in (*spec.datasets, *spec.validation.datasets) if dataset.id}
    return frozenset(used)


def _operational(table: FlagTable) -> Flags:
    return {name: values for name, values in OPERATIONAL.items() if name in table.flags}


def _launcher(spec: SFTRunSpec) -> Launcher:
    """One process needs no launcher: several GPUs are then shared by layers (``device_map``).

    DeepSpeed and FSDP ask for their rank even then: without a launcher's LOCAL_RANK, DeepSpeed looks for MPI.
    """
    processes, nodes = spec.resources.processes, spec.resources.nodes
    sharded = spec.training.deepspeed is not None or any(arg.name == "fsdp" for arg in spec.extra_args)
    return Launcher(processes=processes, nodes=nodes, elastic=processes > 1 or nodes > 1 or sharded)


def _env(spec: SFTRunSpec, identity: Identity) -> dict[str, str]:
    env = {**cache_env(spec.cache), **tracking.env(spec, identity)}
    if spec.resources.cpu is not None:
        env["OMP_NUM_THREADS"] = str(threads(spec.resources.cpu, spec.resources.processes))
    if spec.resources.gpus and not any(item.name == "PYTORCH_ALLOC_CONF" for item in spec.runtime.env):
        # Batches differ in length, and torch's fixed segments end in pieces that no batch fits: docs/performance.md.
        # The user's own value wins, "" too; under its newer name torch would have two.
        env["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
    return env


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


def typed_flags(spec: SFTRunSpec, *, table: FlagTable, identity: Identity) -> Flags:
    """Flags that the typed fields set, and those that a run on the CPU needs, in the order in which a person reads."""
    return {
        **_model(spec),
        **_tuner(spec, table),
        **_data(spec),
        **_training(spec),
        **_cached(spec),
        **_precision(spec),
        **_cpu(spec),
        **passed(spec.checkpoints),
        "output_dir": (output_dir(spec.output, identity),),
        **tracking.flags(spec, identity),
    }


def _model(spec: SFTRunSpec) -> Flags:
    flags: Flags = {"model": (model_path(spec.model),), **passed(spec.model)}
    if spec.model.hub == "huggingface":
        flags["use_hf"] = ("true",)
    if spec.model.adapters:
        flags["adapters"] = tuple(adapter_path(adapter) for adapter in spec.model.adapters)
    return flags


def _tuner(spec: SFTRunSpec, table: FlagTable) -> Flags:
    return {table.release.tuner_flag: (spec.tuner.type,), **passed(spec.tuner)}


def _data(spec: SFTRunSpec) -> Flags:
    hub, validation = spec.model.hub or "modelscope", spec.validation.datasets
    flags: Flags = {"dataset": datasets.named(spec.datasets, hub)} if spec.datasets else {}
    if validation:
        flags["val_dataset"] = datasets.named(validation, hub)
    return {**flags, **datasets.info((*spec.datasets, *validation), hub), **passed(spec.validation)}


def _training(spec: SFTRunSpec) -> Flags:
    training = spec.training
    flags = {**_batch(spec), **passed(training)}
    if training.deepspeed is not None:
        flags["deepspeed"] = (_file_or_text(spec, training.deepspeed),)
    if training.system is not None:
        flags["system"] = (_file_or_text(spec, training.system),)
    if training.self_cognition is not None:
        flags |= _self_cognition(training.self_cognition)
    if training.columns:
        # Sorted: the API server does not keep the order of a map, and the same run must give the same command.
        flags["columns"] = (json.dumps(training.columns, ensure_ascii=False, sort_keys=True),)
    return flags


def _batch(spec: SFTRunSpec) -> Flags:
    """One sample per process and pass fits wherever training does; an acceleration splits the step anew."""
    size = spec.training.global_batch_size
    if size is None:
        return {}
    passes = max(1, size // spec.data_parallel_size)
    return {"per_device_train_batch_size": ("1",), "gradient_accumulation_steps": (str(passes),)}


def _self_cognition(who: SelfCognition) -> Flags:
    """Of two values the first is for rows in Chinese, the second for those in English; one is for both."""
    names, authors = (who.name, who.english_name), (who.author, who.english_author)
    return {
        "model_name": tuple(text for text in names if text is not None),
        "model_author": tuple(text for text in authors if text is not None),
    }


def _cached(spec: SFTRunSpec) -> Flags:
    """Tokenized data in the cache is used again only when asked for: ms-swift stopped doing so by itself in 3.12."""
    wanted = spec.cache is not None and spec.training.load_from_cache_file is None
    return {"load_from_cache_file": ("true",)} if wanted else {}


def _file_or_text(spec: SFTRunSpec, value: str) -> str:
    """Path of the file among ``files`` that has this name, otherwise the value itself."""
    return file_path(value) if value in {source.basename for source in spec.files} else value


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
