"""Which parameters are trained, and how the model is loaded for it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from swiftop.api.fields import Flag, Owns
from swiftop.api.v1alpha1.base import Model
from swiftop.api.v1alpha1.rules import Rule, matching
from swiftop.api.v1alpha1.scalars import Ratio

# One of several words after a flag: with a leading dash it would be the next flag, a secret one perhaps.
ModuleName = Annotated[
    str,
    Field(min_length=1, max_length=256),
    matching(r"^[^-\s]\S*$", "must be the name of a module, without blanks and a leading dash"),
]


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

    WORD: ClassVar = "method"
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
    method: Annotated[Literal["bnb", "hqq", "eetq", "quanto"], Flag("quant_method")] = Field(
        description="Library that quantizes while loading: bnb (bitsandbytes, the usual choice for QLoRA), hqq, eetq "
        "or quanto. It has to be in the image."
    )
    bits: Annotated[Literal[1, 2, 3, 4, 8] | None, Flag("quant_bits")] = Field(
        default=None,
        description="Bits per weight: 4 or 8 with bnb; 1, 2, 3, 4 or 8 with hqq; 2, 4 or 8 with quanto; 8 with eetq.",
    )
    compute_type: Annotated[Literal["float16", "bfloat16", "float32"] | None, Flag("bnb_4bit_compute_dtype")] = Field(
        default=None, description="Type that a 4 bit bnb layer computes in. Absent: the type of the model."
    )
    quant_type: Annotated[Literal["nf4", "fp4"] | None, Flag("bnb_4bit_quant_type")] = Field(
        default=None, description="Number format of 4 bit bnb weights. Absent: nf4."
    )
    double_quant: Annotated[bool | None, Flag("bnb_4bit_use_double_quant")] = Field(
        default=None, description="Quantize the quantization constants of bnb too. Absent: true."
    )


class Tuner(Model):
    """Which parameters are trained."""

    WORD: ClassVar = "type"
    INSTEAD: ClassVar = {"r": "use rank"}
    RULES: ClassVar = (
        Rule(
            cel="!has(self.quantization) || self.type != 'full'",
            message="quantized weights cannot be trained in full: use type: lora, or remove quantization",
            holds=lambda tuner: tuner.quantization is None or tuner.type != "full",
            field="quantization",
        ),
    )

    type: Annotated[
        Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_]+$")], Owns("train_type", "tuner_type")
    ] = Field(
        default="lora",
        description="Method: lora (adapters, the usual choice), full (all weights), or another one of the ms-swift "
        "version: adalora, longlora, llamapro, vera, boft, fourierft, reft, lora_llm, ... A type that the version "
        "does not know is refused by the operator.",
    )
    rank: Annotated[int | None, Flag("lora_rank")] = Field(
        default=None, ge=1, le=4096, description="Rank of the LoRA matrices. ms-swift's default: 8."
    )
    alpha: Annotated[int | None, Flag("lora_alpha")] = Field(
        default=None, ge=1, le=65536, description="Scale of the LoRA update (alpha / rank). ms-swift's default: 32."
    )
    dropout: Annotated[Ratio | None, Flag("lora_dropout")] = Field(
        default=None, description='Dropout on the LoRA path, as a quoted number. ms-swift\'s default: "0.05".'
    )
    target_modules: Annotated[tuple[ModuleName, ...], Flag("target_modules")] = Field(
        default=(),
        max_length=64,
        description="Modules that get an adapter: all-linear (ms-swift's default) or names such as q_proj, v_proj.",
    )
    modules_to_save: Annotated[tuple[ModuleName, ...], Flag("modules_to_save")] = Field(
        default=(),
        max_length=64,
        description="Modules trained in full beside the adapters, for example embed_tokens and lm_head after new "
        "tokens.",
    )
    quantization: Quantization | None = Field(
        default=None, description="Load the model quantized, to train an adapter in less memory (QLoRA)."
    )
