"""OpenAI's own client in a pod, whose environment has the key: ``chat_client.py URL WHAT ...``. Prints JSON.

``ask QUESTION``: what each name answers, and what is refused. ``tools NAME QUESTION TOOLS``: the calls that it makes.
``load NAME FOLDER TOKENS STREAMS SHORT``: in so many threads one long stream after the other, in others one short
question after the other, until the folder has a file ``stop``; it has a file ``started`` once a stream is in flight.
``hold SECONDS``: a connection that is kept though nothing is asked.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai

LONGEST_SECONDS = 1500  # that nobody has to stop it
HELD = "/tmp/held"  # is there once the connection is


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


def tools(client: openai.OpenAI, name: str, question: str, offered: str) -> dict[str, Any]:
    """The calls of the offered tools, in one piece and put together from a stream's by the client."""
    asked = {"model": name, **usual(question, 200), "tools": json.loads(offered)}
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


def ask(client: openai.OpenAI, question: str) -> dict[str, Any]:
    """Everything once."""
    asked = usual(question, 32)
    names = [model.id for model in client.models.list()]
    return {
        "names": names,
        "whole": {name: whole(client, model=name, **asked)["text"] for name in names},
        "streamed": {name: streamed(client, model=name, **asked)["text"] for name in names},
        "wrong key": refusal(client.with_options(api_key="wrong"), model=names[0], **asked),
        "unknown": refusal(client, model="nobody", **asked),
        "too long": refusal(client, model=names[0], **usual(question * 2000, 1)),
    }


def load(
    client: openai.OpenAI, name: str, folder: Path, *, tokens: int, threads: dict[str, int]
) -> dict[str, list[dict[str, Any]]]:
    """All answers, with the time at which each began and ended; the first that fails is the last of its thread."""
    over = time.time() + LONGEST_SECONDS
    found: dict[str, list[dict[str, Any]]] = {"streams": [], "short": []}

    def repeat(kind: str, once: Callable[[], dict[str, str]]) -> None:
        while time.time() < over and not (folder / "stop").exists():
            begun = time.time()
            try:
                answer = once()
            except Exception as error:
                found[kind].append({"error": f"{type(error).__name__}: {error}", "begun": begun})
                return
            found[kind].append({**answer, "begun": begun, "until": time.time()})
            with (folder / "answered").open("a") as answered:
                answered.write(".")

    kinds: dict[str, Callable[[], dict[str, str]]] = {
        "streams": lambda: streamed(client, (folder / "started").touch, model=name, **usual("cloud?", tokens)),
        "short": lambda: whole(client, model=name, **usual("river?", 2)),
    }
    running = [threading.Thread(target=repeat, args=item) for item in kinds.items() for _ in range(threads[item[0]])]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return found


def hold(url: str, seconds: float) -> str:
    """For a server that goes away meanwhile: it has to close first."""
    with httpx.Client(trust_env=False) as client:
        client.get(f"{url}/models")
        Path(HELD).touch()
        time.sleep(seconds)
    return "held"


def main() -> None:
    """What the words say."""
    url, what, *words = sys.argv[1:]
    client = openai.OpenAI(base_url=url, max_retries=0, timeout=300)
    if what == "ask":
        print(json.dumps(ask(client, words[0])))
    elif what == "tools":
        print(json.dumps(tools(client, *words)))
    elif what == "load":
        tokens, streams, short = map(int, words[2:])
        threads = {"streams": streams, "short": short}
        print(json.dumps(load(client, words[0], Path(words[1]), tokens=tokens, threads=threads)))
    else:
        print(json.dumps(hold(url, float(words[0]))))


if __name__ == "__main__":
    main()
