"""How the model is trained: tuner, training, checkpoints, and any further ms-swift flag.

No field of ``training`` has a default here: what is absent is not passed, and ms-swift's own default holds.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from swiftop.api.v1alpha1.base import Model
from swiftop.api.v1alpha1.flags import EXTRA_ARG_RULES
from swiftop.api.v1alpha1.rules import Rule, matching, one_of
from swiftop.api.v1alpha1.scalars import NonNegativeNumber, PositiveNumber, Ratio, Word

FLASH_ATTENTION = ("flash_attn", "flash_attention_2", "flash_attention_3", "flash_attention_4")

# One of several words after a flag: with a leading dash it would be the next flag, a secret one perhaps.
ModuleName = Annotated[
    str,
    Field(min_length=1, max_length=256),
    matching(r"^[^-\s]\S*$", "must be the name of a module, without blanks and a leading dash"),
]
# Wide enough for a long system prompt or a Jinja template, short enough for the API server's cost estimate.
LongText = Annotated[str, Field(min_length=1, max_length=8192)]


def _bits(method: str, *allowed: int) -> Rule:
    """Rule on the bits of a method (get_quantization_config in ms-swift's quant_args.py, and the library's own)."""
    return Rule(
        cel=f"self.method != '{method}' || has(self.bits) && self.bits in {list(allowed)}",
        message=f"with method: {method} set bits: {' or '.join(map(str, allowed))}",
        holds=lambda q: q.method != method or q.bits in allowed,
        field="bits",
    )


class Quantization(Model):
    """Load the model quantized, to train an adapter in less memory (QLoRA)."""

    RULES: ClassVar = (
        Rule(
            cel="self.method == 'bnb' || !(has(self.computeType) || has(self.quantType) || has(self.doubleQuant))",
            message="computeType, quantType and doubleQuant belong to method bnb: remove them or use method: bnb",
            holds=lambda q: q.method == "bnb" or (q.compute_type, q.quant_type, q.double_quant) == (None, None, None),
        ),
        _bits("bnb", 4, 8),
        _bits("hqq", 1, 2, 3, 4, 8),
        _bits("eetq", 8),
        _bits("quanto", 2, 4, 8),
    )

    # ms-swift's fifth, fp8, is left out: transformers does not train on it (is_trainable of its quantizer).
    method: Literal["bnb", "hqq", "eetq", "quanto"] = Field(
        description="Library that quantizes while loading: bnb (bitsandbytes, the usual choice for QLoRA), hqq, eetq "
        "or quanto. It has to be in the image."
    )
    bits: Literal[1, 2, 3, 4, 8] | None = Field(
        default=None,
        description="Bits per weight: 4 or 8 with bnb; 1, 2, 3, 4 or 8 with hqq; 2, 4 or 8 with quanto; 8 with eetq.",
    )
    compute_type: Literal["float16", "bfloat16", "float32"] | None = Field(
        default=None, description="Type that a 4 bit bnb layer computes in. Absent: the type of the model."
    )
    quant_type: Literal["nf4", "fp4"] | None = Field(
        default=None, description="Number format of 4 bit bnb weights. Absent: nf4."
    )
    double_quant: bool | None = Field(
        default=None, description="Quantize the quantization constants of bnb too. Absent: true."
    )


class Tuner(Model):
    """Which parameters are trained."""

    RULES: ClassVar = (
        Rule(
            cel="!has(self.quantization) || self.type != 'full'",
            message="quantized weights cannot be trained in full: use type: lora, or remove quantization",
            holds=lambda tuner: tuner.quantization is None or tuner.type != "full",
            field="quantization",
        ),
    )

    type: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_]+$")] = Field(
        default="lora",
        description="Method: lora (adapters, the usual choice), full (all weights), or another one of the ms-swift "
        "version: adalora, longlora, llamapro, vera, boft, fourierft, reft, lora_llm, ... A type that the version "
        "does not know is refused by the operator.",
    )
    rank: int | None = Field(
        default=None, ge=1, le=4096, description="Rank of the LoRA matrices. ms-swift's default: 8."
    )
    alpha: int | None = Field(
        default=None, ge=1, le=65536, description="Scale of the LoRA update (alpha / rank). ms-swift's default: 32."
    )
    dropout: Ratio | None = Field(
        default=None, description='Dropout on the LoRA path, as a quoted number. ms-swift\'s default: "0.05".'
    )
    target_modules: tuple[ModuleName, ...] = Field(
        default=(),
        max_length=64,
        description="Modules that get an adapter: all-linear (ms-swift's default) or names such as q_proj, v_proj.",
    )
    modules_to_save: tuple[ModuleName, ...] = Field(
        default=(),
        max_length=64,
        description="Modules trained in full beside the adapters, for example embed_tokens and lm_head after new "
        "tokens.",
    )
    quantization: Quantization | None = Field(
        default=None, description="Load the model quantized, to train an adapter in less memory (QLoRA)."
    )


class Task(Model):
    """What the model learns to produce, when it is not text."""

    type: Literal["causal_lm", "seq_cls", "embedding", "reranker", "generative_reranker"] = Field(
        description="causal_lm (text), seq_cls (classes or scores), embedding, reranker or generative_reranker."
    )
    num_labels: int | None = Field(default=None, ge=1, le=1_000_000, description="Number of classes, for seq_cls.")
    problem_type: Literal["regression", "single_label_classification", "multi_label_classification"] | None = Field(
        default=None, description="Kind of classification, for seq_cls. Absent: ms-swift tells it from the labels."
    )
    loss_type: Word | None = Field(
        default=None, description="Loss, for embedding and reranker, for example infonce or cosine_similarity."
    )


class Freeze(Model):
    """Which parts of a multimodal model stay as they are. Absent: ms-swift's default (vision and aligner frozen)."""

    vit: bool | None = Field(default=None, description="Freeze the vision (or audio) encoder.")
    aligner: bool | None = Field(default=None, description="Freeze the part that joins encoder and language model.")
    llm: bool | None = Field(default=None, description="Freeze the language model.")


class SelfCognition(Model):
    """Who the model says it is, with the dataset swift/self-cognition."""

    name: Word = Field(description="What the model calls itself.")
    author: Word = Field(description="Who the model says made it.")


class Training(Model):
    """How to train. An absent field is not passed: ms-swift's own default holds."""

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
            "training.attention: flash_attn (it has to be in the image)",
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
    )

    epochs: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="How often the data is gone through. ms-swift's default: 3. For a part of an epoch use maxSteps.",
    )
    max_steps: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="Stop after this many optimizer steps, whatever epochs says. Needed with streaming.",
    )
    learning_rate: PositiveNumber | None = Field(
        default=None,
        description='Highest learning rate, as a quoted number. ms-swift\'s default: "1e-4" for adapters, "1e-5" for '
        "full.",
    )
    max_length: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="Longest sample in tokens; longer ones are dropped. Halve it (4096, 2048, 1024) when memory is "
        "short.",
    )
    per_device_batch_size: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="Samples per GPU and forward pass. ms-swift's default: 1. The batch of one optimizer step is this "
        "times gradientAccumulationSteps times the number of GPUs.",
    )
    per_device_eval_batch_size: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="Samples per GPU and forward pass in evaluation. ms-swift's default: 1.",
    )
    gradient_accumulation_steps: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="Forward passes per optimizer step: a larger batch in the same memory. ms-swift's default: such "
        "that a step sees 16 samples.",
    )
    precision: Literal["bf16", "fp16", "fp32"] | None = Field(
        default=None,
        description="Number format to train in, whatever the model is saved in: bf16 (Ampere GPUs and newer), fp16 "
        "(older GPUs) or fp32. Absent: bf16 for a model saved in bf16, fp16 for any other; fp32 on the CPU.",
    )
    gradient_checkpointing: bool | None = Field(
        default=None,
        description="Compute activations again in the backward pass: far less memory, about a third slower. ms-swift's "
        "default: true.",
    )
    packing: bool | None = Field(
        default=None,
        description="Put several samples into one sequence of maxLength tokens, so that no computing goes into "
        "padding: much faster on short samples. Needs maxLength and a flash attention, which keeps the samples from "
        "seeing each other.",
    )
    padding_free: bool | None = Field(
        default=None,
        description="Join the samples of a batch without padding. Saves memory and time as packing does, without "
        "changing the batch. Needs a flash attention.",
    )
    attention: (
        Literal[
            "sdpa",
            "eager",
            "flash_attn",
            "flash_attention_2",
            "flash_attention_3",
            "flash_attention_4",
            "flex_attention",
        ]
        | None
    ) = Field(
        default=None,
        description="Implementation of attention. ms-swift's default: sdpa, part of torch. flash_attn (or "
        "flash_attention_2, _3, _4) has to be in the image and needs a GPU.",
    )
    deepspeed: (
        Annotated[
            str,
            Field(max_length=253),
            matching(
                r"^(zero[0-3]|zero[23]_offload|[-._a-zA-Z0-9]+\.json)$",
                "must be zero0, zero1, zero2, zero3, zero2_offload, zero3_offload, or the name (without "
                "folders) of a .json file that is listed under files",
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="Spread optimizer state (zero1), gradients (zero2) and weights (zero3) over the GPUs, or offload "
        "them to the host (zero2_offload, zero3_offload); or the name of a JSON file listed under files.",
    )
    sequence_parallel_size: int | None = Field(
        default=None, ge=1, le=1024, description="GPUs that share one long sample. ms-swift's default: 1."
    )
    liger: bool | None = Field(
        default=None, description="Use the Liger kernels: less memory for the loss. They have to be in the image."
    )
    streaming: bool | None = Field(
        default=None,
        description="Read the data while training instead of loading it first. Needs maxSteps; excludes "
        "validation.splitRatio, because ms-swift then silently never evaluates.",
    )
    columns: dict[str, Word] = Field(
        default_factory=dict,
        max_length=32,
        description="Names of the data's columns, mapped to those that ms-swift expects, for example {question: "
        "query}.",
    )
    template: Word | None = Field(
        default=None,
        description="Chat template in ms-swift's words. Absent: the one of the model. Base models may need default.",
    )
    system: LongText | None = Field(
        default=None, description="System prompt for all samples without their own, or a .txt file under files."
    )
    agent_template: Word | None = Field(
        default=None,
        description="How tool calls are written, for example react_en or hermes. Absent: as the model does.",
    )
    loss_scale: Word | None = Field(
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
    dataloader_workers: int | None = Field(
        default=None, ge=0, le=1024, description="Processes that prepare batches, per GPU."
    )
    dataset_processes: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Processes that tokenize the data before the start. ms-swift's default: 1.",
    )
    load_from_cache_file: bool | None = Field(
        default=None,
        description="Use tokenized data of an earlier run in the cache, if data and settings are the same. Absent: "
        "true with spec.cache.",
    )
    drop_last: bool | None = Field(default=None, description="Drop the last batch of an epoch when it is not full.")
    logging_steps: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Steps between two reports of loss and progress. ms-swift's default: 5.",
    )
    eval_strategy: Literal["no", "steps", "epoch"] | None = Field(
        default=None,
        description='When to evaluate: "steps", "epoch" or "no" (in quotes: YAML reads a bare no as false).',
    )
    eval_steps: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="Steps between two evaluations. Absent: as saveSteps."
    )
    seed: int | None = Field(default=None, ge=0, le=4_294_967_295, description="Random seed. ms-swift's default: 42.")
    warmup_ratio: Ratio | None = Field(
        default=None, description="Share of the steps in which the learning rate rises, as a quoted number."
    )
    weight_decay: NonNegativeNumber | None = Field(
        default=None, description='Weight decay of AdamW, as a quoted number. ms-swift\'s default: "0.1".'
    )
    scheduler: Word | None = Field(
        default=None,
        description="Course of the learning rate: cosine (ms-swift's default), linear, constant, "
        "constant_with_warmup, ...",
    )


class Checkpoints(Model):
    """When checkpoints are written, how many stay, and whether a restarted run goes on from them."""

    RULES: ClassVar = (
        Rule(
            cel="!(has(self.saveOnlyModel) && self.saveOnlyModel) || has(self.resume) && self.resume == 'Never'",
            message="a checkpoint of the model alone cannot be resumed: set checkpoints.resume: Never, or remove "
            "saveOnlyModel",
            holds=lambda c: not c.save_only_model or c.resume == "Never",
            field="saveOnlyModel",
        ),
    )

    save_steps: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="Steps between two checkpoints: what an interruption can cost. ms-swift's default: 500.",
    )
    keep: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="How many checkpoints stay, the best one among them. Absent: all. At least 2 with validation.",
    )
    save_only_model: bool | None = Field(
        default=None,
        description="Save weights without optimizer state: smaller, but an interrupted run starts anew. Needs resume: "
        "Never.",
    )
    resume: Literal["Auto", "Never"] = Field(
        default="Auto",
        description="Auto: after an interruption go on from the newest complete checkpoint of this run. Never: start "
        "anew.",
    )


class ExtraArg(Model):
    """Any further flag of ms-swift, without its leading dashes."""

    RULES: ClassVar = (
        one_of("value", "values", "json", message="give exactly one of value, values (a list) and json (a JSON text)"),
        *EXTRA_ARG_RULES,
    )

    name: Annotated[
        str,
        Field(min_length=1, max_length=64),
        matching(
            r"^[A-Za-z][A-Za-z0-9_]*$", "write the flag without leading dashes and with underscores, as in vit_lr"
        ),
    ] = Field(
        description="Name of the flag without leading dashes and with underscores, for example vit_lr. A flag that the "
        "ms-swift version does not know is refused by the operator, with the nearest name."
    )
    value: Annotated[str, Field(max_length=4096)] | None = Field(
        default=None, description='The value, as a quoted text: "1e-5", "true".'
    )
    values: tuple[Annotated[str, Field(max_length=1024)], ...] | None = Field(
        default=None, min_length=1, max_length=64, description="Several values, for a flag that takes a list."
    )
    json_text: Annotated[str, Field(min_length=2, max_length=4096)] | None = Field(
        default=None, alias="json", description="A JSON text, for a flag that takes an object."
    )
