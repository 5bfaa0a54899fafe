"""A plugin of ms-swift that makes the real engine misbehave on demand, by files in the volume.

``say``: the next answers are this text. ``slow``: so many seconds a token. ``hang``: generation never ends. ``raise``:
generation fails with this message, ``raise-late`` after some tokens.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoTokenizer, GenerationMixin, LogitsProcessor

WORK = Path("/mnt")
AFTER = 5  # tokens
_generate = GenerationMixin.generate


def read(name: str) -> str:
    path = WORK / name
    return path.read_text() if path.exists() else ""


class _Demanded(LogitsProcessor):  # type: ignore[misc]
    def __init__(self, model: Any) -> None:
        self.steps = 0
        self.tokens: list[int] = []
        if said := read("say"):
            tokenizer = AutoTokenizer.from_pretrained(model.config._name_or_path)
            self.tokens = [*tokenizer(said, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self.steps += 1
        while read("hang"):
            time.sleep(0.1)
        time.sleep(float(read("slow") or 0))
        if (late := read("raise-late")) and self.steps > AFTER:
            raise RuntimeError(late)
        if early := read("raise"):
            raise RuntimeError(early)
        if self.steps <= len(self.tokens):
            scores[:] = -1e4
            scores[:, self.tokens[self.steps - 1]] = 0
        elif not self.tokens and read("slow"):
            scores[:, :3] = -1e4  # no end
        return scores


def generate(self: Any, *args: Any, **kwargs: Any) -> Any:
    found = [*(kwargs.pop("logits_processor", None) or ()), _Demanded(self)]
    return _generate(self, *args, logits_processor=transformers.LogitsProcessorList(found), **kwargs)


GenerationMixin.generate = generate
