"""What is asked of the machine, and the only place that asks: tests that have no GPU answer here."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable

import torch
from torch import Tensor

AMPERE, ADA = (8, 0), (8, 9)  # compute capabilities
COMPILERS = ("gcc", "clang")  # that Triton looks for, in CC's absence
_compiling: Callable[[], bool] = getattr(getattr(torch, "compiler", None), "is_compiling", lambda: False)


def on_gpu(tensor: Tensor) -> bool:
    """Whether this is on the GPU that kernels are launched on."""
    return bool(tensor.is_cuda and tensor.get_device() == torch.cuda.current_device())


def as_measured(dtype: torch.dtype) -> bool:
    """Whether plain layers would work in this type too: no autocast to another one, and no torch.compile at work."""
    if torch.is_autocast_enabled() and torch.get_autocast_gpu_dtype() is not dtype:
        return False
    return not _compiling()


def why_no_kernels() -> str | None:
    """The word for what keeps Triton's kernels from running here."""
    if not torch.cuda.is_available() or torch.version.hip is not None:
        return "NotOnCuda"
    if torch.cuda.get_device_capability() < AMPERE:
        return "OlderThanAmpere"
    if importlib.util.find_spec("triton") is None:
        return "NoTriton"
    if not os.environ.get("CC") and not any(map(shutil.which, COMPILERS)):
        return "NoCompiler"
    return None


def why_no_eight_bits(dtype: torch.dtype) -> str | None:
    """The word for what keeps products of a model of this type from being made in 8 bits."""
    if not torch.cuda.is_available():
        return "NotOnCuda"
    if torch.cuda.get_device_capability() < ADA:
        return "OlderThanAda"
    if not hasattr(torch, "float8_e4m3fn") or not hasattr(torch, "_scaled_mm"):
        return "OlderTorch"
    return None if dtype is torch.bfloat16 else "NotBfloat16"
