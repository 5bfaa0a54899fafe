"""A client's request as ms-swift understands it. Pure.

ms-swift drops what it does not know without a word: the newer name of a limit, a single stop word, an answer format.
What it knows by another name is renamed; what it cannot do is refused, for a client that is not told gets a wrong
answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import turns
from .errors import Problem

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
_MEDIA = ("images", "audios", "videos")
_REMOTE = ("http://", "https://", "data:")
# Numbers outside of these end the engine for every client: chances that are no numbers any more are an assertion in
# the kernel that draws a token, and the memory of all answers together is taken at once.
_RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 100), "top_p": (0, 1), "min_p": (0, 1), "repetition_penalty": (0.01, 100),
    "presence_penalty": (-100, 100), "frequency_penalty": (-100, 100), "length_penalty": (-100, 100),
    "n": (1, 128), "best_of": (1, 128), "num_beams": (1, 32), "top_k": (-1, 1 << 31),
    "seed": (-(1 << 63), (1 << 63) - 1), "max_tokens": (0, 1 << 31), "max_completion_tokens": (0, 1 << 31),
    "top_logprobs": (-1, 1000), "prompt_logprobs": (-1, 1000),
}  # fmt: skip
COLDEST = 0.01  # temperature beside 0: logits divided by less are infinite


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object that was sent; raises ``Problem``."""
    try:
        asked = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"the body is not valid JSON: {error}") from error
    if not isinstance(asked, dict):
        raise Problem(400, "the body is not a JSON object")
    return asked


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


def written(asked: Mapping[str, Any]) -> bytes:
    """A request as it is sent; raises ``Problem`` for what can be read but not be written."""
    try:
        return json.dumps(asked, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        raise Problem(400, "the body has half of a surrogate pair, which is no text") from error
    except ValueError as error:
        raise Problem(400, f"the body has a number that is too large: {error}") from error


def model_of(asked: Mapping[str, Any]) -> str:
    """The name that is asked; raises ``Problem``."""
    name = asked.get("model")
    if not isinstance(name, str) or not name:
        raise Problem(400, "you must provide a model parameter", param="model")
    return name


def wants_stream(asked: Mapping[str, Any]) -> bool:
    """Whether the answer is sent piece by piece."""
    return asked.get("stream") is True


def wants_usage(asked: Mapping[str, Any]) -> bool:
    """Whether a stream ends with the count of its tokens."""
    options = asked.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def wants_tools(asked: Mapping[str, Any]) -> bool:
    """Whether the answer may be the call of a tool."""
    return bool(asked.get("tools")) and asked.get("tool_choice") != "none"


def repair(path: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The request for ms-swift; raises ``Problem``."""
    _check_format(asked)
    _check_media(asked)
    _check_numbers(asked)
    done = {name: value for name, value in asked.items() if value is not None}  # null is the same as absent
    if done.get("temperature"):
        done["temperature"] = max(done["temperature"], COLDEST)
    limit = done.pop("max_completion_tokens", None)
    if limit is not None:
        done["max_tokens"] = limit
    if isinstance(done.get("stop"), str):
        done["stop"] = [done["stop"]]
    if path == CHAT and isinstance(done.get("messages"), list):
        done["messages"] = turns.of(done["messages"])
    for name in ("prompt", "input"):
        if isinstance(done.get(name), list):
            done[name] = _single(name, done[name])
    return done


def passed_on(asked: Mapping[str, Any], *, stops: Sequence[int] = ()) -> dict[str, Any]:
    """The request for an engine's own server, which knows OpenAI's words; raises ``Problem``.

    ``stops``: tokens that end an answer in ms-swift, and that the model's own configuration does not name.
    """
    _check_media(asked)
    _check_numbers(asked)
    done = dict(asked)
    if wants_stream(asked):
        options = asked.get("stream_options")
        done["stream_options"] = {**(options if isinstance(options, Mapping) else {}), "include_usage": True}
    if stops:
        given = asked.get("stop_token_ids")
        done["stop_token_ids"] = [*(given if isinstance(given, list) else ()), *stops]
    return done


def _single(name: str, texts: list[Any]) -> str:
    if len(texts) == 1 and isinstance(texts[0], str):
        return texts[0]
    raise Problem(400, f"{name} has to be one text: ask once for each of several", param=name)


def _check_numbers(asked: Mapping[str, Any]) -> None:
    for name, (least, most) in _RANGES.items():
        value = asked.get(name)
        if value is None:
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not least <= value <= most or not math.isfinite(value):
            raise Problem(400, f"{name} has to be a number from {least:g} to {most:g}", param=name)


def _check_format(asked: Mapping[str, Any]) -> None:
    wanted = asked.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, Mapping) else wanted
    if kind not in (None, "text"):
        raise Problem(400, f"response_format {kind!r} is not supported by this server", param="response_format")


def _check_media(asked: Mapping[str, Any]) -> None:
    """ms-swift opens a path as readily as a URL: any file that the server can read could be asked about."""
    messages = asked.get("messages")
    turns = [turn for turn in messages if isinstance(turn, Mapping)] if isinstance(messages, list) else []
    values = [value for turn in turns for value in _parts(turn)]
    values += [value for name in _MEDIA for value in _flat(asked.get(name))]
    if not all(isinstance(value, str) and value.strip().lower().startswith(_REMOTE) for value in values):
        raise Problem(400, "media have to be given as an http, https or data URL", param="messages")


def _parts(message: Mapping[str, Any]) -> Iterator[Any]:
    content = message.get("content")
    for part in content if isinstance(content, list) else ():
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text":
            continue
        value = part.get(kind) if isinstance(part, Mapping) and isinstance(kind, str) else None
        yield from _flat(value.get("url") if isinstance(value, Mapping) else value, absent=True)


def _flat(value: Any, *, absent: bool = False) -> Iterator[Any]:
    """The values of a list, of lists in it as well: a video may be given as its frames."""
    if isinstance(value, list):
        for item in value:
            yield from _flat(item.get("url") if isinstance(item, Mapping) else item, absent=True)
    elif value is not None or absent:
        yield value
