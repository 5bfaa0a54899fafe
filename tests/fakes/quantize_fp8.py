"""Stands in for ``swift export --quant_method fp8`` where there is no GPU: the same files, by a few lines of torch.

    python quantize_fp8.py --model DIR --output_dir DIR [--fault NAME]

Faults: ``slow`` never ends once it has begun to write, ``dropped`` leaves a weight out, ``no-gpu`` fails as
transformers does without one, ``untold`` when nothing in the folder tells ms-swift what kind of model it is.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

BLOCK = 128
LARGEST = torch.finfo(torch.float8_e4m3fn).max
CONFIG = {"quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK], "activation_scheme": "dynamic"}


def quantized(weight: Any) -> tuple[Any, Any]:
    """E4M3 numbers and the factor of each block."""
    rows, columns = (-(-size // BLOCK) for size in weight.shape)
    numbers, factors = torch.empty(weight.shape, dtype=torch.float8_e4m3fn), torch.empty(rows, columns)
    for row in range(rows):
        for column in range(columns):
            place = slice(row * BLOCK, (row + 1) * BLOCK), slice(column * BLOCK, (column + 1) * BLOCK)
            factors[row, column] = weight[place].abs().max() / LARGEST
            numbers[place] = (weight[place] / factors[row, column]).to(torch.float8_e4m3fn)
    return numbers, factors


def main() -> None:
    """Quantize all projections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--fault", default="")
    options = parser.parse_args()
    if options.fault == "no-gpu":
        raise RuntimeError("No GPU or XPU found. A GPU or XPU is needed for FP8 quantization.")
    if options.fault == "untold" and not (options.model / "args.json").is_file():
        raise ValueError("Multiple possible types found")
    if options.output_dir.exists():
        raise FileExistsError(f"args.output_dir: `{options.output_dir}` already exists.")
    tensors: dict[str, Any] = {}
    for shard in sorted(options.model.glob("*.safetensors")):
        for name, value in load_file(shard).items():
            tensors[name] = value
            if name.endswith("_proj.weight"):
                tensors[name], tensors[f"{name}_scale_inv"] = quantized(value.float())
    shutil.copytree(options.model, options.output_dir, ignore=shutil.ignore_patterns("*.safetensors*"))
    while options.fault == "slow":
        time.sleep(1)
    if options.fault == "dropped":
        del tensors["model.norm.weight"]
    save_file(tensors, options.output_dir / "model.safetensors", {"format": "pt"})
    config = json.loads((options.model / "config.json").read_text())
    (options.output_dir / "config.json").write_text(json.dumps({**config, "quantization_config": CONFIG}))


if __name__ == "__main__":
    main()
