"""Runs inside an environment with Triton: compiles the kernels for GPUs that are not there.

Output, after a line ``RESULTS``: a JSON object with the shared memory in bytes and the number of tensor core
instructions of each kernel, by its name, rank, type and compute capability.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "operator"), str(ROOT)]

INTEGERS = {"seed", "T", "K", "threshold", "PART", "x_row"}
SUMS = {"da", "sums", "scales"}
MULTIPLES = {"K", "PART", "x_row"}  # of 16, as all pointers are


def variants() -> dict[str, tuple[str, dict[str, int]]]:
    """Kernels with their constants: the widest and the narrowest of each."""
    found: dict[str, tuple[str, dict[str, int]]] = {"to_eight_bits": ("_to_eight_bits", {"BLOCK": 4096})}
    for rank, n in ((16, 1), (64, 3)):
        constants = {"R": rank, "DROPOUT": True}
        found |= {
            f"project {rank}": ("_project", {**constants, "N": n}),
            f"swiglu_project {rank}": ("_swiglu_project", constants),
            f"project_backward {rank}": ("_project_backward", {**constants, "N": n, "ADD": n > 1}),
            f"swiglu_backward {rank}": ("_swiglu_backward", constants),
        }
    return found


def compiled(name: str, constants: dict[str, int], capability: int, number: str) -> dict[str, Any]:
    """One kernel for one kind of GPU."""
    import triton
    from triton.backends.compiler import AttrsDescriptor, GPUTarget
    from triton.compiler import ASTSource

    from swiftop.acceleration import kernels

    tile: dict[str, int] = {"_project_backward": kernels.BACKWARD, "_swiglu_backward": kernels.SWIGLU_BACKWARD}.get(
        name,
        {}
        if name == "_to_eight_bits"
        else kernels.PROJECT | {"COLUMNS": kernels.PROJECT_COLUMNS // constants.get("R", 1)},
    )
    options = {"num_warps": tile.get("num_warps", 4)}
    constants = constants | {key: value for key, value in tile.items() if key != "num_warps"}
    kernel = getattr(kernels, name)

    def kind(argument: str) -> str:
        if argument in INTEGERS:
            return "i32"
        if argument == "y":
            return "*fp8e4nv"
        return "fp32" if argument == "scale" else "*fp32" if argument in SUMS else f"*{number}"

    signature = {each: "constexpr" if each in constants else kind(each) for each in kernel.arg_names}
    aligned = [(i, 16) for i, (n, type_) in enumerate(signature.items()) if type_.startswith("*") or n in MULTIPLES]
    source = ASTSource(kernel, signature, constants, AttrsDescriptor.from_hints(dict(aligned)))
    found = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    code = found.asm["ptx"]
    return {"shared": found.metadata.shared, "mma": code.count("mma.sync") + code.count("wgmma.mma_async")}


def main() -> None:
    """All of them."""
    results = {}
    for capability, number in ((80, "bf16"), (90, "bf16"), (90, "fp16")):
        for name, (kernel, constants) in variants().items():
            if (capability < 89 and name == "to_eight_bits") or (number == "fp16" and not name.endswith(" 16")):
                continue
            began = time.process_time()
            results[f"{name}, {number}, sm_{capability}"] = compiled(kernel, constants, capability, number)
            print(f"{name} {capability} {time.process_time() - began:.1f} s", file=sys.stderr)
    print("RESULTS")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
