"""How the model is trained, and on what it is evaluated.

No field of ``training`` has a default here: what is absent is not passed, and ms-swift's own default holds.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from swiftop.api.fields import Flag, Owns
from swiftop.api.v1alpha1.base import Model
from swiftop.api.v1alpha1.hub import DatasetSource
from swiftop.api.v1alpha1.rules import Rule, matching
from swiftop.api.v1alpha1.scalars import (
    Epochs,
    NonNegativeNumber,
    PositiveNumber,
    Ratio,
    Share,
    StepsOrShare,
    Word,
)

FLASH_ATTENTION = ("flash_attn", "flash_attention_2", "flash_attention_3", "flash_attention_4")

# Wide enough for a long system prompt or a Jinja template, short enough for the API server's cost estimate.
LongText = Annotated[str, Field(max_length=8192)]


class Task(Model):
    """What the model learns to produce, when it is not text."""

    WORD: ClassVar = "type"
    RULES: ClassVar = (
        Rule(
            cel="self.type != 'seq_cls' || has(self.numLabels)",
            message="ms-swift does not count the classes: set training.task.numLabels (1 for a score)",
            holds=lambda task: task.type != "seq_cls" or task.num_labels is not None,
            field="numLabels",
        ),
    )

    type: Annotated[
        Literal["causal_lm", "seq_cls", "embedding", "reranker", "generative_reranker", "decision"], Flag("task_type")
    ] = Field(
        description="causal_lm (text), seq_cls (classes or scores), embedding, reranker, generative_reranker, or "
        "decision (scores of given choices; ms-swift 4.6)."
    )
    num_labels: Annotated[int | None, Flag("num_labels")] = Field(
        default=None, ge=1, le=1_000_000, description="Number of classes, for seq_cls."
    )
    problem_type: Annotated[
        Literal["regression", "single_label_classification", "multi_label_classification"] | None, Flag("problem_type")
    ] = Field(
        default=None, description="Kind of classification, for seq_cls. Absent: ms-swift tells it from the labels."
    )
    loss_type: Annotated[Word | None, Flag("loss_type")] = Field(
        default=None, description="Loss, for embedding and reranker, for example infonce or cosine_similarity."
    )


class Freeze(Model):
    """Which parts of a multimodal model stay as they are. Absent: ms-swift's default (vision and aligner frozen)."""

    vit: Annotated[bool | None, Flag("freeze_vit")] = Field(
        default=None, description="Freeze the vision (or audio) encoder."
    )
    aligner: Annotated[bool | None, Flag("freeze_aligner")] = Field(
        default=None, description="Freeze the part that joins encoder and language model."
    )
    llm: Annotated[bool | None, Flag("freeze_llm")] = Field(default=None, description="Freeze the language model.")


class SelfCognition(Model):
    """Who the model says it is, with the dataset swift/self-cognition."""

    RULES: ClassVar = (
        Rule(
            cel="has(self.englishName) == has(self.englishAuthor)",
            message="the rows in English have a name and an author: set both englishName and englishAuthor, or neither",
            holds=lambda who: (who.english_name is None) == (who.english_author is None),
        ),
    )

    name: Annotated[Word, Owns("model_name")] = Field(description="What the model calls itself.")
    author: Annotated[Word, Owns("model_author")] = Field(description="Who the model says made it.")
    english_name: Annotated[Word | None, Owns("model_name")] = Field(
        default=None, description="What it calls itself in English, when name is for Chinese alone. Absent: name."
    )
    english_author: Annotated[Word | None, Owns("model_author")] = Field(
        default=None, description="Who made it, in English. Absent: author."
    )


class Training(Model):
    """How to train. An absent field is not passed: ms-swift's own default holds."""

    INSTEAD: ClassVar = {
        "lr": "use learningRate",
        **dict.fromkeys(
            ("batch_size", "batchSize"),
            "use globalBatchSize, or perDeviceBatchSize and gradientAccumulationSteps",
        ),
    }
    RULES: ClassVar = (
        Rule(
            cel="!(has(self.packing) && self.packing) || has(self.maxLength)",
            message="packing fills sequences up to a length: set training.maxLength, for example 4096",
            holds=lambda t: not t.packing or t.max_length is not None,
            field="packing",
        ),
        Rule(
            cel="!(has(self.packing) && self.packing || has(self.paddingFree) && self.paddingFree)"
            " || has(self.attention) && self.attention.startsWith('flash_att')",
            message="packing and paddingFree need a flash attention, or samples would see each other: set "
            "training.attention: flash_attn (with training.acceleration it need not be in the image)",
            holds=lambda t: not (t.packing or t.padding_free) or t.attention in FLASH_ATTENTION,
            field="attention",
        ),
        Rule(
            cel="!(has(self.precision) && self.precision == 'fp32' && has(self.attention)"
            " && self.attention.startsWith('flash_att'))",
            message="a flash attention computes in 16 bits only: use precision: bf16 (or fp16), or attention: sdpa",
            holds=lambda t: t.precision != "fp32" or t.attention not in FLASH_ATTENTION,
            field="attention",
        ),
        Rule(
            cel="!(has(self.streaming) && self.streaming) || has(self.maxSteps)",
            message="a stream has no length: set training.maxSteps",
            holds=lambda t: not t.streaming or t.max_steps is not None,
            field="maxSteps",
        ),
        Rule(
            cel="!has(self.globalBatchSize) || !has(self.perDeviceBatchSize) && !has(self.gradientAccumulationSteps)",
            message="globalBatchSize is the whole batch of a step, however it is split: remove perDeviceBatchSize and "
            "gradientAccumulationSteps, or globalBatchSize",
            holds=lambda t: (
                t.global_batch_size is None or (t.per_device_batch_size, t.gradient_accumulation_steps) == (None, None)
            ),
            field="globalBatchSize",
        ),
    )

    epochs: Annotated[Epochs | None, Flag("num_train_epochs")] = Field(
        default=None,
        description='Number of passes over the training data: a whole number, or a fraction in quotes, as "0.5". '
        "ms-swift's default: 3.",
    )
    max_steps: Annotated[int | None, Flag("max_steps")] = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="Stop after this many optimizer steps, whatever epochs says. Needed with streaming.",
    )
    learning_rate: Annotated[PositiveNumber | None, Flag("learning_rate")] = Field(
        default=None,
        description='Highest learning rate, as a quoted number. ms-swift\'s default: "1e-4" for adapters, "1e-5" for '
        "full.",
    )
    max_length: Annotated[int | None, Flag("max_length")] = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="Longest sample in tokens; longer ones are dropped. Halve it (4096, 2048, 1024) when memory is "
        "short.",
    )
    acceleration: Literal["Auto", "Approximate", "Off"] | None = Field(
        default=None,
        description="Auto: the same training, faster, as far as model, GPU and image allow. LoRA layers are fused, a "
        "flash attention is there without a package of it, and how a step is split, gradient checkpointing and the "
        "loader are chosen for the GPU's memory; the batch of a step and every field that is set stay. Approximate: "
        "frozen weights in 8 bits as well, on GPUs that can, at a slightly higher loss. "
        '"Off" (in quotes: YAML reads a bare Off as false): ms-swift as it is. Absent: Auto for tuner.type lora on '
        "GPUs, else Off. status.acceleration tells what is at work.",
    )
    per_device_batch_size: Annotated[int | None, Flag("per_device_train_batch_size")] = Field(
        default=None,
        ge=1,
        le=65_536,
        description="Samples per GPU and forward pass. ms-swift's default: 1. The batch of one optimizer step is this "
        "times gradientAccumulationSteps times the number of GPUs: globalBatchSize.",
    )
    per_device_eval_batch_size: Annotated[int | None, Flag("per_device_eval_batch_size")] = Field(
        default=None,
        ge=1,
        le=65_536,
        description="Samples per GPU and forward pass in evaluation. ms-swift's default: 1.",
    )
    gradient_accumulation_steps: Annotated[int | None, Flag("gradient_accumulation_steps")] = Field(
        default=None,
        ge=1,
        le=65_536,
        description="Forward passes per optimizer step: a larger batch in the same memory. ms-swift's default: such "
        "that a step sees 16 samples.",
    )
    global_batch_size: Annotated[int | None, Owns("per_device_train_batch_size", "gradient_accumulation_steps")] = (
        Field(
            default=None,
            ge=1,
            le=1_048_576,
            description="Samples (with packing: sequences) of one optimizer step over all GPUs, in place of "
            "perDeviceBatchSize and gradientAccumulationSteps: with acceleration they are chosen for the GPU's memory, "
            "else it is one sample per GPU and forward pass. A multiple of the number of GPUs.",
        )
    )
    precision: Annotated[Literal["bf16", "fp16", "fp32"] | None, Owns("torch_dtype", "bf16", "fp16")] = Field(
        default=None,
        description="Number format to train in, whatever the model is saved in: bf16 (Ampere GPUs and newer), fp16 "
        "(older GPUs) or fp32. Absent: bf16 for a model saved in bf16, fp16 for any other; fp32 on the CPU.",
    )
    gradient_checkpointing: Annotated[bool | None, Flag("gradient_checkpointing")] = Field(
        default=None,
        description="Compute activations again in the backward pass: far less memory, about a third slower. ms-swift's "
        "default: true; with acceleration it is chosen for the GPU's memory.",
    )
    packing: Annotated[bool | None, Flag("packing")] = Field(
        default=None,
        description="Put several samples into one sequence of maxLength tokens, so that no computing goes into "
        "padding: much faster on short samples. Needs maxLength and a flash attention, which keeps the samples from "
        "seeing each other.",
    )
    padding_free: Annotated[bool | None, Flag("padding_free")] = Field(
        default=None,
        description="Join the samples of a batch without padding. Saves memory and time as packing does, without "
        "changing the batch. Needs a flash attention.",
    )
    attention: Annotated[
        Literal[
            "sdpa",
            "eager",
            "flash_attn",
            "flash_attention_2",
            "flash_attention_3",
            "flash_attention_4",
            "flex_attention",
        ]
        | None,
        Flag("attn_impl"),
    ] = Field(
        default=None,
        description="Implementation of attention. ms-swift's default: sdpa, part of torch. A flash attention needs a "
        "GPU and its package in the image; with acceleration flash_attn and flash_attention_2 need no package.",
    )
    deepspeed: Annotated[
        Annotated[
            str,
            Field(max_length=253),
            matching(
                r"^(zero[0-3]|zero[23]_offload|[-._a-zA-Z0-9]+\.json)$",
                "must be zero0, zero1, zero2, zero3, zero2_offload, zero3_offload, or the name (without "
                "folders) of a .json file that is listed under files",
            ),
        ]
        | None,
        Owns("deepspeed"),
    ] = Field(
        default=None,
        description="Spread optimizer state (zero1), gradients (zero2) and weights (zero3) over the GPUs, or offload "
        "them to the host (zero2_offload, zero3_offload); or the name of a JSON file listed under files.",
    )
    sequence_parallel_size: Annotated[int | None, Flag("sequence_parallel_size")] = Field(
        default=None, ge=1, le=1024, description="GPUs that share one long sample. ms-swift's default: 1."
    )
    liger: Annotated[bool | None, Flag("use_liger_kernel")] = Field(
        default=None,
        description="Use the Liger kernels: less memory for the loss. They have to be in the image; with acceleration "
        "they are used where they are.",
    )
    experts_implementation: Annotated[Word | None, Flag("experts_impl")] = Field(
        default=None,
        description="How the experts of a mixture are computed, for example grouped_mm or eager (ms-swift 4.6 with "
        "transformers 5).",
    )
    router_aux_loss_coefficient: Annotated[NonNegativeNumber | None, Flag("router_aux_loss_coef")] = Field(
        default=None,
        description="Weight of the loss that spreads the tokens over the experts of a mixture, as a quoted number. "
        'ms-swift\'s default: "0", none.',
    )
    streaming: Annotated[bool | None, Flag("streaming")] = Field(
        default=None,
        description="Read the data while training instead of loading it first. Needs maxSteps; excludes "
        "validation.splitRatio, because ms-swift then silently never evaluates.",
    )
    columns: Annotated[dict[str, Word], Owns("columns")] = Field(
        default_factory=dict,
        max_length=32,
        description="Names of the data's columns, mapped to those that ms-swift expects, for example {question: "
        "query}.",
    )
    template: Annotated[Word | None, Flag("template")] = Field(
        default=None,
        description="Chat template in ms-swift's words. Absent: the one of the model. Base models may need default.",
    )
    system: Annotated[LongText | None, Owns("system")] = Field(
        default=None,
        description='System prompt for all samples without their own, or a .txt file under files. "": none, not even '
        "the template's own.",
    )
    use_chat_template: Annotated[bool | None, Flag("use_chat_template")] = Field(
        default=None,
        description="false: rows are learned as plain text, without the roles of a chat. ms-swift's default: true.",
    )
    agent_template: Annotated[Word | None, Flag("agent_template")] = Field(
        default=None,
        description="How tool calls are written, for example react_en or hermes. Absent: as the model does.",
    )
    loss_scale: Annotated[Word | None, Flag("loss_scale")] = Field(
        default=None,
        description="Which tokens count for the loss: default (answers only), last_round, all, or another scale of "
        "ms-swift.",
    )
    task: Task | None = Field(default=None, description="What the model learns to produce, when it is not text.")
    freeze: Freeze = Field(default_factory=Freeze, description="Which parts of a multimodal model stay as they are.")
    self_cognition: SelfCognition | None = Field(
        default=None,
        description="Who the model says it is. Needs the dataset swift/self-cognition among datasets.",
    )
    dataloader_workers: Annotated[int | None, Flag("dataloader_num_workers")] = Field(
        default=None, ge=0, le=1024, description="Processes that prepare batches, per GPU."
    )
    dataset_processes: Annotated[int | None, Flag("dataset_num_proc")] = Field(
        default=None,
        ge=1,
        le=1024,
        description="Processes that tokenize the data before the start. ms-swift's default: 1.",
    )
    load_from_cache_file: Annotated[bool | None, Flag("load_from_cache_file")] = Field(
        default=None,
        description="Use tokenized data of an earlier run in the cache, if data and settings are the same. Absent: "
        "true with spec.cache.",
    )
    drop_last: Annotated[bool | None, Flag("dataloader_drop_last")] = Field(
        default=None, description="Drop the last batch of an epoch when it is not full."
    )
    logging_steps: Annotated[int | None, Flag("logging_steps")] = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Steps between two reports of loss and progress. ms-swift's default: 5.",
    )
    eval_strategy: Annotated[Literal["no", "steps", "epoch"] | None, Flag("eval_strategy")] = Field(
        default=None,
        description='When to evaluate: "steps", "epoch" or "no" (in quotes: YAML reads a bare no as false).',
    )
    eval_steps: Annotated[StepsOrShare | None, Flag("eval_steps")] = Field(
        default=None,
        description='Steps between two evaluations, or their share of all steps in quotes, as "0.1". Absent: as '
        "saveSteps.",
    )
    seed: Annotated[int | None, Flag("seed")] = Field(
        default=None, ge=0, le=4_294_967_295, description="Random seed. ms-swift's default: 42."
    )
    warmup_ratio: Annotated[Ratio | None, Flag("warmup_ratio")] = Field(
        default=None, description="Share of the steps in which the learning rate rises, as a quoted number."
    )
    weight_decay: Annotated[NonNegativeNumber | None, Flag("weight_decay")] = Field(
        default=None, description='Weight decay of AdamW, as a quoted number. ms-swift\'s default: "0.1".'
    )
    scheduler: Annotated[Word | None, Flag("lr_scheduler_type")] = Field(
        default=None,
        description="Course of the learning rate: cosine (ms-swift's default), linear, constant, "
        "constant_with_warmup, ...",
    )


class Validation(Model):
    """What the model is evaluated on while it trains."""

    RULES: ClassVar = (
        Rule(
            cel="!(has(self.splitRatio) && has(self.datasets) && size(self.datasets) > 0)",
            message="choose splitRatio (rows of the training data) or datasets (own data), not both",
            holds=lambda validation: not (validation.split_ratio and validation.datasets),
        ),
    )

    split_ratio: Annotated[Share | None, Flag("split_dataset_ratio")] = Field(
        default=None, description='Share of the training rows to set aside for evaluation, for example "0.01".'
    )
    datasets: Annotated[tuple[DatasetSource, ...], Owns("val_dataset")] = Field(
        default=(), max_length=16, description="Datasets of their own for evaluation."
    )

    @property
    def enabled(self) -> bool:
        """Whether the run evaluates at all."""
        return self.split_ratio is not None or bool(self.datasets)
