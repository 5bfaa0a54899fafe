"""Runs inside an environment with the real ms-swift: the task of the chat template, on tokenizers of several families.

Each family has the tiny model's tokenizer with special tokens of its own. Output, after a line ``RESULTS``: a JSON
object with what each case gave, by name.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY / "operator"), str(REPOSITORY / "tests" / "fakes")]
tiny_model = importlib.import_module("tiny_model")
ROOT = Path("/tmp/templates")
CHATML = tiny_model.CHAT_TEMPLATE
SYSTEM = "Answer in rhymes: \"so\" '{{x}}'\n第二行"
HEADER = "<|start_header_id|>"
LLAMA3 = (
    "{{ '<|begin_of_text|>' }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
NO_THOUGHTS = (
    "{%- if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
)
SPECIAL = {
    "llama3": ["<|begin_of_text|>", HEADER, "<|end_header_id|>", "<|eot_id|>"],
    "qwen": ["<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>"],
}


def model(name: str, chat_template: str, *, special: str = "qwen", bos: bool = False) -> Path:
    """A folder with a tokenizer and a configuration; a check of the template needs no weights."""
    from tokenizers import AddedToken
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    path = ROOT / name
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "tiny")
    tokenizer.add_tokens([AddedToken(token, special=True) for token in SPECIAL[special]], special_tokens=True)
    if bos:
        tokenizer.bos_token = "<|endoftext|>"
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<|endoftext|> $A", pair=None, special_tokens=[("<|endoftext|>", tokenizer.bos_token_id)]
        )
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(path)
    (path / "config.json").write_text((ROOT / "tiny" / "config.json").read_text())
    return path


def check(path: Path, **request: object) -> dict[str, Any]:
    """What the task says of a folder, and how its template looks then."""
    task = importlib.import_module("swiftop.runner.export.template")
    result = dict(task.work({"artifact": str(path), **request}, lambda told: None))
    return {**result, "file": (path / "chat_template.jinja").read_text()}


def twice(path: Path, **request: object) -> list[dict[str, Any]]:
    """As it is, baked, and once more."""
    return [check(path, **request), check(path, **request, bake=True), check(path, **request)]


def cases() -> dict[str, Any]:
    """All of them."""
    jinja = importlib.import_module("swiftop.runner.chat.jinja")
    chatml = "<|im_start|>user\n{{QUERY}}<|im_end|>\n<|im_start|>assistant\n"
    parts = jinja.Parts(
        prefix="", prompt=chatml, separator="<|im_end|>\n", suffix="<|im_end|>\n", tools=jinja.HERMES,
        system_prefix="<|im_start|>system\n{{SYSTEM}}<|im_end|>\n",
    )  # fmt: skip
    answer = "message['content'] or ''"
    switch = jinja.render(parts).replace(answer, f"({answer}).split('</think>')[-1] | trim") + NO_THOUGHTS
    trained = ROOT / "trained"
    trained.mkdir()
    (trained / "args.json").write_text(json.dumps({"model_type": "qwen2", "template": "qwen2_5", "system": SYSTEM}))
    qwen = {"modelType": "qwen2", "template": "qwen2_5"}
    return {
        "no default system, no tools": twice(model("plain", CHATML), **qwen),
        "no default system": twice(model("tools", jinja.render(parts)), **qwen),
        "trained with a system prompt": twice(model("system", jinja.render(parts)), checkpoint=str(trained)),
        "a beginning of its own": twice(model("bos", CHATML, bos=True), modelType="qwen2", template="chatml"),
        "another way to tell tools": twice(
            model("llama", LLAMA3, special="llama3"), modelType="qwen2", template="llama3"
        ),
        "not valid Jinja": [check(model("broken", "{% for %}"), **qwen)],
        "unknown to ms-swift": [check(model("unknown", CHATML), template="none", modelType="qwen2")],
        "with thoughts": twice(model("qwen3", jinja.render(parts)), modelType="qwen3", template="qwen3"),
        "with thoughts and a switch": twice(model("switch", switch), modelType="qwen3", template="qwen3"),
    }


def main() -> None:
    """Run all cases, print."""
    tiny_model.write_model(ROOT / "tiny", tiny_model.conversations())
    found = cases()
    print("RESULTS")
    print(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    main()
