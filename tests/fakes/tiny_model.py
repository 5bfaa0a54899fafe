"""Makes the tiny random Qwen2 and its datasets: real files that ms-swift really trains, in seconds on one CPU.

``tiny_model.py --out DIR`` needs torch, transformers and tokenizers, so it runs with the trainer image's Python. The
folder is called Qwen2.5-0.5B-Instruct because ms-swift reads the model's family from the last part of its path.
``--head-dim 32`` makes it as wide as vLLM needs it on the CPU, where it serves no narrower one. With
``--initializer-range 0.1`` it learns more than a few words by heart. Everything is seeded: the same libraries give the
same bytes.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODEL_NAME = "Qwen2.5-0.5B-Instruct"
ROWS = 200
WORDS = "apple river stone cloud paper green silent quick brown lazy fox dog jumps over moon sun"
CHINESE_WORDS = "你好 世界 模型 训练 数据 推理 部署 实验"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

Turns = list[tuple[str, str]]


def conversations() -> list[Turns]:
    """Two hundred chats of one to three turns, English and Chinese words in no order."""
    rng = random.Random(0)  # noqa: S311 - test data
    words = f"{WORDS} {CHINESE_WORDS}".split()

    def sentence(low: int, high: int) -> str:
        return " ".join(rng.choice(words) for _ in range(rng.randint(low, high)))

    return [[(sentence(4, 12) + "?", sentence(5, 30) + ".") for _ in range(rng.randint(1, 3))] for _ in range(ROWS)]


def datasets(chats: list[Turns]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The same chats in the three formats that ms-swift knows, and the two kinds of file that it cannot use."""
    system = "你是一个助手"
    yield (
        "sharegpt.jsonl",
        [{"system": system, "conversation": [{"human": q, "assistant": a} for q, a in turns]} for turns in chats],
    )
    yield "messages.jsonl", [
        {"messages": [{"role": "system", "content": system}, *(
            {"role": role, "content": text} for q, a in turns for role, text in (("user", q), ("assistant", a))
        )]}
        for turns in chats
    ]  # fmt: skip
    yield "conversations.jsonl", [
        {"conversations": [
            {"from": who, "value": text} for q, a in turns for who, text in (("human", q), ("gpt", a))
        ]}
        for turns in chats
    ]  # fmt: skip
    yield "unknown-format.jsonl", [{"foo": q, "bar": a} for turns in chats for q, a in turns]
    yield "empty.jsonl", []


def write_datasets(out: Path, chats: list[Turns]) -> None:
    """One JSON object a line, UTF-8."""
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in datasets(chats):
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (out / name).write_text("".join(lines), encoding="utf-8")


def write_model(
    out: Path, chats: list[Turns], dtype: str = "bfloat16", head_dim: int = 16, initializer_range: float = 0.02
) -> None:
    """A byte-level BPE tokenizer learned from the chats and 140,000 random weights, or as many as the heads need."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1000, special_tokens=SPECIAL, initial_alphabet=sorted(alphabet))
    bpe.train_from_iterator([q + a for turns in chats for q, a in turns], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHAT_TEMPLATE
    )
    config = Qwen2Config(
        vocab_size=1024, hidden_size=4 * head_dim, intermediate_size=8 * head_dim, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=2, pad_token_id=0, initializer_range=initializer_range,
    )  # fmt: skip
    Qwen2ForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(out)
    tokenizer.save_pretrained(out)


def main() -> None:
    """Write ``models/`` and ``datasets/`` under ``--out``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--head-dim", type=int, default=16)
    parser.add_argument("--initializer-range", type=float, default=0.02)
    args = parser.parse_args()
    chats = conversations()
    write_datasets(args.out / "datasets", chats)
    made = args.out / "models" / MODEL_NAME
    write_model(made, chats, head_dim=args.head_dim, initializer_range=args.initializer_range)


if __name__ == "__main__":
    main()
