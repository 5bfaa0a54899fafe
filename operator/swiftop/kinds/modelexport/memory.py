"""Memory that an export asks for when the spec does not say: by the size of the model, as far as its name tells it.

Measured with ms-swift 4.6 on the CPU: a merge peaks at 0.9 GiB and the weights in the type that they are loaded in,
with the file of the base mapped beside. A forward pass for the verification holds a model in float32.
"""

from __future__ import annotations

import math
import re

_PARAMETERS = re.compile(r"(?<![A-Za-z0-9.])([0-9]{1,4}(?:\.[0-9]{1,3})?)\s?([bBmM])(?![A-Za-z0-9])")
_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "": 2}
_FIXED_GIB = 3
_FORWARD_GIB = 8  # of weights in their own type: larger ones are verified tensor by tensor
_UNKNOWN_GIB = 16


def memory_gib(model: str, *, dtype: str, verified: bool) -> int:
    """GiB of memory for a model of this name; the weights are loaded as ``dtype``."""
    billions = parameters(model)
    if billions is None:
        return _UNKNOWN_GIB
    weights = billions * 1e9 * _BYTES[dtype] / 2**30
    in_float32 = billions * 1e9 * 4 / 2**30
    forward = in_float32 if verified and weights <= _FORWARD_GIB else 0.0
    return _FIXED_GIB + math.ceil(max(2 * weights, 1.25 * forward))


def parameters(model: str) -> float | None:
    """Billions of parameters that a model's name tells: 7 of Qwen2.5-7B-Instruct; None when it tells none."""
    found = _PARAMETERS.findall(model.rpartition("/")[2].replace("-", " ").replace("_", " "))
    if not found:
        return None
    number, unit = found[0]
    return float(number) / (1000 if unit in "mM" else 1)
