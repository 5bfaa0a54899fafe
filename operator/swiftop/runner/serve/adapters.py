"""The declared adapters as they lie in the pod, and what ms-swift has to be told of them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from ..protocol import ServedAdapter
from .declared import RANKS, rank_limit

CONFIG = "adapter_config.json"
_ARGUMENTS = "args.json"  # of the training
_OF_THE_PROMPT = ("template", "system", "agent_template")
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
SWIFT_RANK, NATIVE_RANK = "--vllm_max_lora_rank", "--max-lora-rank"
_DEFAULT_LIMIT = 16  # vLLM's own, and ms-swift's
MISSING, RANK_TOO_HIGH = "Missing", "RankTooHigh"


LORA = ".lora_"
_LAYER = re.compile(r"\.(?:layers|h|blocks)\.(\d+)\.")


class Unfit(Exception):
    """An adapter that cannot be served; ``why`` is a word."""

    def __init__(self, name: str, message: str, why: str = MISSING) -> None:
        super().__init__(message)
        self.name = name
        self.why = why


def is_folder(path: str) -> bool:
    """A folder in the pod; what is none is the id of a hub."""
    return path.startswith("/")


def check(adapters: Sequence[ServedAdapter]) -> None:
    """The folders hold adapters; raises ``Unfit``."""
    for adapter in adapters:
        folder = Path(adapter.path)
        if not is_folder(adapter.path):
            continue
        if not folder.is_dir():
            raise Unfit(adapter.name, f"adapter {adapter.name}: the folder {folder} does not exist")
        _config(adapter)
        if not any((folder / name).is_file() for name in WEIGHTS):
            raise Unfit(adapter.name, f"adapter {adapter.name}: {folder} has no {WEIGHTS[0]}")


def check_ranks(adapters: Sequence[ServedAdapter]) -> None:
    """vLLM can serve them all; raises ``Unfit``. It would end at once, and name none."""
    for adapter in adapters:
        rank = max(_ranks(adapter), default=0)
        if rank > RANKS[-1]:
            text = f"adapter {adapter.name}: its rank is {rank}, and vLLM serves none above {RANKS[-1]}: merge it"
            raise Unfit(adapter.name, text, RANK_TOO_HIGH)


def check_limit(adapter: ServedAdapter, limit: int) -> None:
    """A server that runs can load it; raises ``Unfit``."""
    rank = max(_ranks(adapter), default=0)
    if rank > limit:
        text = f"adapter {adapter.name}: its rank is {rank}, and the engine was started for at most {limit}"
        advice = f"give it rank: {rank} in spec.adapters, which restarts the pods"
        raise Unfit(adapter.name, f"{text}: {advice}", RANK_TOO_HIGH)


def limit_of(words: Sequence[str], flag: str = NATIVE_RANK) -> int:
    """The largest rank that a server of this command can load."""
    given = _given(words, flag)
    return _DEFAULT_LIMIT if given is None else given


def prompt_of(folder: str, flags: Sequence[str]) -> dict[str, object]:
    """What ms-swift takes of an adapter's training for the prompts, where its command does not say it."""
    try:
        found = json.loads(Path(folder, _ARGUMENTS).read_bytes())
    except (OSError, ValueError):
        return {}
    taken = [name for name in _OF_THE_PROMPT if f"--{name}" not in flags]
    return {name: found.get(name) for name in taken} if isinstance(found, dict) else {}


def _config(adapter: ServedAdapter) -> dict[str, object]:
    path = Path(adapter.path, CONFIG)
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Unfit(adapter.name, f"adapter {adapter.name}: {path} cannot be read: {error}") from error
    return dict(found) if isinstance(found, dict) else {}


def _ranks(adapter: ServedAdapter) -> list[int]:
    found = [adapter.rank]
    if is_folder(adapter.path):
        try:
            config = _config(adapter)
        except Unfit:  # of one that was just downloaded: whoever loads it tells
            config = {}
        pattern = config.get("rank_pattern")
        found += [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else ())]  # type: ignore[list-item]
    return [rank for rank in found if isinstance(rank, int)]


def tensor_names(folder: str) -> set[str]:
    """Of the LoRA matrices in an adapter's file; none where they cannot be told."""
    try:
        with Path(folder, WEIGHTS[0]).open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    except (OSError, ValueError):
        return set()
    return {name for name in header if LORA in name}


def layers_beyond(folder: str, model: str) -> Optional[str]:
    """A layer of the adapter that the model does not have, in words; None where all are there or it cannot be told."""
    try:
        config = json.loads(Path(model, "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    text = config.get("text_config") or config
    count = text.get("num_hidden_layers") if isinstance(text, dict) else None
    layers = {int(found.group(1)) for found in map(_LAYER.search, tensor_names(folder)) if found}
    if not isinstance(count, int) or not layers or max(layers) < count:
        return None
    return f"it has a layer {max(layers)}, and the model has {count} of them"


def with_rank(words: Sequence[str], adapters: Sequence[ServedAdapter], *, flag: str = SWIFT_RANK) -> tuple[str, ...]:
    """The command with vLLM's limit high enough for every adapter: one above it ends the engine, for every name."""
    needed = max((rank for adapter in adapters for rank in _ranks(adapter)), default=0)
    given = _given(words, flag)
    if needed <= (given if given is not None else _DEFAULT_LIMIT):
        return tuple(words)
    kept = list(words)
    if given is not None:
        at = kept.index(flag)
        del kept[at : at + 2]
    return (*kept, flag, str(rank_limit(needed)))


def _given(words: Sequence[str], flag: str) -> Optional[int]:
    if flag not in words[:-1]:
        return None
    value = words[words.index(flag) + 1]
    return int(value) if value.isdecimal() else None
