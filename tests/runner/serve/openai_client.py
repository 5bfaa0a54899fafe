"""OpenAI's own client: ``openai_client.py URL chat|tools``, the key in ``SERVE_API_KEY``. Prints what it got."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import openai

TURN: Any = [{"role": "user", "content": "Hello river"}]
TOOLS: Any = [
    {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}},
]


def failing(client: openai.OpenAI, **asked: Any) -> str:
    try:
        client.chat.completions.create(**{"model": "tiny", "messages": TURN, "max_tokens": 4, **asked})
    except openai.APIStatusError as error:
        return f"{type(error).__name__} {error.code}"
    return "nothing"


def called(client: openai.OpenAI, **asked: Any) -> dict[str, Any]:
    """The call of a tool, put together from its pieces by the client."""
    with client.chat.completions.stream(**asked, tools=TOOLS) as stream:
        choice = stream.get_final_completion().choices[0]
    (call,) = choice.message.tool_calls
    arguments = json.loads(call.function.arguments)
    return {"name": call.function.name, "arguments": arguments, "reason": choice.finish_reason}


def main() -> None:
    client = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key=os.environ["SERVE_API_KEY"], max_retries=0)
    usual: Any = {"model": "ada", "messages": TURN, "max_tokens": 12, "temperature": 0}
    if sys.argv[2] == "tools":
        print(json.dumps(called(client, **{**usual, "max_tokens": 200})))
        return
    chat = client.chat.completions.create(**usual)
    chunks = list(client.chat.completions.create(**usual, stream=True, stream_options={"include_usage": True}))
    with client.chat.completions.stream(**usual) as stream:
        try:
            helped = stream.get_final_completion().choices[0]
        except openai.LengthFinishReasonError as error:
            helped = error.completion.choices[0]
    told = {
        "models": [model.id for model in client.models.list()],
        "model": chat.model,
        "text": chat.choices[0].message.content,
        "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
        "usage": [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [chat.usage.completion_tokens],
        "helped": [helped.message.role, helped.message.content, helped.finish_reason],
        "wrong key": failing(client.with_options(api_key="wrong")),
        "unknown": failing(client, model="nobody"),
        "too long": failing(client, messages=[{"role": "user", "content": "river " * 2000}]),
        "too long in a stream": failing(client, messages=[{"role": "user", "content": "river " * 2000}], stream=True),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
