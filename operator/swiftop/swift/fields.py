"""Which flag each typed field of the spec sets, where the value passes unchanged.

A table in place of code: a new flag with a typed field is one line here, one field in the model and one line in the
test. Fields that need more than their value (precision, attention with data, tracking) are functions in render.py.
"""

from __future__ import annotations

from swiftop.api.v1alpha1.base import Model

MODEL = (
    ("revision", "model_revision"),
    ("type", "model_type"),
)
TUNER = (
    ("rank", "lora_rank"),
    ("alpha", "lora_alpha"),
    ("dropout", "lora_dropout"),
    ("target_modules", "target_modules"),
    ("modules_to_save", "modules_to_save"),
)
QUANTIZATION = (
    ("method", "quant_method"),
    ("bits", "quant_bits"),
    ("compute_type", "bnb_4bit_compute_dtype"),
    ("quant_type", "bnb_4bit_quant_type"),
    ("double_quant", "bnb_4bit_use_double_quant"),
)
TRAINING = (
    ("epochs", "num_train_epochs"),
    ("max_steps", "max_steps"),
    ("learning_rate", "learning_rate"),
    ("max_length", "max_length"),
    ("per_device_batch_size", "per_device_train_batch_size"),
    ("per_device_eval_batch_size", "per_device_eval_batch_size"),
    ("gradient_accumulation_steps", "gradient_accumulation_steps"),
    ("gradient_checkpointing", "gradient_checkpointing"),
    ("packing", "packing"),
    ("padding_free", "padding_free"),
    ("attention", "attn_impl"),
    ("sequence_parallel_size", "sequence_parallel_size"),
    ("liger", "use_liger_kernel"),
    ("streaming", "streaming"),
    ("template", "template"),
    ("agent_template", "agent_template"),
    ("loss_scale", "loss_scale"),
    ("dataloader_workers", "dataloader_num_workers"),
    ("dataset_processes", "dataset_num_proc"),
    ("load_from_cache_file", "load_from_cache_file"),
    ("drop_last", "dataloader_drop_last"),
    ("logging_steps", "logging_steps"),
    ("eval_strategy", "eval_strategy"),
    ("eval_steps", "eval_steps"),
    ("seed", "seed"),
    ("warmup_ratio", "warmup_ratio"),
    ("weight_decay", "weight_decay"),
    ("scheduler", "lr_scheduler_type"),
)
TASK = (
    ("type", "task_type"),
    ("num_labels", "num_labels"),
    ("problem_type", "problem_type"),
    ("loss_type", "loss_type"),
)
FREEZE = (
    ("vit", "freeze_vit"),
    ("aligner", "freeze_aligner"),
    ("llm", "freeze_llm"),
)
SELF_COGNITION = (
    ("name", "model_name"),
    ("author", "model_author"),
)
CHECKPOINTS = (
    ("save_steps", "save_steps"),
    ("keep", "save_total_limit"),
    ("save_only_model", "save_only_model"),
)
VALIDATION = (("split_ratio", "split_dataset_ratio"),)


def text(value: object) -> str:
    """A value as ms-swift reads it: ``true`` and ``false`` in small letters."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def passed(member: Model | None, rows: tuple[tuple[str, str], ...]) -> dict[str, tuple[str, ...]]:
    """Flags of the fields that are set. What is absent is not passed: ms-swift's own default holds."""
    flags: dict[str, tuple[str, ...]] = {}
    for field, flag in rows:
        value = getattr(member, field, None)
        if value is None or value == ():
            continue
        flags[flag] = tuple(text(v) for v in value) if isinstance(value, tuple) else (text(value),)
    return flags
