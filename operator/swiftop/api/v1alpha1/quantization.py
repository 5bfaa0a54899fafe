"""How an export quantizes its model: what ``swift export --quant_method`` can do, and what each method needs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from swiftop.api.fields import Flag, Owns
from swiftop.api.v1alpha1.base import Model
from swiftop.api.v1alpha1.hub import NamedDataset
from swiftop.api.v1alpha1.rules import Rule, one_of

CALIBRATED = ("awq", "gptq", "gptq_v2")
"""Methods that look at rows of a dataset while they choose the numbers."""
ON_GPU = (*CALIBRATED, "fp8")
"""Methods that refuse to run without a GPU. bnb does not, from bitsandbytes 0.46 on."""
_CALIBRATED = f"self.method in {list(CALIBRATED)}"


class CalibrationSource(NamedDataset):
    """Rows to calibrate with: a hub id, a file on a volume, or a key of a ConfigMap."""

    RULES: ClassVar = (
        one_of(
            "id",
            "persistentVolumeClaim",
            "configMap",
            message="a dataset needs exactly one source: id, persistentVolumeClaim or configMap",
        ),
        *NamedDataset.RULES,
    )


def _bits(*methods: str, allowed: tuple[int, ...]) -> Rule:
    """Rule on the bits of methods that share them."""
    return Rule(
        cel=f"!(self.method in {list(methods)}) || has(self.bits) && self.bits in {list(allowed)}",
        message=f"with method {' or '.join(methods)} set bits: {' or '.join(map(str, allowed))}",
        holds=lambda q: q.method not in methods or q.bits in allowed,
        field="bits",
    )


class ExportQuantization(Model):
    """Store the model with fewer bits per weight. What a method needs beside ms-swift has to be in the image."""

    WORD: ClassVar = "method"
    RULES: ClassVar = (
        _bits("awq", allowed=(4,)),
        _bits("gptq", "gptq_v2", allowed=(2, 3, 4, 8)),
        _bits("bnb", allowed=(4, 8)),
        Rule(
            cel="self.method != 'fp8' || !has(self.bits)",
            message="fp8 has always 8 bits: remove bits",
            holds=lambda q: q.method != "fp8" or q.bits is None,
            field="bits",
        ),
        Rule(
            cel=f"{_CALIBRATED} || !has(self.groupSize)",
            message="groupSize belongs to awq and gptq, the others choose it themselves: remove it",
            holds=lambda q: q.method in CALIBRATED or q.group_size is None,
            field="groupSize",
        ),
        Rule(
            cel="self.method != 'awq' || !has(self.groupSize) || self.groupSize > 0",
            message="awq has no group over a whole column: set groupSize to 32, 64 or 128",
            holds=lambda q: q.method != "awq" or (q.group_size or 128) > 0,
            field="groupSize",
        ),
        Rule(
            cel=f"!({_CALIBRATED}) || has(self.datasets) && size(self.datasets) > 0",
            message="awq and gptq calibrate with data: name datasets, best some of what the model was trained on",
            holds=lambda q: q.method not in CALIBRATED or bool(q.datasets),
            field="datasets",
        ),
        Rule(
            cel=f"{_CALIBRATED} || !(has(self.datasets) && size(self.datasets) > 0) && !has(self.samples)"
            " && !has(self.maxLength) && !has(self.batchSize)",
            message="bnb and fp8 look at no data: remove datasets, samples, maxLength and batchSize",
            holds=lambda q: (
                q.method in CALIBRATED or (q.datasets, q.samples, q.max_length, q.batch_size) == ((), None, None, None)
            ),
        ),
        Rule(
            cel="self.method == 'bnb' && has(self.bits) && self.bits == 4"
            " || !has(self.computeType) && !has(self.quantType) && !has(self.doubleQuant)",
            message="computeType, quantType and doubleQuant belong to method bnb with 4 bits: remove them",
            holds=lambda q: (
                (q.method, q.bits) == ("bnb", 4) or (q.compute_type, q.quant_type, q.double_quant) == (None, None, None)
            ),
        ),
    )

    method: Annotated[Literal["awq", "gptq", "gptq_v2", "bnb", "fp8"], Flag("quant_method")] = Field(
        description="awq (4 bits), gptq and gptq_v2 (2, 3, 4 or 8 bits) choose the numbers by what the model does with "
        "datasets; bnb (bitsandbytes, 4 or 8 bits) and fp8 (8 bits in blocks of 128 by 128) need none. All but bnb "
        "need a GPU."
    )
    bits: Annotated[Literal[2, 3, 4, 8] | None, Flag("quant_bits")] = Field(
        default=None, description="Bits per weight. Needed for every method but fp8."
    )
    group_size: Annotated[Literal[-1, 32, 64, 128] | None, Flag("group_size")] = Field(
        default=None,
        description="Weights that share a scale, of awq and gptq: 32, 64, 128 (ms-swift's default), or -1 (gptq: a "
        "whole column).",
    )
    datasets: Annotated[tuple[CalibrationSource, ...], Owns("dataset")] = Field(
        default=(), max_length=16, description="Rows to calibrate with, of awq and gptq."
    )
    samples: Annotated[int | None, Flag("quant_n_samples")] = Field(
        default=None, ge=1, le=100_000, description="Rows that are drawn of datasets. ms-swift's default: 256."
    )
    max_length: Annotated[int | None, Owns("max_length")] = Field(
        default=None,
        ge=128,
        le=131_072,
        description="Tokens of a block that the rows are cut into. Absent: 2048, since from 3.12 on ms-swift would "
        "take the model's whole context.",
    )
    batch_size: Annotated[int | None, Flag("quant_batch_size")] = Field(
        default=None, ge=1, le=1024, description="Blocks at a time. ms-swift's default: 1."
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

    @property
    def words(self) -> str:
        """As in a status: awq-int4, fp8."""
        return self.method if self.bits is None else f"{self.method}-int{self.bits}"
