"""What an adapter says that it changes: which module, by what scale, and which tensors it replaces."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Optional

_PREFIX = "base_model.model."
_PAIR = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.weight)?")
_MAGNITUDE = re.compile(r"(?P<module>.+)\.lora_magnitude_vector(\.weight)?")
_OTHER = re.compile(r"\.(lora_|trainable_tokens_|token_adapter\.|oft_|vera_|hada_|lokr_|boft_|ia3_|ln_tuning_)")
# All others begin with weights of the base that they change themselves, as PiSSA does.
_PLAIN_STARTS = (True, False, None, "true", "false", "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class Change:
    """What is added to one weight: ``scale * B @ A``; of an embedding its transpose."""

    module: str
    a: str  # tensors of the adapter
    b: str
    alpha: float
    rank_stabilized: bool = False
    transposed: bool = False

    def scale(self, rank: int) -> float:
        """The factor, by the real rank of the two matrices."""
        return self.alpha / (math.sqrt(rank) if self.rank_stabilized else rank)


@dataclass(frozen=True)
class Adapter:
    """How each weight of the base becomes that of the merged model; unnamed ones stay."""

    changes: Mapping[str, Change]  # by the name of the weight
    replaced: Mapping[str, str]  # name of the tensor: that of the adapter which takes its place
    excluded: Mapping[str, str]  # name of the weight: why it cannot be calculated


def read(config: Mapping[str, Any], names: Iterable[str]) -> Adapter:
    """An adapter of its adapter_config.json and the names of its tensors."""
    sides: dict[str, dict[str, str]] = {}
    replaced: dict[str, str] = {}
    excluded: dict[str, str] = {}
    reason = _why_not(config)
    for name in names:
        inner = name.removeprefix(_PREFIX)
        pair, magnitude = _PAIR.fullmatch(inner), _MAGNITUDE.fullmatch(inner)
        if pair:
            sides.setdefault(pair["module"], {})[f"{pair['embedding'] or ''}{pair['side']}"] = name
        elif magnitude:
            excluded[f"{magnitude['module']}.weight"] = "DoRA"
        elif _OTHER.search(f".{inner}"):
            excluded[_weight_before_tuner(inner)] = f"{config.get('peft_type', 'unknown')} tuner"
        else:
            replaced[_base_name(inner)] = name
    changes = {f"{_inner_module(module)}.weight": _change(config, module, pair) for module, pair in sides.items()}
    if reason:
        excluded.update(dict.fromkeys(changes, reason))
    return Adapter(
        {name: change for name, change in changes.items() if change is not None and name not in excluded},
        replaced,
        {**{name: "half of the pair is missing" for name, change in changes.items() if change is None}, **excluded},
    )


def _why_not(config: Mapping[str, Any]) -> str:
    kind = str(config.get("peft_type", "LORA"))
    if kind != "LORA":
        return f"{kind} tuner"
    start = config.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        return f"initialized by {start}, which changes the base"
    return "DoRA" if config.get("use_dora") else ""


def _change(config: Mapping[str, Any], module: str, pair: Mapping[str, str]) -> Optional[Change]:
    embedding = "embedding_" if "embedding_A" in pair else ""
    a, b = pair.get(f"{embedding}A"), pair.get(f"{embedding}B")
    if a is None or b is None:
        return None
    return Change(
        _inner_module(module),
        a,
        b,
        alpha=float(_by_pattern(config.get("alpha_pattern"), module, config.get("lora_alpha", 8))),
        rank_stabilized=bool(config.get("use_rslora")),
        transposed=bool(embedding) or bool(config.get("fan_in_fan_out")),
    )


def _by_pattern(patterns: Optional[Mapping[str, Any]], module: str, otherwise: Any) -> Any:
    """A value for one module, chosen as PEFT does: the pattern is the end of the name."""
    for pattern, value in (patterns or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            return value
    return otherwise


def _base_name(inner: str) -> str:
    """The tensor of the base that a saved one stands for."""
    return re.sub(r"\.(base_layer|modules_to_save(\.\w+)?|original_module)\.", ".", inner)


def _inner_module(module: str) -> str:
    return module.replace(".base_layer", "")


def _weight_before_tuner(inner: str) -> str:
    found = _OTHER.search(inner)
    return f"{inner[: found.start()]}.weight" if found else inner


def place(wanted: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """Which of ``names`` each wanted one is: the same, or the only free one that ends alike, because libraries move
    models below another prefix. The keys are of ``names``; what is not found or not clear is left out.
    """
    names, wanted = set(names), set(wanted)
    placed = {name: name for name in names & wanted}
    tails: dict[str, list[str]] = {}
    for name in names - wanted:
        for tail in _tails(name):
            tails.setdefault(tail, []).append(name)
    for name in sorted(wanted - names):
        found = next((tails[tail] for tail in _tails(name) if tail in tails), [])
        if len(found) == 1 and found[0] not in placed:
            placed[found[0]] = name
    return placed


def _tails(name: str) -> list[str]:
    """Ends of a name, the longest first; three parts at least, since each block has a norm and a projection."""
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(max(1, len(parts) - 2))]
