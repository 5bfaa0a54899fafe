"""Gradients that are no numbers, where DeepSpeed takes them from the parameters as soon as they come.

Whether ZeRO itself leaves such a step out hangs on its release and settings (``check_grad_overflow``); in float16 its
loss scaling does, and needs to see them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Gradients:
    """Watches those of a model's trained parameters; zero takes the place of one that is no number."""

    def __init__(self) -> None:
        """Nothing is watched yet."""
        self._hooks: list[Any] = []
        self._wrong: list[Tensor] = []

    def watch(self, model: Any) -> None:
        """From now on."""
        trained = (parameter for parameter in model.parameters() if parameter.requires_grad)
        self._hooks = [parameter.register_hook(self._checked) for parameter in trained]

    def stop(self) -> None:
        """No longer."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._wrong.clear()

    def wrong(self) -> bool:
        """Whether one has come since this was last asked. Waits for the GPU."""
        found = bool(self._wrong and torch.stack(self._wrong).any())
        self._wrong.clear()
        return found

    def _checked(self, gradient: Tensor) -> Tensor:
        finite = torch.isfinite(gradient).all()
        self._wrong.append(~finite)
        return torch.where(finite, gradient, torch.zeros_like(gradient))
