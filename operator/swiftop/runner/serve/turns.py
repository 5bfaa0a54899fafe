"""The turns of a chat as every ms-swift understands them. Pure.

A turn that called tools has no content in OpenAI's form, which ms-swift cannot read, and its older versions do not know
such calls: each is a turn of its own there, and the results follow in the order of the calls.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import Problem

_RESULTS = ("tool", "tool_response")


def of(messages: Sequence[Any]) -> list[dict[str, Any]]:
    """The turns for ms-swift; raises ``Problem``."""
    if not all(isinstance(message, Mapping) for message in messages):
        raise Problem(400, "each message has to be an object", param="messages")
    found: list[dict[str, Any]] = []
    waiting: list[Any] = []  # ids of the calls whose results have not come
    results: list[Mapping[str, Any]] = []
    for message in messages:
        if message.get("role") in _RESULTS:
            results.append(message)
            continue
        found += _in_order(results, waiting)
        results, waiting = [], []
        calls = message.get("tool_calls") if message.get("role") == "assistant" else None
        if not calls:
            found.append(_with_content(message))
            continue
        if message.get("content"):
            found.append({"role": "assistant", "content": message["content"]})
        found += [_call(call) for call in calls]
        waiting = [call.get("id") for call in calls]
    return [*found, *_in_order(results, waiting)]


def _with_content(message: Mapping[str, Any]) -> dict[str, Any]:
    return {**message, "content": ""} if message.get("content") is None else dict(message)


def _call(call: Any) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise Problem(400, "each of tool_calls has to have a function with a name", param="messages")
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        with contextlib.suppress(ValueError):  # then as it was said
            arguments = json.loads(arguments)
    content = json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False)
    return {"role": "tool_call", "content": content}


def _in_order(results: Sequence[Mapping[str, Any]], calls: Sequence[Any]) -> list[dict[str, Any]]:
    """Results stand where their calls do; where that cannot be told they stay."""
    places = {str(call): place for place, call in enumerate(calls)}
    ids = [str(result.get("tool_call_id")) for result in results]
    if len(places) == len(calls) and sorted(ids) == sorted(places):
        results = [result for _, result in sorted(zip(ids, results), key=lambda one: places[one[0]])]
    return [_with_content(result) for result in results]
