"""Cases of ``interpreted.py``: kernels and functions alone."""

from __future__ import annotations

from typing import Any
from unittest import mock

import torch

from swiftop.acceleration import guard, kernels, masks, repair
from tests.acceleration import reference

FLOAT, HALF = torch.float32, torch.float16  # the interpreter has no products in bfloat16: gpu_kernels.py has
# Rows, sizes, rank, probability, type; rows and sizes are no multiples of tiles.
LINEARS: dict[str, tuple[int, tuple[int, ...], int, float, torch.dtype]] = {
    "three, rank 8": (100, (64, 48, 16, 32), 8, 0.0, FLOAT),
    "three, rank 8, dropout": (100, (64, 48, 16, 32), 8, 0.05, FLOAT),
    "two, rank 4, dropout": (130, (160, 64, 32), 4, 0.2, FLOAT),
    "one, rank 16, dropout": (70, (96, 48), 16, 0.45, FLOAT),
    "three, rank 32, dropout": (70, (96, 48, 32, 16), 32, 0.05, FLOAT),
    "three, rank 64, dropout": (70, (96, 48, 32, 16), 64, 0.05, FLOAT),
    "three, rank 24, fp16": (70, (96, 48, 32, 16), 24, 0.05, HALF),
}
MLPS: dict[str, tuple[int, tuple[int, ...], int, float, torch.dtype]] = {
    "rank 8": (100, (64, 96), 8, 0.0, FLOAT),
    "rank 8, dropout": (100, (64, 96), 8, 0.2, FLOAT),
    "rank 24, dropout": (60, (64, 96), 24, 0.05, FLOAT),
    "rank 64, dropout": (40, (64, 96), 64, 0.05, FLOAT),
    "rank 8, fp16": (60, (64, 96), 8, 0.05, HALF),
}


def _errors(name: str, case: tuple[int, tuple[int, ...], int, float, torch.dtype], **others: Any) -> dict[str, float]:
    rows, sizes, rank, probability, dtype = case
    return reference.errors(name, rows=rows, sizes=sizes, rank=rank, probability=probability, dtype=dtype, **others)


def values() -> dict[str, dict[str, float]]:
    """Relative errors of everything that the functions give."""
    found = {f"linears, {name}": _errors("linears", case) for name, case in LINEARS.items()}
    found |= {f"mlp, {name}": _errors("mlp", case) for name, case in MLPS.items()}
    case = LINEARS["three, rank 8, dropout"]
    return found | {"linears, no gradient of the input": _errors("linears", case, needs_dx=False)}


def repaired() -> dict[str, dict[str, float]]:
    """The same where no kernel works, in blocks of rows: torch's operations take their place with the same masks."""
    with (
        mock.patch.dict(vars(kernels), dict.fromkeys(("project", "swiglu_project"))),
        mock.patch.object(repair, "ROWS", 33),
    ):
        found = {
            "linears": _errors("linears", LINEARS["three, rank 8, dropout"]),
            "mlp": _errors("mlp", MLPS["rank 24, dropout"]),
        }
    assert guard.failure() is not None
    guard.forget()
    return found


def repaired_backward() -> dict[str, dict[str, float]]:
    """Forward by kernels, backward by torch."""
    found = {}
    for name, case in (("linears", LINEARS["three, rank 8, dropout"]), ("mlp", MLPS["rank 24, dropout"])):
        with mock.patch.dict(vars(kernels), dict.fromkeys(("project_backward", "swiglu_backward"))):
            found[name] = _errors(name, case)
        assert guard.failure() is not None
        guard.forget()
    return found


def same_masks() -> dict[str, bool]:
    """Of the forward kernel, the backward kernel, torch and numpy, for three adapters."""
    seed, threshold, size = 2**30 - 5, 51, 64
    dropout = masks.Dropout(seed=seed, threshold=threshold, masked=True)
    ones, units = torch.ones(size, size), torch.eye(size).repeat(3, 1, 1)
    forward = kernels.project(ones, units, scale=1.0, dropout=dropout).chunk(3, 1)
    backward = kernels.project_backward(ones, None, units, torch.eye(size).repeat(1, 3), dropout=dropout)
    dx = torch.zeros(size, size)
    kernels.project_backward(ones, dx, units[:1], ones, dropout=dropout)
    found = {}
    for i in range(3):
        wanted = reference.keep(size, size, seed=seed, adapter=i, threshold=threshold)
        found[f"forward {i}"] = torch.equal(forward[i], wanted.float())
        found[f"backward {i}"] = torch.equal(backward[i].t(), wanted.float())
        found[f"torch {i}"] = torch.equal(masks.keep(dropout, i, range(size), size, ones.device), wanted)
        part = masks.keep(dropout, i, range(20, 30), size, ones.device)
        found[f"torch, some rows {i}"] = torch.equal(part, wanted[20:30])
    found["gradient of the input"] = torch.equal(
        dx, reference.keep(size, size, seed=seed, adapter=0, threshold=51).float()
    )
    return found


def statistics() -> dict[str, Any]:
    """Shares that stay, and correlations: between adapters, neighbours, rows, and seeds."""
    first, second, third = (reference.keep(1000, 1000, seed=12345, adapter=i, threshold=51) for i in range(3))
    other = reference.keep(1000, 1000, seed=12346, adapter=0, threshold=51)
    pairs = {
        "adapters": (first, second), "adapters 0 and 2": (first, third), "neighbours": (first[:, :-1], first[:, 1:]),
        "rows": (first[:-1], first[1:]), "seeds": (first, other),
    }  # fmt: skip
    related = {
        n: float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]).double())[0, 1]) for n, (a, b) in pairs.items()
    }
    return {"kept": [float(mask.double().mean()) for mask in (first, second, third, other)], "correlations": related}


CASES = {
    "values": values, "repaired": repaired, "repaired backward": repaired_backward, "same masks": same_masks,
    "statistics": statistics,
}  # fmt: skip
