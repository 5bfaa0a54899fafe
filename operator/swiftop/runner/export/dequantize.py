"""Quantized weights against those that they were made of: by how much their number format may change one.

fp8 (transformers' FineGrainedFP8): E4M3 numbers and a factor for each block. bnb (bitsandbytes): 4 bits are an index
into 16 numbers and a factor for each run of weights, itself quantized with double quantization; 8 bits are whole
numbers and a factor for each row. awq and gptq: whole numbers packed into 32 bits, of which the sizes are checked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .tensors import Differs, Reader
from .weights import Tensor

_E4M3_RELATIVE, _E4M3_LEAST = 2.0**-4, 2.0**-10  # half the distance of neighbours, of normal and of small numbers
_ROUNDED = 0.02  # of a weight: factors are calculated in the 16 bits of the weights, and rounded more than once
_ROWS = 1 << 20  # weights looked at at once


def check_fp8(name: str, artifact: Reader, wanted: Any) -> None:
    """Raises ``Differs`` when a weight is not that of the model up to the rounding of E4M3."""
    factors_name = f"{name}_scale_inv"
    if factors_name not in artifact.tensors:
        raise Differs(f"tensor {factors_name} is missing")
    value, factors = artifact.get(name), artifact.get(factors_name).float()
    if value.shape != wanted.shape:
        raise Differs(f"tensor {name} has the shape {list(value.shape)}, it was {list(wanted.shape)}")
    flat, original = value.reshape(-1, *value.shape[-2:]), wanted.reshape(-1, *wanted.shape[-2:])
    for one, other, factor in zip(flat, original, factors.reshape(-1, *factors.shape[-2:])):
        height, width = (math.ceil(size / count) for size, count in zip(one.shape, factor.shape))
        for row in range(factor.shape[0]):
            part = slice(row * height, (row + 1) * height)
            scale = factor[row].repeat_interleave(width)[: one.shape[1]]
            found, exact = one[part].float() * scale, other[part].float()
            allowed = exact.abs() * (_E4M3_RELATIVE + _ROUNDED) + scale * _E4M3_LEAST
            _within(name, found, exact, allowed)


def check_bnb(name: str, artifact: Reader, wanted: Any) -> None:
    """Raises ``Differs`` when a weight is not that of the model up to the rounding of its format."""
    module = name.removesuffix(".weight")
    if f"{module}.SCB" in artifact.tensors:
        return _check_int8(name, artifact, wanted, artifact.get(f"{module}.SCB"))
    state = [other for other in artifact.tensors if other.startswith(f"{name}.quant_state.bitsandbytes__")]
    if len(state) != 1:
        raise Differs(f"tensor {name} is {artifact.tensors[name].dtype} without what bitsandbytes needs to read it")
    return _check_4bit(name, artifact, wanted, json.loads(bytes(artifact.get(state[0]).tolist())))


def _check_int8(name: str, artifact: Reader, wanted: Any, largest: Any) -> None:
    value = artifact.get(name)
    if value.shape != wanted.shape:
        raise Differs(f"tensor {name} has the shape {list(value.shape)}, it was {list(wanted.shape)}")
    step = (largest.float() / 127).unsqueeze(-1)
    rows = max(1, _ROWS // value.shape[-1])
    for start in range(0, len(value), rows):
        part = slice(start, start + rows)
        exact = wanted[part].float()
        # ms-swift loads in 16 bits, and bitsandbytes calculates in float16.
        _within(name, value[part].float() * step[part], exact, step[part] * 0.51 + exact.abs() * 2.0**-7)


def _check_4bit(name: str, artifact: Reader, wanted: Any, state: Mapping[str, Any]) -> None:
    if list(wanted.shape) != list(state["shape"]):
        raise Differs(f"tensor {name} has the shape {state['shape']}, it was {list(wanted.shape)}")
    packed = artifact.get(name).reshape(-1).view(torch.uint8)
    code = artifact.get(f"{name}.quant_map").float()
    largest = artifact.get(f"{name}.absmax")
    doubt = 0.0  # of a factor that is quantized itself
    if f"{name}.nested_absmax" in artifact.tensors:
        nested, size = artifact.get(f"{name}.nested_absmax").float(), int(state["nested_blocksize"])
        table = artifact.get(f"{name}.nested_quant_map").float()
        factors = table[largest.long()] * nested.repeat_interleave(size)[: len(largest)]
        doubt = float(nested.max()) * float((table[1:] - table[:-1]).max())
        largest = factors + float(state["nested_offset"])
    largest = largest.float()
    exact, run = wanted.reshape(-1).float(), int(state["blocksize"])
    gap = float((code.sort().values.diff()).max()) / 2
    for start in range(0, len(exact), _ROWS):  # a whole number of bytes and of runs
        part = packed[start // 2 : (start + _ROWS) // 2]
        found = code[torch.stack((part >> 4, part & 15), dim=1).reshape(-1).long()]
        scale = largest[start // run : (start + _ROWS) // run].repeat_interleave(run)[: len(found)]
        original = exact[start : start + _ROWS]
        found, scale = found[: len(original)] * scale[: len(original)], scale[: len(original)]
        _within(name, found, original, (scale.abs() + doubt) * gap + doubt + original.abs() * 2.0**-7)


def check_packed(name: str, shape: Sequence[int], found: Mapping[str, Tensor], *, bits: int, group: int) -> None:
    """Raises ``Differs`` when packed weights, factors and zeros are not as many as a weight of ``shape`` has."""
    module = name.removesuffix(".qweight")
    rows, columns = shape[0], math.prod(shape[1:])
    groups = 1 if group < 0 else math.ceil(columns / group)
    wanted = {name: rows * columns * bits, f"{module}.scales": rows * groups, f"{module}.qzeros": rows * groups * bits}
    for part, count in wanted.items():
        if part not in found:
            raise Differs(f"tensor {part} is missing")
        size = found[part].elements if part.endswith(".scales") else found[part].bytes * 8
        if size != count:
            raise Differs(
                f"tensor {part} of the shape {list(found[part].shape)} does not fit a weight of {list(shape)}"
            )


def _within(name: str, found: Any, exact: Any, allowed: Any) -> None:
    error = (found - exact).abs()
    if not bool((error <= allowed).all()):  # also when one is NaN
        raise Differs(
            f"tensor {name} is not that of the verified model: {int((~(error <= allowed)).sum())} of {exact.numel()} "
            f"values differ by more than rounding to fewer bits, by {float(error.max()):.3g} at most"
        )
