"""What the processes of one training decide together.

Layers are fused in all processes or in none. ZeRO 1 and 2 lay gradients side by side in the order in which they come,
and add up what lies at the same place in each process (DeepSpeed's ``runtime/zero/stage_1_and_2.py``); those of a fused
layer come in another order than those of a plain one, and would be added to the gradients of other parameters. And a
forward pass that one process alone repeats waits for the others for ever where they have buffers to exchange.
"""

from __future__ import annotations

import importlib
from typing import Any, TypeVar

from .report import world_size

T = TypeVar("T")


def several() -> bool:
    """Whether there are other processes, and they can be asked by now."""
    if world_size() == 1:
        return False
    distributed = _distributed()
    return bool(distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1)


def of_all(value: T) -> list[T]:
    """The value of every process, the same list in each; all have to ask. Objects that can be pickled."""
    if not several():
        return [value]
    found = [value] * _distributed().get_world_size()
    _distributed().all_gather_object(found, value)
    return found


def most(number: int, device: Any) -> int:
    """The largest number of any process; all have to ask. ``device``: on which they can exchange it."""
    if not several():
        return number
    found = importlib.import_module("torch").tensor(number, device=device)
    _distributed().all_reduce(found, op=_distributed().ReduceOp.MAX)
    return int(found.item())


def _distributed() -> Any:
    return importlib.import_module("torch.distributed")
