"""ms-swift flags that ``extraArgs`` may not carry: secrets, and flags that a field of the spec (or swiftop) sets.

A secret given as a flag stands in the process list, in the first line of the log and in ``args.json`` on the volume,
so secrets go by ``credentials`` only. A flag with a field of its own would be given twice, and the later one would win
silently.
"""

from __future__ import annotations

import re

from swiftop.api.v1alpha1.rules import Rule

# Fields of the spec, as a user writes them, and the flags that they (or swiftop itself, when "") set.
_FLAGS_OF = {
    "model.id or model.persistentVolumeClaim": ("model",),
    "model.hub": ("use_hf",),
    "model.revision": ("model_revision",),
    "model.type": ("model_type",),
    "model.adapters": ("adapters",),
    "datasets": ("dataset",),
    "validation.datasets": ("val_dataset",),
    "validation.splitRatio": ("split_dataset_ratio",),
    "tuner.type": ("train_type", "tuner_type"),
    "tuner.rank": ("lora_rank",),
    "tuner.alpha": ("lora_alpha",),
    "tuner.dropout": ("lora_dropout",),
    "tuner.targetModules": ("target_modules",),
    "tuner.modulesToSave": ("modules_to_save",),
    "tuner.quantization": (
        "quant_method",
        "quant_bits",
        "bnb_4bit_compute_dtype",
        "bnb_4bit_quant_type",
        "bnb_4bit_use_double_quant",
    ),
    "training.epochs": ("num_train_epochs",),
    "training.maxSteps": ("max_steps",),
    "training.learningRate": ("learning_rate",),
    "training.maxLength": ("max_length",),
    "training.perDeviceBatchSize": ("per_device_train_batch_size",),
    "training.perDeviceEvalBatchSize": ("per_device_eval_batch_size",),
    "training.gradientAccumulationSteps": ("gradient_accumulation_steps",),
    "training.precision": ("torch_dtype", "bf16", "fp16"),
    "training.gradientCheckpointing": ("gradient_checkpointing",),
    "training.packing": ("packing",),
    "training.paddingFree": ("padding_free",),
    "training.attention": ("attn_impl",),
    "training.deepspeed": ("deepspeed",),
    "training.sequenceParallelSize": ("sequence_parallel_size",),
    "training.liger": ("use_liger_kernel",),
    "training.streaming": ("streaming",),
    "training.columns": ("columns",),
    "training.template": ("template",),
    "training.system": ("system",),
    "training.agentTemplate": ("agent_template",),
    "training.lossScale": ("loss_scale",),
    "training.task": ("task_type", "num_labels", "problem_type", "loss_type"),
    "training.freeze": ("freeze_vit", "freeze_aligner", "freeze_llm"),
    "training.selfCognition": ("model_name", "model_author"),
    "training.dataloaderWorkers": ("dataloader_num_workers",),
    "training.datasetProcesses": ("dataset_num_proc",),
    "training.loadFromCacheFile": ("load_from_cache_file",),
    "training.dropLast": ("dataloader_drop_last",),
    "training.loggingSteps": ("logging_steps",),
    "training.evalStrategy": ("eval_strategy",),
    "training.evalSteps": ("eval_steps",),
    "training.seed": ("seed",),
    "training.warmupRatio": ("warmup_ratio",),
    "training.weightDecay": ("weight_decay",),
    "training.scheduler": ("lr_scheduler_type",),
    "checkpoints.saveSteps": ("save_steps",),
    "checkpoints.keep": ("save_total_limit",),
    "checkpoints.saveOnlyModel": ("save_only_model",),
    "checkpoints.resume": ("resume_from_checkpoint", "resume_only_model"),
    "output": ("output_dir", "logging_dir", "add_version"),
    "tracking.swanlab": (
        "swanlab_project",
        "swanlab_mode",
        "swanlab_exp_name",
        "swanlab_workspace",
    ),
    "": (
        "create_checkpoint_symlink",
        "ignore_args_error",
        "load_args",
        "overwrite_output_dir",
        "push_to_hub",
    ),
}

FIELD_OF_FLAG = {flag: field for field, flags in _FLAGS_OF.items() for flag in flags}
"""Which field of the spec (in the user's spelling) sets a flag; empty when swiftop alone decides."""

_DENIED_ENDING = r"(_token|_secret|secret_key|password|passwd|api_key|apikey|access_key|webhook_url)$"


def _secret(name: str) -> bool:
    return bool(re.search(_DENIED_ENDING, name.lower())) or name.lower() in ("token", "secret")


def owned_text(name: str) -> str:
    """What to do instead of passing an owned flag."""
    field = FIELD_OF_FLAG[name]
    return f"extraArgs.{name}: use spec.{field} instead" if field else f"extraArgs.{name}: set by swiftop, remove it"


_TABLE = "{" + ", ".join(f"'{flag}': '{FIELD_OF_FLAG[flag]}'" for flag in sorted(FIELD_OF_FLAG)) + "}"

EXTRA_ARG_RULES = (
    Rule(
        cel=f"!self.name.lowerAscii().matches('{_DENIED_ENDING}') && !(self.name.lowerAscii() in ['token', 'secret'])",
        message="a secret must not be a flag, where logs and the process list show it: put it into the Secret that "
        "spec.credentials names",
        holds=lambda arg: not _secret(arg.name),
        field="name",
    ),
    Rule(
        cel=f"!(self.name in {_TABLE})",
        message="this flag is set by a field of the spec or by swiftop itself: remove it from extraArgs",
        message_cel=f"{_TABLE}[self.name] == '' ? 'extraArgs.' + self.name + ': set by swiftop, remove it' : "
        f"'extraArgs.' + self.name + ': use spec.' + {_TABLE}[self.name] + ' instead'",
        holds=lambda arg: arg.name not in FIELD_OF_FLAG,
        describe=lambda arg: owned_text(arg.name),
        field="name",
    ),
)
