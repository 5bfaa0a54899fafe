"""Tokens of texts, counted by the tokenizer of a model of a hub: with the libraries of the image, in a task only."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer

from .check import CountTokens

_FILES = ["*.json", "*.model", "*.tiktoken", "*.txt"]  # no weights, and no code of the repository


def counter(model: str, *, hub: str) -> CountTokens:
    """Counts with the tokenizer of ``model``, a hub id or a folder; without special tokens and chat template."""
    folder = model if Path(model).is_dir() else _download(model, hub)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)

    def count(texts: list[str]) -> list[int]:
        found = tokenizer(texts, add_special_tokens=False, return_attention_mask=False, verbose=False)
        return [len(ids) for ids in found["input_ids"]]

    return count


def _download(model: str, hub: str) -> str:
    if hub == "huggingface":
        from huggingface_hub import snapshot_download  # noqa: PLC0415

        return str(snapshot_download(model, allow_patterns=_FILES))
    from modelscope import snapshot_download as from_modelscope  # noqa: PLC0415

    return str(from_modelscope(model, allow_patterns=_FILES))
