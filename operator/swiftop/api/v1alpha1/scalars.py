"""Checked scalar types.

Every text, list and map that a CEL rule may read has an upper bound: the API server estimates the cost of a rule from
the largest object that the schema admits, and refuses a CRD whose rules could become too expensive.
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from swiftop.api.v1alpha1.rules import Rule, matching
from swiftop.names import MAX_NAME

NUMBER = r"^[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$"


def _number(low: str, high: str = "", *, text: str) -> Rule:
    """Rule for a number that is written as a string; ``low`` and ``high`` are comparisons such as ``> 0.0``."""
    bounds = [b for b in (low, high) if b]
    number = matching(NUMBER, text)
    return Rule(
        cel=" && ".join([number.cel, *(f"double(self) {b}" for b in bounds)]),
        message=text,
        holds=lambda value: (
            number.holds(value) and math.isfinite(float(value)) and all(_compare(float(value), b) for b in bounds)
        ),
    )


def _compare(value: float, bound: str) -> bool:
    operator, limit = bound.split()
    number = float(limit)
    return {">": value > number, ">=": value >= number, "<": value < number, "<=": value <= number}[operator]


_QUOTED = "written in quotes because YAML tools round floats"
PositiveNumber = Annotated[
    str,
    Field(max_length=32),
    _number("> 0.0", text=f'must be a number above 0, {_QUOTED}, for example "1e-4"'),
]
NonNegativeNumber = Annotated[
    str,
    Field(max_length=32),
    _number(">= 0.0", text=f'must be a number of at least 0, {_QUOTED}, for example "0.1"'),
]
Ratio = Annotated[
    str,
    Field(max_length=32),
    _number(">= 0.0", "< 1.0", text=f'must be a number of at least 0 and below 1, {_QUOTED}, for example "0.05"'),
]
Share = Annotated[
    str,
    Field(max_length=32),
    _number("> 0.0", "< 1.0", text=f'must be a number above 0 and below 1, {_QUOTED}, for example "0.01"'),
]

# Narrower than Kubernetes' own: 64 would be 64 bytes, which nobody means; and without CEL's quantity(), since
# 1e9999999999 keeps the API server busy for minutes.
_SIZE = r"^(0|[0-9]{7,}|[0-9]+(\.[0-9]+)?(k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei|[eE][0-9]{1,2}))$"
# Cores are counted in whole ones or in thousandths; the alternatives have a digit other than 0 in one place each.
CORES = r"^([1-9][0-9]*m|[0-9]*[1-9][0-9]*(\.[0-9]{1,3})?|[0-9]+\.(0{0,2}[1-9]|0?[1-9][0-9]|[1-9][0-9]{2}))$"


Size = Annotated[
    str,
    Field(max_length=32),
    matching(_SIZE, "must be a size with its unit, for example 50Gi"),
    Rule(
        cel="self.matches('^[0-9.]*[1-9]')",
        message="must be a size above 0, for example 50Gi",
        holds=lambda value: bool(re.match("[0-9.]*[1-9]", value)),
    ),
]


def _int_or_text(pattern: str, **limits: int) -> Any:
    """A number that is written as it is when it is whole, and in quotes otherwise.

    CEL sees such a union as an unbounded value, whose cost the API server refuses: the pattern has to ask for a digit
    other than 0, as the minimum does of an integer.
    """
    extra: dict[str, Any] = {"x-kubernetes-int-or-string": True, "minimum": 1, **limits}
    return Field(max_length=32, pattern=pattern, json_schema_extra=extra)


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_FRACTION = r"0\.[0-9]{0,15}[1-9][0-9]{0,15}"
Cpu = Annotated[str, _int_or_text(CORES), BeforeValidator(_as_text)]
Epochs = Annotated[
    str,
    _int_or_text(rf"^([1-9][0-9]{{0,3}}(\.[0-9]{{1,15}})?|10000|{_FRACTION})$", maximum=10_000),
    BeforeValidator(_as_text),
]
StepsOrShare = Annotated[
    str,
    _int_or_text(rf"^([1-9][0-9]{{0,8}}|1000000000|{_FRACTION})$", maximum=1_000_000_000),
    BeforeValidator(_as_text),
]

_PARENT = re.compile(r"(^|/)[.][.](/|$)")
RelativePath = Annotated[
    str,
    Field(max_length=256),
    matching(r"^[^#\x00-\x1f]*$", "must not contain '#', which asks ms-swift for a sample: rename the file"),
    Rule(
        cel="!self.startsWith('/') && !self.matches('(^|/)[.][.](/|$)')",
        message="must be relative to the root of the volume and must not contain '..', as chats/train.jsonl",
        holds=lambda value: not value.startswith("/") and not _PARENT.search(value),
    ),
]

_PART = "[A-Za-z0-9_][A-Za-z0-9._-]*"
_HUB_ID = rf"^{_PART}(/{_PART})?$"
HubId = Annotated[
    str,
    Field(min_length=1, max_length=200),
    matching(
        _HUB_ID,
        "must be a hub id such as Qwen/Qwen2.5-7B-Instruct, without HF:: or MS:: (use hub); for a file or folder use "
        "persistentVolumeClaim",
    ),
]
DatasetId = Annotated[
    str,
    Field(min_length=1, max_length=200),
    matching(
        _HUB_ID,
        "must be a hub id such as AI-ModelScope/alpaca-gpt4-data-zh: for #500 use sample: 500, for :name use "
        "subsets: [name], for HF:: or MS:: use hub, for a file or folder use persistentVolumeClaim",
    ),
]

# Behind the colon a folder of the repository: one may hold several models.
ModelId = Annotated[
    str,
    Field(min_length=1, max_length=256),
    matching(
        rf"^{_PART}(/{_PART})?(:{_PART}(/{_PART})*)?$",
        "must be a hub id such as Qwen/Qwen2.5-7B-Instruct, without HF:: or MS:: (use hub), with a folder of it as "
        "me/models:checkpoint-100; for a folder on a volume use persistentVolumeClaim",
    ),
]

DnsSubdomain = Annotated[
    str,
    Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
]
# Of an object of ours that another one refers to: the rule of its own name, in the form of a pattern.
ObjectName = Annotated[str, Field(min_length=1, max_length=MAX_NAME, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")]
# Neither "." nor anything that begins with "..", as Kubernetes has it: a key becomes a file's name.
DataKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$")]
Word = Annotated[str, Field(min_length=1, max_length=128)]
