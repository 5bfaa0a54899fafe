"""ms-swift's answer as OpenAI gives it. Pure.

ms-swift names its folder instead of the model that was asked, leaves the text of a tool call in the content, ends such
an answer with ``stop``, and gives calls in a stream no index.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Optional

TOOL_CALLS = "tool_calls"
# How the models' own words for a call begin, by the agent templates of ms-swift.
MARKERS = (
    "<tool_call>", "<|tool_call", "<｜tool", "<function=", "[TOOL_CALLS]", "<|python_tag|>", "✿FUNCTION✿", "Action:",
    "<minimax:tool_call>", "<seed:tool_call>",
)  # fmt: skip


def repair(answer: Mapping[str, Any], *, name: str, tools: bool) -> dict[str, Any]:
    """A whole answer."""
    done = {key: value for key, value in answer.items() if value is not None}
    done["model"] = name
    choices = answer.get("choices")
    if isinstance(choices, list):
        done["choices"] = [_choice(choice, tools=tools) for choice in choices]
    return done


def _choice(choice: Mapping[str, Any], *, tools: bool) -> dict[str, Any]:
    done = {key: value for key, value in choice.items() if value is not None or key in ("finish_reason", "logprobs")}
    message = choice.get("message")
    if not isinstance(message, Mapping):
        return done
    calls = message.get(TOOL_CALLS) if tools else None
    shown = {key: value for key, value in message.items() if value is not None and key != TOOL_CALLS}
    if calls:
        shown["content"] = before_call(str(message.get("content") or "")) or None
        shown[TOOL_CALLS] = [dict(call) for call in calls]
        done["finish_reason"] = TOOL_CALLS
    return {**done, "message": {"content": None, **shown}}


def before_call(text: str) -> str:
    """What was said before the call."""
    at = _call_at(text)
    return text[:at].strip() if at is not None else ""


def _call_at(text: str) -> Optional[int]:
    found = [at for at in (text.find(marker) for marker in MARKERS) if at >= 0]
    return min(found) if found else None


class _Held:
    """The text of one choice: what may belong to a call is held back until the end shows whether it is one."""

    def __init__(self) -> None:
        self._text = ""
        self._in_call = False

    def feed(self, text: str) -> str:
        self._text += text
        if self._in_call:
            return ""
        at = _call_at(self._text)
        self._in_call = at is not None
        cut = at if at is not None else len(self._text) - _begun(self._text)
        said, self._text = self._text[:cut], self._text[cut:]
        return said

    def rest(self) -> str:
        rest, self._text = self._text, ""
        return rest


def _begun(text: str) -> int:
    """Length of the end of ``text`` that may be the beginning of a marker."""
    longest = max(map(len, MARKERS))
    for length in range(min(longest, len(text)), 0, -1):
        if any(marker.startswith(text[-length:]) for marker in MARKERS):
            return length
    return 0


class Stream:
    """The events of one stream."""

    def __init__(self, *, name: str, tools: bool, usage: bool) -> None:
        self._name = name
        self._tools = tools
        self._usage = usage
        self._told: Optional[Mapping[str, Any]] = None  # the count of tokens, as last told
        self._last: dict[str, Any] = {}
        self._held: dict[int, _Held] = {}
        self._begun: set[int] = set()

    @property
    def usage(self) -> Mapping[str, Any]:
        """Tokens, as far as they were told."""
        return self._told or {}

    def feed(self, event: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What is sent for an event of ms-swift's."""
        self._told = event.get("usage") or self._told
        shown = {key: value for key, value in event.items() if value is not None and key not in ("usage", "choices")}
        shown["model"] = self._name
        if shown.get("object") == "text_completion.chunk":
            shown["object"] = "text_completion"
        if self._usage:
            shown["usage"] = None
        self._last = shown
        choices = event.get("choices") or ()
        if not all("delta" in choice for choice in choices):  # of a text completion
            return [{**shown, "choices": [dict(choice) for choice in choices]}]
        return [{**shown, "choices": [said]} for choice in choices for said in self._deltas(choice)]

    def end(self) -> list[dict[str, Any]]:
        """What is sent after the last one."""
        return [{**self._last, "choices": [], "usage": dict(self.usage)}] if self._usage and self._told else []

    def _deltas(self, choice: Mapping[str, Any]) -> list[dict[str, Any]]:
        delta, index = choice["delta"], choice.get("index", 0)
        shown = {key: value for key, value in delta.items() if value is not None and key not in (TOOL_CALLS, "role")}
        calls = delta.get(TOOL_CALLS) if self._tools else None
        reason = choice.get("finish_reason")
        if self._tools:
            held = self._held.setdefault(index, _Held())
            text = held.feed(shown.pop("content", ""))
            if reason is not None and not calls:
                text += held.rest()
            if text:
                shown["content"] = text
        if index not in self._begun:
            self._begun.add(index)
            shown = {"role": delta.get("role") or "assistant", "content": "", **shown}
        made = {key: value for key, value in choice.items() if value is not None or key == "logprobs"}
        said = {**made, "delta": shown, "finish_reason": None}
        if calls:
            shown[TOOL_CALLS] = [{"index": number, **call} for number, call in enumerate(calls)]
            last = {"index": index, "delta": {}, "finish_reason": TOOL_CALLS}
            return [said, last]
        if reason is None and not shown:
            return []
        return [{**said, "finish_reason": reason}]


_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # made once: it is used for each token


def event(content: Mapping[str, Any]) -> bytes:
    """One event of a stream, as bytes."""
    return f"data: {_ENCODE(content)}\n\n".encode()


LAST, BETWEEN = b"data: [DONE]", b"\n\n"
DONE = LAST + BETWEEN


def content_of(event: bytes) -> dict[str, Any]:
    """What an event of a stream says."""
    found: dict[str, Any] = json.loads(event[5:].decode())
    return found


class Events:
    """The events in a stream of bytes, however it is cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The complete ones; the last mark of the stream is none of them."""
        *blocks, self._rest = (self._rest + data).split(BETWEEN)
        return [content_of(block) for block in blocks if block.startswith(b"data:") and block != LAST]
