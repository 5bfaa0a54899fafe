"""The shapes of well-known models, by their names: what their memory is estimated from before anything is downloaded.

Each is read from the ``config.json`` of the model on its hub. A name that says more than is known here (a vision model,
a mixture of experts, weights that are quantized already) matches nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache

from swiftop.acceleration.memory import Shape, shape_of

_NAMES = ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim",
          "intermediate_size", "vocab_size", "tie_word_embeddings")  # fmt: skip
_Config = tuple[int, int, int, int, int, int, int, bool]

_QWEN2: dict[str, _Config] = {
    "0.5B": (24, 896, 14, 2, 64, 4864, 151_936, True),
    "1.5B": (28, 1536, 12, 2, 128, 8960, 151_936, True),
    "3B": (36, 2048, 16, 2, 128, 11_008, 151_936, True),
    "7B": (28, 3584, 28, 4, 128, 18_944, 152_064, False),
    "14B": (48, 5120, 40, 8, 128, 13_824, 152_064, False),
    "32B": (64, 5120, 40, 8, 128, 27_648, 152_064, False),
    "72B": (80, 8192, 64, 8, 128, 29_568, 152_064, False),
}
_QWEN3: dict[str, _Config] = {
    "0.6B": (28, 1024, 16, 8, 128, 3072, 151_936, True),
    "1.7B": (28, 2048, 16, 8, 128, 6144, 151_936, True),
    "4B": (36, 2560, 32, 8, 128, 9728, 151_936, True),
    "8B": (36, 4096, 32, 8, 128, 12_288, 151_936, False),
    "14B": (40, 5120, 40, 8, 128, 17_408, 151_936, False),
    "32B": (64, 5120, 64, 8, 128, 25_600, 151_936, False),
}
_LLAMA3: dict[str, _Config] = {
    "1B": (16, 2048, 32, 8, 64, 8192, 128_256, True),
    "3B": (28, 3072, 24, 8, 128, 8192, 128_256, True),
    "8B": (32, 4096, 32, 8, 128, 14_336, 128_256, False),
    "70B": (80, 8192, 64, 8, 128, 28_672, 128_256, False),
}
_SMOL: dict[str, _Config] = {
    "135M": (30, 576, 9, 3, 64, 1536, 49_152, True),
    "360M": (32, 960, 15, 5, 64, 2560, 49_152, True),
    "1.7B": (24, 2048, 32, 32, 64, 8192, 49_152, True),
}
_MISTRAL_7B = (32, 4096, 32, 8, 128, 14_336)
_R1_1_5B: _Config = (*_QWEN2["1.5B"][:7], False)

_FAMILIES: tuple[tuple[str, dict[str, _Config]], ...] = (
    (r"Qwen2(?:\.5)?(?:-Coder|-Math)?-({size})(?:-Instruct)?(?:-1M)?", _QWEN2),
    (r"(QwQ-32B)(?:-Preview)?", {"QwQ-32B": _QWEN2["32B"]}),
    (r"Qwen3-({size})(?:-Base|-Instruct-2507|-Thinking-2507)?", _QWEN3),
    (r"(?:Meta-)?Llama-3(?:\.[123])?-({size})(?:-Instruct)?", _LLAMA3),
    (r"DeepSeek-R1-Distill-Qwen-({size})", {**_QWEN2, "1.5B": _R1_1_5B}),
    (r"DeepSeek-R1-Distill-Llama-({size})", _LLAMA3),
    (r"Mistral-(7B)(?:-Instruct)?-v0\.[12]", {"7B": (*_MISTRAL_7B, 32_000, False)}),
    (r"Mistral-(7B)(?:-Instruct)?-v0\.3", {"7B": (*_MISTRAL_7B, 32_768, False)}),
    (r"Mistral-(Nemo)-(?:Instruct|Base)-2407", {"Nemo": (40, 5120, 32, 8, 128, 14_336, 131_072, False)}),
    (r"Mistral-Small-(24B)-(?:Instruct|Base)-2501", {"24B": (40, 5120, 32, 8, 128, 32_768, 131_072, False)}),
    (r"SmolLM2?-({size})(?:-Instruct)?", _SMOL),
    (r"TinyLlama[-_](1\.1B)-Chat-v1\.0", {"1.1B": (22, 2048, 32, 4, 64, 5632, 32_000, False)}),
)  # fmt: skip


@lru_cache(256)
def shape(model: str) -> Shape | None:
    """Shape of a model by its id, or by the folder that it lies in; None where it is not known."""
    name = model.rstrip("/").rpartition("/")[2]
    for pattern, sizes in _FAMILIES:
        by_size = {size.lower(): config for size, config in sizes.items()}
        found = re.fullmatch(pattern.replace("{size}", "|".join(map(re.escape, sizes))), name, re.IGNORECASE)
        if found is not None:
            return shape_of(dict(zip(_NAMES, by_size[found[1].lower()], strict=True)))
    return None
