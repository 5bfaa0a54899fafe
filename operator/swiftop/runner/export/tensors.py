"""Weights of an artifact compared with what they were made of, one tensor at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Protocol

import torch
from safetensors import safe_open

from . import folder, lora, weights
from .weights import Tensor

TORCH = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_BLOCK = 1 << 18  # elements looked at at once: what is calculated with them stays in the processor's cache
_MAPPED = 1 << 28  # bytes of files


class Differs(Exception):
    """A tensor is not what it should be."""


class Reader:
    """Tensors of a folder by name. Files are opened anew now and then: what was read of them no longer counts as this
    process' memory then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stem = folder.stem_of(path)
        self.tensors = weights.read_folder(path, self.stem)
        self._open: dict[str, Any] = {}
        self._mapped = 0

    def get(self, name: str) -> Any:
        """One tensor."""
        tensor = self.tensors[name]
        if self._mapped > _MAPPED:
            self.close()
        if tensor.file not in self._open:
            self._open[tensor.file] = safe_open(self.path / tensor.file, framework="pt")
        self._mapped += tensor.bytes
        return self._open[tensor.file].get_tensor(name)

    def close(self) -> None:
        """Let go of the files."""
        self._open.clear()
        self._mapped = 0


class Expected(Protocol):
    """What an artifact's tensors are compared with."""

    def check(self, name: str, value: Any) -> None:
        """Raise ``Differs`` when this tensor is wrong."""


def check_finite(name: str, value: Any) -> None:
    """Raise when a number of a plain float is NaN or infinite, as what float16 cannot hold."""
    if value.dtype not in TORCH.values():
        return
    flat = value.reshape(-1)
    for start in range(0, len(flat), _BLOCK):
        block = flat[start : start + _BLOCK].float()
        if not math.isfinite(float(block.sum())):  # one pass; all else is looked at only then
            nans, infinite = int(torch.isnan(block).sum()), int(torch.isinf(block).sum())
            if nans or infinite:
                hint = "" if nans else "; float16 ends at 65504: use bfloat16"
                raise Differs(f"tensor {name} has {nans} NaN and {infinite} infinite values, or more{hint}")


@dataclass
class Converted:
    """Every tensor is that of the checkpoint after a cast."""

    source: Reader
    compared: int = 0

    def check(self, name: str, value: Any) -> None:
        """Bit for bit."""
        if name not in self.source.tensors:
            raise Differs(f"tensor {name} is not in the checkpoint")
        _equal(name, value, self.source.get(name), "the checkpoint's")
        self.compared += 1


def _equal(name: str, value: Any, source: Any, whose: str) -> None:
    if value.shape != source.shape:
        raise Differs(f"tensor {name} has the shape {list(value.shape)}, {whose} is {list(source.shape)}")
    wanted = source if source.dtype == value.dtype else source.to(value.dtype)
    if not torch.equal(_bits(value), _bits(wanted)):
        value, wanted = value.float(), wanted.float()
        different = value != wanted
        raise Differs(
            f"tensor {name} is not {whose}: {int(different.sum())} of {value.numel()} values differ, by "
            f"{float((value - wanted).abs().max()):.3g} at most"
        )


def _bits(value: Any) -> Any:
    """Numbers of 8 bits, as quantized weights have, know no comparison."""
    return value.contiguous().reshape(-1).view(torch.uint8)


@dataclass(frozen=True)
class Change:
    """What one adapter does, by the names of the artifact's tensors."""

    reader: Reader
    changes: Mapping[str, lora.Change]
    replaced: Mapping[str, str]
    excluded: Mapping[str, str]

    @classmethod
    def of(cls, reader: Reader, adapter: lora.Adapter, names: Iterable[str]) -> Change:
        """An adapter as it applies to an artifact."""
        parts = (adapter.changes, adapter.replaced, adapter.excluded)
        placed = lora.place({name for part in parts for name in part}, names)
        changes, replaced, excluded = (
            {ours: part[theirs] for ours, theirs in placed.items() if theirs in part} for part in parts
        )
        return cls(reader, changes, replaced, excluded)  # type: ignore[arg-type]

    @property
    def names(self) -> set[str]:
        """Tensors that are no longer the base's."""
        return {*self.changes, *self.replaced, *self.excluded}


@dataclass
class Merged:
    """Every chosen tensor is that of the base plus what the adapters add, up to rounding."""

    base: Reader
    places: Mapping[str, str]  # name in the artifact: name in the base
    adapters: Sequence[Change]
    chosen: Optional[frozenset[str]] = None  # names in the artifact; None: all
    compared: int = 0
    left: Counter[str] = field(default_factory=Counter)  # why so many could not be compared
    applied: float = 0.0  # of what the adapters add, in these weights
    added: float = 0.0

    def check(self, name: str, value: Any) -> None:
        """Compare one tensor, if it was chosen and can be calculated."""
        if self.chosen is not None and name not in self.chosen:
            return
        reason = next((adapter.excluded[name] for adapter in self.adapters if name in adapter.excluded), None)
        start = self._start(name)
        if reason or start is None:
            self.left[reason or "no tensor of the base has this name"] += 1
            return
        changes = [(a.reader, a.changes[name]) for a in self.adapters if name in a.changes]
        if changes:
            self._check_sum(name, value, start.to(value.dtype), changes)
        elif value.shape != start.shape and value.shape[1:] == start.shape[1:]:  # a vocabulary that has grown
            rows = min(len(value), len(start))
            _equal(name, value[:rows], start[:rows], "the base's")
        else:
            _equal(name, value, start, "the base's")
        self.compared += 1

    def close(self) -> None:
        """Let go of all files."""
        for reader in (self.base, *(adapter.reader for adapter in self.adapters)):
            reader.close()

    def _start(self, name: str) -> Any:
        """What the changes are added to: an adapter's own copy of a module, or the base."""
        for adapter in reversed(self.adapters):
            if name in adapter.replaced:
                return adapter.reader.get(adapter.replaced[name])
        return self.base.get(self.places[name]) if name in self.places else None

    def _check_sum(self, name: str, value: Any, start: Any, changes: Sequence[tuple[Reader, lora.Change]]) -> None:
        if value.shape != start.shape:
            raise Differs(f"tensor {name} has the shape {list(value.shape)}, the base's is {list(start.shape)}")
        factors = [_factors(reader, change, start) for reader, change in changes]
        sizes = [(left.norm(dim=1), right.norm(dim=0)) for left, right in factors]
        rows = max(1, _BLOCK // max(1, start[0].numel()))
        applied = wanted = added = 0.0
        for first in range(0, len(start), rows):
            part = slice(first, first + rows)
            old = start[part].reshape(len(start[part]), -1).float()
            new = value[part].reshape(old.shape).float()
            delta = sum(left[part] @ right for left, right in factors)
            size = sum(torch.outer(left[part], right) for left, right in sizes)  # no value of the product is larger
            total = old + delta
            _within_rounding(name, new=new, old=old, total=total, size=size, dtype=value.dtype)
            applied += _product(new.sub_(old), delta)
            wanted += _product(total.to(value.dtype).float().sub_(old), delta)
            added += _product(delta, delta)
        if abs(applied - wanted) > 0.25 * added:
            raise Differs(f"tensor {name} has {applied / added:.0%} of the adapter's change, not {wanted / added:.0%}")
        self.applied += applied
        self.added += added


def _factors(reader: Reader, change: lora.Change, weight: Any) -> tuple[Any, Any]:
    """Two matrices whose product is what the adapter adds, the rows being those of the weight."""
    a, b = reader.get(change.a).float().flatten(1), reader.get(change.b).float().flatten(1)
    scale = change.scale(a.shape[0])
    straight, turned = (b.shape[0], a.shape[1]), (a.shape[1], b.shape[0])
    shape = (weight.shape[0], weight[0].numel())
    if shape == turned and (change.transposed or straight != turned):
        return a.T * scale, b.T
    if shape != straight:
        raise Differs(f"the adapter's change of {change.module} has the shape {straight}, the weight {shape}")
    return b * scale, a


def _product(one: Any, other: Any) -> float:
    return float(torch.dot(one.reshape(-1), other.reshape(-1)))


def _within_rounding(name: str, *, new: Any, old: Any, total: Any, size: Any, dtype: Any) -> None:
    """The sum, the change and its two factors may each have been rounded to the type of the weights."""
    rounding = torch.finfo(dtype).eps
    allowed = (
        total.abs().add_(old.abs()).add_(size, alpha=2).mul_(rounding).add_(4 * torch.finfo(dtype).tiny * rounding)
    )
    error = (new - total).abs_()
    if float((error - allowed).max()) > 0:  # many times faster than to ask each
        raise Differs(
            f"tensor {name} is not base plus adapter: {int((error > allowed).sum())} of {new.numel()} values differ by "
            f"more than rounding, by {float(error.max()):.3g} at most"
        )


def each(reader: Reader) -> Iterator[tuple[Tensor, Any]]:
    """Every tensor of an artifact."""
    for name, tensor in reader.tensors.items():
        yield tensor, reader.get(name)
