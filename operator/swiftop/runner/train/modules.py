"""The modules that a model on a volume has, for a tuner that was asked for others."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from pathlib import Path

from ..record import read_json

LARGEST_HEADER = 8 << 20
MOST_NAMES = 16
_INDEX = "model.safetensors.index.json"
_NO_LINEAR = ("norm", "embed", "lm_head", "wte", "wpe", "score", "conv", "rotary", "scale")


def linear_modules(command: tuple[str, ...]) -> list[str]:
    """Last parts of the names of its linear layers; empty when the model is no folder, or tells none."""
    at = command.index("--model") + 1 if "--model" in command else len(command)
    folder = Path(command[at]) if at < len(command) else Path()
    if not folder.is_absolute() or not folder.is_dir():
        return []
    try:
        found = sorted(_linear(_tensors(folder)))
    except (OSError, ValueError, struct.error):
        return []
    return found[:MOST_NAMES]


def _tensors(folder: Path) -> Iterable[str]:
    if (folder / _INDEX).is_file():
        index = read_json(folder / _INDEX)
        weights = index.get("weight_map") if isinstance(index, dict) else None
        return weights if isinstance(weights, dict) else ()
    file = next(iter(sorted(folder.glob("*.safetensors"))), None)
    return _header(file) if file is not None and file.is_file() else ()


def _header(file: Path) -> Iterable[str]:
    with file.open("rb") as content:
        (size,) = struct.unpack("<Q", content.read(8))
        if size > LARGEST_HEADER:
            raise ValueError("it is no such file")
        try:
            header = json.loads(content.read(size))
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
    return header if isinstance(header, dict) else ()


def _linear(tensors: Iterable[str]) -> set[str]:
    paths = [tensor[: -len(".weight")].split(".") for tensor in tensors if tensor.endswith(".weight")]
    names = {path[-1] for path in paths if len(path) > 1 and len(path[-1]) <= 40}
    return {name for name in names if not name.isdigit() and not any(word in name for word in _NO_LINEAR)}
