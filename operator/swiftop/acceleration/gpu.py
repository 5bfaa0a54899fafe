"""What is known of this process' GPU."""

from __future__ import annotations

import torch

from .hardware import AMPERE
from .memory import GIB
from .report import local_rank, world_size


def unsuited() -> str:
    """Why nothing can be made faster here, in a word; empty: it can."""
    if not torch.cuda.is_available() or torch.version.cuda is None:
        return "NotOnCuda"
    return "" if torch.cuda.get_device_capability(local_rank()) >= AMPERE else "OlderThanAmpere"


def total_gib() -> float:
    """All memory of the GPU."""
    return float(torch.cuda.get_device_properties(local_rank()).total_memory) / GIB


def free_gib() -> float:
    """What a training may take.

    Of one process what others have left; of several all, since they have to choose alike and only this is the same.
    """
    return total_gib() if world_size() > 1 else float(torch.cuda.mem_get_info(local_rank())[0]) / GIB
