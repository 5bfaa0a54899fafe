"""A tiny Qwen2 with adapters, and one step of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
Gradients = dict[str, torch.Tensor]


def model(
    *, layers: int = 2, dtype: torch.dtype = torch.float16, config: Mapping[str, Any] | None = None, **lora: Any
) -> Any:
    """With B that is not zero, in training mode."""
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2Config, Qwen2ForCausalLM

    sizes = {
        "hidden_size": 64, "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 96, "vocab_size": 256, "tie_word_embeddings": False,
    } | dict(config or {})  # fmt: skip
    torch.manual_seed(0)
    base = Qwen2ForCausalLM(Qwen2Config(**sizes, bos_token_id=0, eos_token_id=2, pad_token_id=0)).to(dtype)
    base.config.use_cache = False
    settings = {"r": 8, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": list(TARGETS)} | lora
    found = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **settings))
    for name, parameter in found.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return found.train()


def tokens(seed: int = 5, length: int = 90) -> torch.Tensor:
    """One row of them."""
    return torch.randint(3, 250, (1, length), generator=torch.Generator().manual_seed(seed))


def step(model: Any, ids: torch.Tensor | None = None, *, seed: int = 3) -> tuple[float, Gradients]:
    """Loss and gradients, by name."""
    ids = tokens() if ids is None else ids
    torch.manual_seed(seed)
    with torch.autocast("cpu", torch.float16):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    gradients = {n.replace("module.", ""): p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return float(loss), gradients


def worst(found: Gradients, wanted: Gradients) -> float:
    """The largest relative difference of a gradient; infinite where they are not of the same parameters."""
    if found.keys() != wanted.keys():
        return float("inf")
    return max(float((found[n] - wanted[n]).norm() / (wanted[n].norm() + 1e-12)) for n in wanted)


def equal(found: Gradients, wanted: Gradients) -> bool:
    """Bit for bit."""
    return found.keys() == wanted.keys() and all(torch.equal(found[n], wanted[n]) for n in wanted)
