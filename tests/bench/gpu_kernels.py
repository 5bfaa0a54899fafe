"""The kernels of ``swiftop.acceleration`` on a real GPU: ``python -m tests.bench.gpu_kernels [--repeat MS]``.

Needs an NVIDIA GPU since Ampere, and in this Python torch, Triton with a C compiler, transformers and peft. Prints the
largest relative errors of outputs and gradients against float64 at the widths of a 7B model, what each kernel costs
there, and a frozen product in 16 and in 8 bits. Exits 1 when an error is more than rounding explains.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import torch

from swiftop.acceleration import eightbit, functions, guard, kernels, masks
from tests.acceleration import reference

HIDDEN, INTERMEDIATE, KEYS = 3584, 18944, 512  # Qwen2.5-7B's
ROWS = 1000  # of the comparison in float64
TOKENS = 12268  # of the times: four packs
DROPOUT = 0.05
LIMITS = {torch.bfloat16: 1.2e-2, torch.float16: 2e-3}
GPU = "cuda"


def compare(dtype: torch.dtype) -> Iterator[tuple[str, dict[str, float]]]:
    """Errors of both functions, for every rank that has kernels of its own."""
    cases: dict[str, tuple[str, tuple[int, ...]]] = {
        "q, k, v": ("linears", (HIDDEN, HIDDEN, KEYS, KEYS)),
        "o": ("linears", (HIDDEN, HIDDEN)),
        "mlp": ("mlp", (HIDDEN, INTERMEDIATE)),
    }
    for rank in (8, 32, 64):
        for name, (function, sizes) in cases.items():
            found = reference.errors(
                function, rows=ROWS, sizes=sizes, rank=rank, probability=DROPOUT, dtype=dtype, device=GPU
            )
            yield f"{name}, rank {rank}", found
            torch.cuda.empty_cache()


def random(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """Small numbers."""
    return (torch.randn(*shape, device=GPU) * 0.1).to(dtype)


def times(rank: int, repeat: int) -> Iterator[tuple[str, float]]:
    """Milliseconds of each kernel in bfloat16, for adapters padded to this rank."""
    from triton.testing import do_bench

    dropout = masks.drawn(DROPOUT, masked=True)
    x, dx = random(TOKENS, HIDDEN), random(TOKENS, HIDDEN)
    a, du = random(3, rank, HIDDEN), random(TOKENS, 3 * rank)
    yield "project", do_bench(lambda: kernels.project(x, a, scale=1.0, dropout=dropout), rep=repeat)
    yield "project_backward", do_bench(lambda: kernels.project_backward(x, dx, a, du, dropout=dropout), rep=repeat)
    gate, up, dhidden = (random(TOKENS, INTERMEDIATE) for _ in range(3))
    wide, narrow = random(1, rank, INTERMEDIATE), random(TOKENS, rank)
    yield (
        "swiglu_project",
        do_bench(lambda: kernels.swiglu_project(gate, up, wide, scale=1.0, dropout=dropout), rep=repeat),
    )
    both = random(TOKENS, 2 * rank)
    yield (
        "swiglu_backward",
        do_bench(
            lambda: kernels.swiglu_backward(gate, up, dhidden, a=wide, du=narrow, narrow=both, dropout=dropout),
            rep=repeat,
        ),
    )


def products(repeat: int) -> Iterator[tuple[str, float]]:
    """Milliseconds of a frozen product, exact and in 8 bits, and the latter's relative error."""
    from triton.testing import do_bench

    layer, x = functions.Frozen(random(INTERMEDIATE, HIDDEN)), random(TOKENS, HIDDEN)
    narrow, b = random(TOKENS, 16), random(16, INTERMEDIATE)
    exact, rough = functions.Exact(), eightbit.EightBit()
    yield "exact", do_bench(lambda: exact.forward(x, layer, narrow, b), rep=repeat)
    if torch.cuda.get_device_capability() < (8, 9):
        return
    yield "8 bits", do_bench(lambda: rough.forward(x, layer, narrow, b), rep=repeat)
    yield "8 bits with rows of x anew", do_bench(lambda: rough.forward(x.view(x.shape), layer, narrow, b), rep=repeat)
    wanted = exact.forward(x, layer, narrow, b)
    yield "8 bits, relative error", reference.error(rough.forward(x, layer, narrow, b), wanted)


def main() -> int:
    """Print all of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeat", type=int, default=50, help="milliseconds for each time")
    repeat: int = parser.parse_args().repeat
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, triton {version()}")
    wrong = 0
    for dtype, limit in LIMITS.items():
        for name, errors in compare(dtype):
            wrong += not max(errors.values()) <= limit
            print(
                f"{dtype} {name}: {max(errors.values()):.1e} ({', '.join(f'{k} {v:.1e}' for k, v in errors.items())})"
            )
    for rank in (16, 32, 64):
        print(f"rank {rank}, ms:", ", ".join(f"{name} {value:.3f}" for name, value in times(rank, repeat)))
    print("products, ms:", ", ".join(f"{name} {value:.3f}" for name, value in products(repeat)))
    if guard.failure() is not None:
        print(f"failed: {guard.failure()}")
    return int(wrong > 0 or guard.failure() is not None)


def version() -> Any:
    """Of Triton."""
    import triton

    return triton.__version__


if __name__ == "__main__":
    sys.exit(main())
