"""One forward pass of an exported model against the base model with its adapters, on the CPU in float32."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

from . import folder
from .tensors import Differs

TOLERANCES = {"float16": 0.01, "bfloat16": 0.1, "float32": 1e-4}
_LENGTH = 16  # tokens: a processor without a fast BLAS computes a handful a second of a small model
_TEXT = (
    "The quick brown fox jumps. 今天的天气很好。 12 * 34 = 408; def add(a, b): return a + b\n"
    "Let me explain how a transformer works, step by step."
)


class CannotRun(Exception):
    """The reference itself does not run here: nothing is said of the artifact."""


@dataclass(frozen=True)
class Compared:
    """What two passes differ by."""

    largest: float
    mean: float
    tolerance: float
    agreement: float  # share of the places where both choose the same token
    effect: float  # what the adapters change, at most


def compare(artifact: Path, base: Path, adapters: Sequence[Path], dtype: str) -> Compared:
    """Both models one after the other, so that one at a time is in memory. Raises ``Differs`` above the tolerance."""
    try:
        inputs = _inputs(artifact)
        wanted, plain = _reference(base, adapters, inputs)
    except Exception as error:
        raise CannotRun(f"{type(error).__name__}: {_first_line(error)}") from error
    gc.collect()
    try:
        found = _logits(_load(artifact), inputs)
    except Exception as error:
        raise Differs(f"the exported model does not run: {type(error).__name__}: {_first_line(error)}") from error
    if found.shape != wanted.shape:
        shared = min(found.shape[-1], wanted.shape[-1])  # a vocabulary that was filled up
        found, wanted, plain = found[..., :shared], wanted[..., :shared], plain[..., :shared]
    return _judged(found, wanted, plain, dtype)


def _judged(found: Any, wanted: Any, plain: Any, dtype: str) -> Compared:
    difference = (found - wanted).abs()
    # The tolerances are for the small logits of random weights; rounding grows with them.
    tolerance = TOLERANCES[dtype] * max(1.0, 2 * float(wanted.abs().mean()))
    same = found.argmax(-1) == wanted.argmax(-1)
    compared = Compared(
        largest=float(difference.max()),
        mean=float(difference.mean()),
        tolerance=tolerance,
        agreement=float(same.float().mean()),
        effect=float((wanted - plain).abs().max()),
    )
    if not compared.largest <= tolerance:
        raise Differs(
            f"the forward pass differs from base plus adapter by {compared.largest:.3g} at most, more than "
            f"{tolerance:.3g} for {dtype}; both choose the same token in {compared.agreement:.0%} of the places"
        )
    best = wanted.topk(2, dim=-1).values if wanted.shape[-1] > 1 else None
    if best is not None and not bool(same[best[..., 0] - best[..., 1] > 2 * compared.largest].all()):
        raise Differs("the forward pass chooses other tokens than base plus adapter")
    return compared


def _inputs(artifact: Path) -> Any:
    if not folder.has_tokenizer(artifact):
        return torch.arange(1, 1 + _LENGTH).reshape(1, -1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(artifact, trust_remote_code=True)
    return tokenizer(_TEXT, return_tensors="pt", add_special_tokens=False)["input_ids"][:, :_LENGTH]


def _reference(base: Path, adapters: Sequence[Path], inputs: Any) -> tuple[Any, Any]:
    model = _load(base)
    plain = _logits(model, inputs)
    names = [f"adapter{number}" for number in range(len(adapters))]
    for name, path in zip(names, adapters):
        if isinstance(model, peft.PeftModel):
            model.load_adapter(path, adapter_name=name)
        else:
            model = peft.PeftModel.from_pretrained(model, path, adapter_name=name)
    if len(names) > 1:
        model.base_model.set_adapter(names)
    return _logits(model, inputs), plain


def _load(path: Path) -> Any:
    load = model_class(path).from_pretrained
    model, told = load(path, **_in_float32(), output_loading_info=True, trust_remote_code=True)
    if missing := sorted(told["missing_keys"]):
        raise ValueError(f"{len(missing)} weights are missing, the first is {missing[0]}")
    return model.eval()


def _in_float32() -> dict[str, Any]:
    new = tuple(int(part) for part in transformers.__version__.split(".")[:2]) >= (4, 56)
    return {"dtype" if new else "torch_dtype": torch.float32}


def model_class(path: Path) -> Any:
    """The class that config.json names, or the one that its own code brings."""
    named = (folder.read_json(path / folder.CONFIG).get("architectures") or [""])[0]
    return getattr(transformers, named or "none", transformers.AutoModelForCausalLM)


def names_of_weights(path: Path) -> frozenset[str]:
    """Every weight that the model has to have, without making one; those tied to another may be missing."""
    model = _empty(path)
    tied = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    tied -= {name for name, _ in model.named_parameters()}
    return frozenset(model.state_dict()) - tied


def shared_weights(path: Path) -> frozenset[str]:
    """Weights that the model has under several names, as embedding and head: each of these names."""
    names: dict[int, list[str]] = {}
    for name, value in _empty(path).named_parameters(remove_duplicate=False):
        names.setdefault(id(value), []).append(name)
    return frozenset(name for same in names.values() if len(same) > 1 for name in same)


def _empty(path: Path) -> Any:
    config = transformers.AutoConfig.from_pretrained(path, trust_remote_code=True)
    cls = model_class(path)
    with torch.device("meta"):
        return cls._from_config(config) if hasattr(cls, "_from_config") else cls.from_config(config)


def _logits(model: Any, inputs: Any) -> Any:
    with torch.inference_mode():
        answer = model(input_ids=inputs)
    found = answer["logits"] if "logits" in answer else answer[0]
    return found.float()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]
