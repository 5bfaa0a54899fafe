"""Files of chats, good ones and broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from swiftop.runner.rows.check import Options, Result, check

Json = dict[str, Any]

SHAREGPT: Json = {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"}]}
MESSAGES: Json = {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]}
ALPACA: Json = {"instruction": "Translate", "input": "Haus", "output": "house"}
QUERY: Json = {"query": "Hello", "response": "Hi"}


def line(row: object) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode()


def written(directory: Path, *lines: bytes, name: str = "chats.jsonl") -> Path:
    path = directory / name
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def checked(directory: Path, *lines: bytes, name: str = "chats.jsonl", **options: Any) -> Result:
    """What the check finds in a file of these lines."""
    return check(written(directory, *lines, name=name), Options(**options))


def whys(directory: Path, *lines: bytes, **options: Any) -> list[tuple[int, str]]:
    return [(bad.line, bad.why) for bad in checked(directory, *lines, **options).bad_rows]


def why(directory: Path, row: object, **options: Any) -> str:
    """What is wrong with a row, empty when it is good."""
    found = whys(directory, row if isinstance(row, bytes) else line(row), **options)
    return found[0][1] if found else ""


def turns(*roles: str) -> Json:
    """A row of turns of these roles."""
    return {"messages": [{"role": role, "content": f"words of {role}"} for role in roles]}
