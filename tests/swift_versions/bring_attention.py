"""Runs inside an environment: flash attention's stand-in and the borders of packs, in the real transformers.

The machine has no GPU: it is said that there is one, and only looked at what would be called there.
Output, after a line `RESULT`: what transformers takes, and what it finds in packed position ids before and after.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.append(str(Path(__file__).parents[2] / "operator"))
attention = importlib.import_module("swiftop.acceleration.attention")
borders = importlib.import_module("swiftop.acceleration.borders")


def found(utils: Any, ids: torch.Tensor) -> list[Any]:
    """What the layers of a model ask for."""
    (starts, _), lengths = utils.prepare_fa_kwargs_from_position_ids(ids)
    return [bool(utils._is_packed_sequence(ids, 1)), starts.tolist(), [int(length) for length in lengths]]


def main() -> None:
    """Install both parts and look."""
    torch.cuda.is_available = lambda: True
    torch.version.cuda = "13.0"
    asked: Any = importlib.import_module("transformers.utils.import_utils").is_torch_cuda_available
    getattr(asked, "cache_clear", lambda: None)()
    why = [attention.install(["sft.py", "--attn_impl", name]) for name in ("sdpa", "flash_attn", "flash_attn")]
    utils = importlib.import_module(borders.MODULE)
    importing = getattr(utils, "_lazy_imports", None) or utils.lazy_import_flash_attention
    functions = importing("flash_attention_2")
    functions = functions[0] if isinstance(functions[0], tuple) else functions
    packs = torch.tensor([[0, 1, 2, 0, 1]]), torch.tensor([[0, 1, 2, 3, 4]])
    before = [found(utils, ids) for ids in packs]
    why.append(borders.install())
    after = [[found(utils, ids) for ids in packs] for _ in range(2)]
    kept = utils.prepare_fa_kwargs_from_position_ids(packs[0])
    padding = importlib.import_module("flash_attn.bert_padding")
    told = {
        "why": why,
        "modules": [getattr(function, "__module__", "") for function in functions[:2]],
        "windows": "window_size" in inspect.signature(functions[0]).parameters,
        "padding": [callable(getattr(padding, name)) for name in ("pad_input", "unpad_input")],
        "before": before,
        "after": after,
        "same": kept is utils.prepare_fa_kwargs_from_position_ids(packs[0]),
        "numbers": [type(length).__name__ for length in kept[1]],
    }
    print("RESULT")
    print(json.dumps(told))


if __name__ == "__main__":
    main()
