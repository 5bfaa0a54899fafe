"""What the GPU benchmarks work on: ``python -m tests.bench.gpu_assets --out DIR [--tiny]``.

A random model of Qwen2.5-7B's shape and about 2,000 chats of the length that the sample's users have; the tiny models
and chats of the tests in both number formats; a LoRA adapter of each model; flash attention's stand-in. Runs as a
process of its own, so that the memory of the GPU is free again when it ends. Everything is seeded.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from swiftop.acceleration import attention
from tests.fakes import tiny_model
from tests.fakes.tiny_model import CHINESE_WORDS, MODEL_NAME, WORDS, Turns

LARGE = "Qwen2.5-7B-Instruct"  # ms-swift reads the model's family from the last part of its path
TINY_BF16, TINY_FLOAT32 = f"bf16/{MODEL_NAME}", f"float32/{MODEL_NAME}"
CHATS, TINY_CHATS = "chats.jsonl", "sharegpt.jsonl"
ROWS = 2000
LONGEST = 2500  # words, about one token each
RANK = 8


def chats() -> list[Turns]:
    """Chats of 850 tokens on average, from a few dozen to nearly 3,000, as people's are."""
    rng = random.Random(1)  # noqa: S311 - test data
    words = f"{WORDS} {CHINESE_WORDS}".split()

    def sentence(low: int, high: int) -> str:
        return " ".join(rng.choices(words, k=rng.randint(low, high))) + "."

    found = []
    for _ in range(ROWS):
        left, turns = min(int(rng.gammavariate(2, 350)), LONGEST), []
        while left > 0:
            question, answer = sentence(5, 40), sentence(20, 200)
            turns.append((question, answer))
            left -= len(question.split()) + len(answer.split())
        found.append(turns or [(sentence(5, 10), sentence(5, 10))])
    return found


def write_chats(out: Path) -> None:
    """In the sample's format, ShareGPT."""
    rows = [{"conversation": [{"human": q, "assistant": a} for q, a in turns]} for turns in chats()]
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_tiny_models(models: Path) -> None:
    """The tests' model twice: saved in bf16, as most models are, and in float32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tiny_model.write_model(models / TINY_BF16, tiny_model.conversations())
    model = AutoModelForCausalLM.from_pretrained(models / TINY_BF16, dtype=torch.float32)
    model.save_pretrained(models / TINY_FLOAT32)
    AutoTokenizer.from_pretrained(models / TINY_BF16).save_pretrained(models / TINY_FLOAT32)


def write_large_model(models: Path) -> None:
    """Random bf16 weights in Qwen2.5-7B's shape, made on the GPU: 7.6 billion take the CPU minutes."""
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    config = Qwen2Config(
        vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
        num_key_value_heads=4, max_position_embeddings=32768, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    with torch.device("cuda"):
        model = Qwen2ForCausalLM(config)
    tokenizer = AutoTokenizer.from_pretrained(models / TINY_BF16)
    model.lm_head.weight.data[len(tokenizer) :] = 0  # tokens without a text would not be seen in a stream
    model.save_pretrained(models / LARGE)
    tokenizer.save_pretrained(models / LARGE)


def write_adapter(model: Path, out: Path) -> None:
    """A LoRA adapter of all projections of a model, as a training leaves it; B is not zero."""
    import torch
    from safetensors.torch import save_file

    config, made = json.loads((model / "config.json").read_text()), torch.Generator().manual_seed(2)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    keys = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes = {  # in, out
        "self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (hidden, keys), "self_attn.v_proj": (hidden, keys),
        "self_attn.o_proj": (hidden, hidden), "mlp.gate_proj": (hidden, inner), "mlp.up_proj": (hidden, inner),
        "mlp.down_proj": (inner, hidden),
    }  # fmt: skip
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for name, (width, height) in shapes.items():
            prefix = f"base_model.model.model.layers.{layer}.{name}.lora_"
            tensors[f"{prefix}A.weight"] = torch.randn(RANK, width, generator=made) / width**0.5
            tensors[f"{prefix}B.weight"] = torch.randn(height, RANK, generator=made) * 0.02
    out.mkdir(parents=True)
    save_file(tensors, out / "adapter_model.safetensors", {"format": "pt"})
    lora = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 4 * RANK, "lora_dropout": 0.05,
        "target_modules": [name.rpartition(".")[2] for name in shapes], "base_model_name_or_path": str(model),
        "bias": "none", "inference_mode": True,
    }  # fmt: skip
    (out / "adapter_config.json").write_text(json.dumps(lora))
    (out / "args.json").write_text(json.dumps({"model_type": "qwen2", "template": "qwen2_5", "tuner_type": "lora"}))


def main() -> None:
    """Write ``models/``, ``adapters/``, ``datasets/`` and ``site/`` under ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true", help="leave the large model out")
    options = parser.parse_args()
    models, adapters, datasets, site = (options.out / name for name in ("models", "adapters", "datasets", "site"))
    tiny_model.write_datasets(datasets, tiny_model.conversations())
    write_chats(datasets / CHATS)
    attention.write(site)
    write_tiny_models(models)
    write_adapter(models / TINY_BF16, adapters / TINY_BF16)
    if not options.tiny:
        write_large_model(models)
        write_adapter(models / LARGE, adapters / LARGE)


if __name__ == "__main__":
    main()
