"""What of a training's folder belongs to a model, and what config.json says of the type of its weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from . import weights

CONFIG, ADAPTER_CONFIG, ARGUMENTS = "config.json", "adapter_config.json", "args.json"
# Of training alone, or of the machine that it ran on (paths, names of datasets).
_LEFT_OUT = re.compile(
    r"""optimizer.*|scheduler.*|rng_state.*|scaler\.pt|trainer_state\.json|training_args\.bin|args\.json
    |latest|zero_to_fp32\.py|swiftop-.*|\..*|.*\.(safetensors|bin|pt|pth|ckpt)|.*\.(safetensors|bin)\.index\.json
    |logging\.jsonl|events\.out\..*""",
    re.VERBOSE,
)
_FOLDERS = ("additional_chat_templates",)  # of a tokenizer; all others hold logs, images and states of training
_DEEPSPEED = ("global_step*", "zero", "latest")
_TOKENIZER = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model")
_TYPES = ("dtype", "torch_dtype")  # transformers 5 and 4


def belongs(name: str) -> bool:
    """Whether a file at the top of a training's folder, no weights, belongs to the model."""
    return _LEFT_OUT.fullmatch(name) is None


def accompanying(folder: Path, *, adapter: bool = False) -> list[str]:
    """Files that go with the weights: configuration, tokenizer, chat template, processor, code. Sorted, relative.

    The README of an adapter is PEFT's form to fill in, with the path of the base model on the machine.
    """
    found = [path.name for path in folder.iterdir() if path.is_file() and belongs(path.name)]
    for name in _FOLDERS:
        found += [path.relative_to(folder).as_posix() for path in (folder / name).rglob("*") if path.is_file()]
    return sorted(name for name in found if not (adapter and name == "README.md"))


def has_tokenizer(folder: Path) -> bool:
    """Whether there is one that has to load; some models come without."""
    return any((folder / name).is_file() for name in _TOKENIZER)


def stem_of(folder: Path) -> str:
    """How the weights of this folder are called."""
    return weights.ADAPTER if (folder / ADAPTER_CONFIG).is_file() else weights.MODEL


def why_without_weights(folder: Path) -> str:
    """What to do about a folder that has no weights in safetensors."""
    if any(next(folder.glob(pattern), None) for pattern in _DEEPSPEED):
        return (
            f"{folder} has only DeepSpeed's own shards and no consolidated weights. Run `python zero_to_fp32.py . . "
            "--safe_serialization` in it and export again; for trainings to come, let the ZeRO-3 configuration have "
            "stage3_gather_16bit_weights_on_model_save: true"
        )
    if any(folder.glob("*.bin")):
        return f"{folder} has its weights as pickle (.bin): train with --save_safetensors true, or convert it first"
    return f"{folder} has no weights: model.safetensors or model.safetensors.index.json is missing"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ``Damaged``."""
    try:
        content = json.loads(weights.read_text(weights.within(path.parent, path.name)))
    except FileNotFoundError:
        raise weights.Damaged(f"{path.name} is missing") from None
    except weights.Damaged:
        raise
    except (ValueError, RecursionError) as error:
        raise weights.Damaged(f"{path.name} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise weights.Damaged(f"{path.name} is not a JSON object")
    return content


def type_of(config: Mapping[str, Any]) -> Optional[str]:
    """Type of the weights as a configuration says it."""
    inner = [value for value in config.values() if isinstance(value, dict)]
    for part in (config, *inner):
        for key in _TYPES:
            if isinstance(part.get(key), str):
                return str(part[key]).replace("torch.", "")
    return None


def with_type(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """The configuration of the same model in another type, parts for text and vision included."""
    changed = _replaced(config, dtype)
    return changed if type_of(changed) else {**changed, "torch_dtype": dtype}


def _replaced(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    changed = dict(config)
    for key, value in config.items():
        if key in _TYPES and value is not None:
            changed[key] = dtype
        elif isinstance(value, dict) and key != "quantization_config":
            changed[key] = _replaced(value, dtype)
    return changed
