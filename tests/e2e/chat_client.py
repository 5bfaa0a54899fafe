"""OpenAI's own client in a pod, whose environment has the address and the key. Prints JSON.

``ask QUESTION``: what each name answers, and what is refused. ``tools NAME QUESTION TOOLS``: the calls that it makes.
``load NAME FOLDER``: one long stream after the other and beside them one short question after the other, until the
folder has a file ``stop``; it has a file ``started`` once a stream is in flight.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai

LONGEST_SECONDS = 240  # that nobody has to stop it


def usual(question: str, tokens: int) -> Any:
    """Members of a request whose answer is always the same."""
    return {"messages": [{"role": "user", "content": question}], "max_tokens": tokens, "temperature": 0}


def streamed(client: openai.OpenAI, seen: Callable[[], None] = lambda: None, **asked: Any) -> dict[str, str]:
    """The pieces put together, and how the stream says that it ended."""
    text = ended = ""
    for chunk in client.chat.completions.create(**asked, stream=True):
        seen()
        text += chunk.choices[0].delta.content or ""
        ended = chunk.choices[0].finish_reason or ended
    return {"text": text, "ended": ended}


def whole(client: openai.OpenAI, **asked: Any) -> dict[str, str]:
    """The same in one piece."""
    (choice,) = client.chat.completions.create(**asked).choices
    return {"text": choice.message.content or "", "ended": choice.finish_reason}


def refusal(client: openai.OpenAI, **asked: Any) -> str:
    """Status and code of an error."""
    try:
        client.chat.completions.create(**asked)
    except openai.APIStatusError as error:
        return f"{error.status_code} {error.code}"
    return "answered"


def tools(name: str, question: str, offered: str) -> dict[str, Any]:
    """The calls of the offered tools, in one piece and put together from a stream's by the client."""
    client, asked = openai.OpenAI(max_retries=0), {"model": name, **usual(question, 200), "tools": json.loads(offered)}
    (plain,) = client.chat.completions.create(**asked).choices
    with client.chat.completions.stream(**asked) as stream:
        (pieces,) = stream.get_final_completion().choices
    return {
        form: {
            "calls": [[call.function.name, json.loads(call.function.arguments)] for call in message.tool_calls or ()],
            "ended": ended,
            "text": message.content or "",
        }
        for form, message, ended in (
            ("whole", plain.message, plain.finish_reason),
            ("streamed", pieces.message, pieces.finish_reason),
        )
    }


def ask(question: str) -> dict[str, Any]:
    """Everything once."""
    client, asked = openai.OpenAI(max_retries=0), usual(question, 32)
    names = [model.id for model in client.models.list()]
    return {
        "names": names,
        "whole": {name: whole(client, model=name, **asked)["text"] for name in names},
        "streamed": {name: streamed(client, model=name, **asked)["text"] for name in names},
        "wrong key": refusal(client.with_options(api_key="wrong"), model=names[0], **asked),
        "unknown": refusal(client, model="nobody", **asked),
        "too long": refusal(client, model=names[0], **usual(question * 2000, 1)),
    }


def load(name: str, at: str) -> dict[str, list[dict[str, Any]]]:
    """All answers, with the time at which each began and ended; the first that fails is the last of its kind."""
    client, folder = openai.OpenAI(max_retries=0), Path(at)
    over = time.time() + LONGEST_SECONDS
    found: dict[str, list[dict[str, Any]]] = {"streams": [], "short": []}

    def repeat(kind: str, once: Callable[[], dict[str, str]]) -> None:
        while time.time() < over and not (folder / "stop").exists():
            begun = time.time()
            try:
                answer = once()
            except Exception as error:
                found[kind].append({"error": f"{type(error).__name__}: {error}"})
                return
            found[kind].append({**answer, "begun": begun, "until": time.time()})

    kinds: dict[str, Callable[[], dict[str, str]]] = {
        "streams": lambda: streamed(client, (folder / "started").touch, model=name, **usual("cloud?", 300)),
        "short": lambda: whole(client, model=name, **usual("river?", 2)),
    }
    threads = [threading.Thread(target=repeat, args=item) for item in kinds.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


if __name__ == "__main__":
    what, *words = sys.argv[1:]
    programs: dict[str, Callable[..., Any]] = {"ask": ask, "tools": tools, "load": load}
    print(json.dumps(programs[what](*words)))
