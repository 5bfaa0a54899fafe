"""APPROXIMATE: the products with the frozen weights in 8 bits (e4m3), with a scale for each row of both factors.

Forward that is x and W, backward dy and W^T; adapters, attention, norms and loss stay as they are. Every weight keeps
its 16 bits and gets two copies of 8. Losses differ: this is used only where a run asks for it.
"""

from __future__ import annotations

import torch
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor, nn

from . import guard, hardware
from .functions import Frozen

Rows = tuple[Tensor, Tensor]  # what guard.to_eight_bits gives


class EightBit:
    """Products in 8 bits, as functions.Products."""

    tolerance = 0.1

    def __init__(self) -> None:
        """Copies are made when a layer is first used."""
        self._copies: dict[int, tuple[Tensor, Rows, Rows]] = {}
        self._last: tuple[Tensor, Rows] | None = None

    def forward(self, x: Tensor, layer: Frozen, narrow: Tensor, b: Tensor) -> Tensor:
        """x W^T + bias + narrow b; siblings share the 8 bits of their x."""
        if self._last is None or self._last[0] is not x:
            self._last = x, guard.to_eight_bits(x)
        return multiply(self._last[1], self._of(layer)[0], layer.bias).addmm_(narrow, b)

    def backward(self, dy: Tensor, layer: Frozen, into: Tensor | None) -> Tensor:
        """into + dy W."""
        found = multiply(guard.to_eight_bits(dy), self._of(layer)[1], None)
        return found if into is None else into.add_(found)

    def _of(self, layer: Frozen) -> tuple[Rows, Rows]:
        """The weight by its rows, and by its columns."""
        weight = layer.weight
        if id(weight) not in self._copies:  # the tensor is kept, so its id stays its own
            self._copies[id(weight)] = (
                weight,
                guard.to_eight_bits(weight),
                guard.to_eight_bits(weight.t().contiguous()),
            )
        return self._copies[id(weight)][1:]


def products(model: nn.Module) -> EightBit | str:
    """These products, or the word for why they cannot be made of this model."""
    types = {m.get_base_layer().weight.dtype for m in model.modules() if isinstance(m, LoraLayer)}
    why = [hardware.why_no_eight_bits(dtype) for dtype in types]
    return next((each for each in why if each), None) or EightBit()


def multiply(x: Rows, weight: Rows, bias: Tensor | None) -> Tensor:
    """x W^T + bias in bfloat16, of what ``to_eight_bits`` gave: (T, M) of x (T, K) and weight (M, K)."""
    found: Tensor = torch._scaled_mm(
        x[0], weight[0].t(), x[1], weight[1].t(), bias=bias, out_dtype=torch.bfloat16, use_fast_accum=True
    )
    return found
