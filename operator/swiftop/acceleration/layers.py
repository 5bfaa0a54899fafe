"""Fused forwards in place of peft's, each kind of them compared with peft's before it is used.

They act in training mode only: evaluation, generation, saving and merging run peft's own code, as does every input that
does not suit (another type, another GPU, an adapter that is off, torch.compile).
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from peft.tuners.lora.layer import LoraLayer
from torch import Tensor, nn

from . import checks, eightbit, guard, hardware, masks
from .functions import Call, Exact, Frozen, Linears, Mlp, Products
from .suited import Adapted, adapted, why_not_together

MLP = ("gate_proj", "up_proj", "down_proj")
# Names of layers that a module calls with one input, by the part that they are reported as; the whole MLP comes first.
SIBLINGS = (("mlp", MLP), ("linears", MLP[:2]), ("linears", ("q_proj", "k_proj", "v_proj")))
log = logging.getLogger("swiftop.acceleration")


@dataclass(frozen=True)
class Fused:
    """Of ``total`` layers with adapters ``fused`` are fused; parts that are active, and why others are not."""

    fused: int
    total: int
    parts: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)


class Group:
    """Layers that are one function of one input: siblings, one alone (whole False), or an MLP (whole True)."""

    def __init__(self, layers: Sequence[Adapted], products: Products, *, whole: bool) -> None:
        """Nothing is replaced yet."""
        self.layers, self.products, self.whole = tuple(layers), products, whole
        self.function = Mlp if whole else Linears
        self.masked = layers[0].probability > 0
        self.on = True
        self.ready: dict[int, tuple[Tensor, Tensor]] = {}

    def suits(self, x: Tensor) -> bool:
        """Whether this input is one that the function is for, now."""
        first = self.layers[0]
        return (
            self.on and first.module.training and x.dtype is first.base.weight.dtype and x.numel() > 0
            and hardware.on_gpu(x) and hardware.as_measured(x.dtype) and all(layer.active for layer in self.layers)
        )  # fmt: skip

    def __call__(self, x: Tensor) -> Any:
        """The output of an MLP, or those of the layers; x is (..., K)."""
        call = Call(
            layers=tuple(Frozen(layer.base.weight, layer.base.bias) for layer in self.layers),
            scale=self.layers[0].scale,
            dropout=masks.drawn(self.layers[0].probability, masked=self.masked),
            products=self.products,
        )
        return self.function.apply(x, call, *(matrix for layer in self.layers for matrix in layer.matrices))


class Forward:
    """The forward of one module of a group.

    Siblings are called in turn with the same input: the first computes all, and the others hand out theirs.
    """

    def __init__(self, module: nn.Module, group: Group, index: int) -> None:
        """Remembers the forward that is in place."""
        self.module, self.group, self.index = module, group, index
        self.plain: Callable[..., Any] = module.forward
        self.own = "forward" in vars(module)  # liger gives an MLP one of its own

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Fused where the input suits."""
        source, y = self.group.ready.pop(self.index, (None, None))
        if source is x and source is not None:
            return y
        if self.index or args or kwargs or not self.group.suits(x):
            return self.plain(x, *args, **kwargs)
        found = self.group(x)
        if self.group.whole:
            return found
        self.group.ready = {i: (x, each) for i, each in enumerate(found) if i}
        return found[0]

    def install(self) -> None:
        """In place of the plain one."""
        self.module.forward = self

    def remove(self) -> None:
        """Put back what was there."""
        if self.own:
            self.module.forward = self.plain
        else:
            vars(self.module).pop("forward", None)


def fuse(model: nn.Module, *, approximate: bool = False) -> Fused:
    """Give MLPs, then siblings, then single layers of a model with adapters their fused forwards.

    ``approximate``: the frozen weights' products in 8 bits where the GPU can; where not, ``skipped`` tells and they are
    exact.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    why = hardware.why_no_kernels() or (None if layers else "NoAdapters")
    if why:
        return Fused(0, len(layers), skipped={"mlp": why, "linears": why} | ({"eightbit": why} if approximate else {}))
    if not approximate:
        return Fusing(model, Exact()).run()
    products = eightbit.products(model)
    why = products if isinstance(products, str) else None
    if not isinstance(products, str):
        fusing = Fusing(model, products)
        found = fusing.run()
        why = next((each for each in fusing.checked.values() if each), None)
        if found.fused and not why:
            return replace(found, parts=(*found.parts, "eightbit"))
        unfuse(model)
    exact = Fusing(model, Exact()).run()
    return replace(exact, skipped={**exact.skipped, "eightbit": why or next(iter(exact.skipped.values()), "NoLayers")})


def unfuse(model: nn.Module) -> int:
    """Put every forward back that ``fuse`` has replaced; how many there were."""
    found = forwards(model)
    for forward in found:
        forward.remove()
    return len(found)


def failure() -> str:
    """CompileFailed once a kernel has failed: since then torch's operations take its place."""
    return "" if guard.failure() is None else "CompileFailed"


def forwards(model: nn.Module) -> list[Forward]:
    """All that are in place."""
    return [found for module in model.modules() if isinstance(found := vars(module).get("forward"), Forward)]


@contextlib.contextmanager
def plain(model: nn.Module) -> Iterator[None]:
    """The model as it would be without."""
    groups = {forward.group for forward in forwards(model)}
    for group in groups:
        group.on = False
    try:
        yield
    finally:
        for group in groups:
            group.on = True


class Fusing:
    """One pass over a model."""

    def __init__(self, model: nn.Module, products: Products) -> None:
        """Looks at every layer with adapters once."""
        self.model, self.products = model, products
        self.layers = {module: adapted(module) for module in model.modules() if isinstance(module, LoraLayer)}
        self.taken: set[Any] = set()
        self.checked: dict[tuple[Any, ...], str | None] = {}
        self.parts: Counter[str] = Counter()
        self.why: dict[str, Counter[str]] = {"mlp": Counter(), "linears": Counter()}

    def run(self) -> Fused:
        """What is fused, and why the rest is not."""
        for part, names in SIBLINGS:
            for owner in list(self.model.modules()):
                modules = [getattr(owner, name, None) for name in names]
                if all(module in self.layers and module not in self.taken for module in modules):
                    self._group(part, owner, modules)
        for module in self.layers:
            if module not in self.taken:
                self._group("linears", module, [module])
        log.info("%d of %d layers with adapters are fused", len(self.taken), len(self.layers))
        for part, why in self.why.items():
            for word, count in why.items():
                log.info("%s: %d stay as they are, %s", part, count, word)
        skipped = {part: why.most_common(1)[0][0] for part, why in self.why.items() if why and not self.parts[part]}
        return Fused(len(self.taken), len(self.layers), tuple(sorted(self.parts)), skipped)

    def _group(self, part: str, owner: nn.Module, modules: Sequence[Any]) -> None:
        whole, alone = part == "mlp", len(modules) == 1
        found = [self.layers[module] for module in modules]
        suited = [each for each in found if isinstance(each, Adapted)]
        why: str | None = next((each for each in found if isinstance(each, str)), None)
        why = why or why_not_together(suited) or (_why_not_swiglu(owner) if whole else None)
        if why is None:
            group = Group(suited, self.products, whole=whole)
            owners = [owner] if whole else list(modules)
            candidates = [Forward(each, group, index) for index, each in enumerate(owners)]
            why = self._why_wrong(owner, group, candidates)
            if why is None:
                self.taken.update(modules)
                self.parts[part] += 1
                for candidate in candidates:
                    candidate.install()
        if why and (whole or alone):  # siblings have another try as single layers
            self.why[part][why] += 1

    def _why_wrong(self, owner: nn.Module, group: Group, candidates: Sequence[Forward]) -> str | None:
        """The verdict on the first of each kind: same classes, sizes, ranks and dropout have the same kernels."""
        shapes = [(tuple(layer.base.weight.shape), layer.base.bias is None) for layer in group.layers]
        ranks = [len(layer.matrices[0]) for layer in group.layers]
        kind = (type(owner), group.whole, group.masked, *shapes, *ranks, group.layers[0].base.weight.dtype)
        if kind not in self.checked:
            self.checked[kind] = checks.why_wrong(group, candidates)
        return self.checked[kind]


def _why_not_swiglu(owner: nn.Module) -> str | None:
    """A word for MLPs that name their activation; the check finds all others out."""
    activation = getattr(owner, "act_fn", None)
    name = getattr(activation, "__name__", type(activation).__name__)
    return None if activation is None or "silu" in name.lower() else "OtherActivation"
