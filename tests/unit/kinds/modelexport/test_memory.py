"""The memory of an export follows what a model's name tells of its size."""

from __future__ import annotations

import pytest

from swiftop.kinds.modelexport.memory import memory_gib, parameters


@pytest.mark.parametrize(
    ("model", "billions"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", 7),
        ("Qwen/Qwen2.5-0.5B", 0.5),
        ("/models/base/SmolLM2-135M-Instruct", 0.135),
        ("meta-llama/Llama-3.1-70B", 70),
        ("me/chat", None),
        ("a-7b/chat", None),
        ("", None),
    ],
)
def test_parameters(model: str, billions: float | None) -> None:
    assert parameters(model) == billions


@pytest.mark.parametrize(
    ("model", "dtype", "verified", "gib"),
    [
        ("Qwen2.5-0.5B", "", True, 6),  # a forward pass in float32 is more than the merge
        ("Qwen2.5-0.5B", "", False, 5),
        ("Qwen2.5-7B", "float16", True, 30),  # verified tensor by tensor
        ("Qwen2.5-7B", "float32", True, 56),
        ("chat", "", True, 16),
    ],
)
def test_memory(model: str, dtype: str, verified: bool, gib: int) -> None:
    assert memory_gib(model, dtype=dtype, verified=verified) == gib
