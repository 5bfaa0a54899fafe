"""Dialogues by which two renderings of a chat are compared, and what they differ by."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Probe:
    """One dialogue that waits for an answer, as a client of the OpenAI API sends it."""

    name: str
    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()


_SYSTEM = {"role": "system", "content": "You are terse. 请用中文回答。"}
_USER = {"role": "user", "content": "What is 2 + 2?"}
_ANSWER = {"role": "assistant", "content": "It is 4."}
_NEXT = {"role": "user", "content": "And 3 + 3?\n\nTell me why 😀"}
_THOUGHT = {"role": "assistant", "content": "<think>\nTwo and two.\n</think>\n\nIt is 4."}
_SPACES = {"role": "user", "content": "  indented\n\tcode  \n"}
_ASK = {"role": "user", "content": "Weather in Beijing and 上海?"}
_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": 'Weather of a "city" <now>',
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "城市"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}


def _call(number: int, city: str) -> Message:
    function = {"name": "get_weather", "arguments": {"city": city, "days": 1}}
    return {"id": f"call{number:05d}", "type": "function", "function": function}


def _answer(number: int, text: str) -> Message:
    return {"role": "tool", "tool_call_id": f"call{number:05d}", "name": "get_weather", "content": text}


_CALLS = {"role": "assistant", "content": "", "tool_calls": [_call(1, "Beijing"), _call(2, "上海")]}
_ANSWERS = (_answer(1, '{"temperature": 21}'), _answer(2, '{"temperature": 25}'))

PROBES = (
    Probe("one question", (_USER,)),
    Probe("system", (_SYSTEM, _USER)),
    Probe("several turns", (_USER, _ANSWER, _NEXT)),
    Probe("system and several turns", (_SYSTEM, _USER, _ANSWER, _NEXT, _ANSWER, _USER)),
    Probe("thoughts in an earlier answer", (_USER, _THOUGHT, _NEXT)),
    Probe("spaces around a question", (_SPACES, _ANSWER, _USER)),
    Probe("tools", (_ASK,), (_TOOL,)),
    Probe("system and tools", (_SYSTEM, _ASK), (_TOOL,)),
    Probe("text before a call", (_ASK, {**_CALLS, "content": "Let me look."}, *_ANSWERS), (_TOOL,)),
    Probe("answers of tools", (_SYSTEM, _ASK, _CALLS, *_ANSWERS), (_TOOL,)),
)


def in_swift_words(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """A dialogue as datasets of ms-swift have it: each call of a tool is a message of its own.

    ms-swift 4 takes calls as a client sends them and does the same with them; ms-swift 3 leaves them out in silence.
    """
    found = []
    for message in messages:
        calls = message.get("tool_calls") or ()
        if not calls or message.get("content"):
            found.append({name: value for name, value in message.items() if name != "tool_calls"})
        for call in calls:
            found.append({"role": "tool_call", "content": json.dumps(call["function"], ensure_ascii=False)})
    return found


def difference(
    name: str, ours: Sequence[int], theirs: Sequence[int], decode: Callable[[Sequence[int]], str]
) -> Optional[str]:
    """The first place where two renderings part, in words; None when they are the same."""
    if list(ours) == list(theirs):
        return None
    shared = zip(ours, theirs)
    place = next((at for at, (one, other) in enumerate(shared) if one != other), min(len(ours), len(theirs)))
    around = slice(max(0, place - 4), place + 8)
    return (
        f"{name}: from token {place} on ms-swift has {decode(ours[around])!r}, "
        f"the chat template {decode(theirs[around])!r}"
    )
