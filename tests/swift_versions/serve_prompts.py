"""Runs inside an environment with the real ms-swift: the task that decides whose server gets a chat.

Output, after a line ``RESULTS``: a JSON object with what each case gave, by name.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY / "operator"), str(REPOSITORY / "tests" / "fakes"), str(Path(__file__).parent)]
templates = importlib.import_module("export_templates")
ROOT = templates.ROOT
SYSTEM = "Answer in rhymes."
# As a checkpoint of a training has it, which ms-swift's server reads of the first adapter.
ARGUMENTS = {
    "swift_version": "4.6.0", "model_type": "qwen2", "template": "qwen2_5", "system": SYSTEM, "tuner_type": "lora",
    "train_type": "lora", "task_type": "causal_lm",
}  # fmt: skip


def asked(folder: Path, *words: str, adapters: tuple[Path, ...] = ()) -> dict[str, Any]:
    """What the task says, and how a template that it has made begins."""
    task = importlib.import_module("swiftop.runner.serve.prompt")
    directory = ROOT / f"made-{folder.name}-{len(words)}-{len(adapters)}"
    directory.mkdir(exist_ok=True)
    given = ["--model", str(folder), "--model_type", "qwen2", *words]
    given += ["--adapters", *(f"a{number}={path}" for number, path in enumerate(adapters))] if adapters else []
    request = {"words": given, "model": str(folder), "adapters": list(map(str, adapters)), "directory": str(directory)}
    result = dict(task.work(request, lambda told: None))
    made = Path(result.get("chatTemplate") or "/nonexistent")
    own = (folder / "chat_template.jinja").read_text()
    text = made.read_text() if made.is_file() else ""
    return {**result, "own": own, "made": text, "tools": with_tools(folder, text) if text else []}


def with_tools(folder: Path, template: str) -> list[str]:
    """A prompt with a tool as a client sends it, and as a server hands it on."""
    tokenizer = importlib.import_module("transformers").AutoTokenizer.from_pretrained(folder)
    function = {"name": "f", "parameters": {"type": "object", "properties": {}}}
    dumped = {"name": "f", "description": None, "parameters": function["parameters"], "strict": None}
    turns = [{"role": "user", "content": "x"}]
    return [
        tokenizer.apply_chat_template(
            turns, tools=[{"type": "function", "function": one}], chat_template=template, tokenize=False
        )
        for one in (function, dumped)
    ]


def adapter() -> Path:
    """Of a training with a system prompt of its own."""
    path: Path = ROOT / "adapter"
    path.mkdir(exist_ok=True)
    (path / "args.json").write_text(json.dumps(ARGUMENTS))
    (path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"]}))
    return path


def without_ends(folder: Path) -> Path:
    """As a base model, whose configuration ends an answer at the end of a text only."""
    tokenizer = importlib.import_module("transformers").AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": tokenizer.eos_token_id}))
    return folder


def cases() -> dict[str, Any]:
    """All of them."""
    jinja = importlib.import_module("swiftop.runner.chat.jinja")
    chatml = "<|im_start|>user\n{{QUERY}}<|im_end|>\n<|im_start|>assistant\n"
    parts = jinja.Parts(
        prefix="", prompt=chatml, separator="<|im_end|>\n", suffix="<|im_end|>\n", tools=jinja.HERMES,
        system_prefix="<|im_start|>system\n{{SYSTEM}}<|im_end|>\n",
    )  # fmt: skip
    default = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    equal = templates.model("equal", jinja.with_defaults(jinja.render(parts), system=default))
    plain = templates.model("plain-served", templates.CHATML)
    other = templates.model("llama-served", templates.LLAMA3, special="llama3")
    qwen = ("--template", "qwen2_5")
    return {
        "equal": asked(equal, *qwen),
        "a short limit": asked(equal, *qwen, "--max_model_len", "16"),
        "no default system, no tools": asked(plain, *qwen),
        "a system prompt of the spec": asked(equal, *qwen, "--system", SYSTEM),
        "a system prompt of the training": asked(equal, adapters=(adapter(),)),
        "none can be made": asked(other, "--template", "llama3"),
        "unknown to ms-swift": asked(plain, "--template", "nonsense"),
        "an unknown flag": asked(plain, *qwen, "--nonsense", "1"),
        "no end but that of a text": asked(without_ends(templates.model("ends", templates.CHATML)), *qwen),
    }


def main() -> None:
    """Run all cases, print."""
    tiny = templates.tiny_model
    tiny.write_model(ROOT / "tiny", tiny.conversations())
    found = cases()
    print("RESULTS")
    print(json.dumps(found, ensure_ascii=False))


if __name__ == "__main__":
    main()
