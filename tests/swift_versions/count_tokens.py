"""Runs inside an environment with the real ms-swift: checks a file of chats with the tokenizer of the tiny model.

Output, after a line `RESULTS`: what the check found, and how many tokens transformers itself counts in all turns.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "operator"), str(ROOT / "tests" / "fakes")]
tiny_model = importlib.import_module("tiny_model")
task = importlib.import_module("swiftop.runner.rows.task")


def main() -> None:
    """Check, count again, print."""
    directory, chats = Path(tempfile.mkdtemp()), tiny_model.conversations()
    tiny_model.write_datasets(directory, chats)
    tiny_model.write_model(directory / "model", chats)
    request = {"path": str(directory / "conversations.jsonl"), "tokenizer": str(directory / "model"), "maxLength": 60}
    found = task.work(request, lambda _told: None)
    tokenizer = importlib.import_module("transformers").AutoTokenizer.from_pretrained(directory / "model")
    texts = ["\n".join(text for turn in turns for text in turn) for turns in chats]
    lengths = [len(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    print("RESULTS")
    print(json.dumps({"found": found, "tokens": sum(lengths), "over": sum(length > 60 for length in lengths)}))


if __name__ == "__main__":
    main()
