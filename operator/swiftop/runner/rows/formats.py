"""What a row says in ms-swift's terms: its format, and its turns with their roles in order.

The formats are those that ms-swift 4.6 tells apart by their columns (``swift/dataset/preprocessor/core.py``), with the
names of columns and roles that it knows. It is stricter in what training makes nothing of, where ms-swift drops a row,
merges turns or trains on nothing and says little: an empty turn, two turns of one role in a row, an end without an
answer.

| format | columns | a turn |
|---|---|---|
| messages | messages, conversation or conversations | role and content |
| sharegpt | the same | from and value, or a pair such as human and assistant |
| alpaca | instruction, input, output (and history, system) | |
| queryResponse | one such as query or prompt, one such as response or answer (and history, system) | |
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, Optional

from . import reading
from .reading import Bad, quoted

AUTO, SHAREGPT, MESSAGES, ALPACA, QUERY_RESPONSE = "Auto", "sharegpt", "messages", "alpaca", "queryResponse"

SYSTEM, USER, ASSISTANT, TOOL_CALL, TOOL_RESPONSE = "system", "user", "assistant", "tool_call", "tool_response"
ROLES = {
    SYSTEM: SYSTEM,
    **dict.fromkeys((USER, "human"), USER),
    **dict.fromkeys((ASSISTANT, "gpt", "bot"), ASSISTANT),
    **dict.fromkeys((TOOL_CALL, "function_call", "function-call"), TOOL_CALL),
    **dict.fromkeys(
        (TOOL_RESPONSE, "tool", "function_response", "function-response", "observation", "observations"), TOOL_RESPONSE
    ),
}
"""What each role is to ms-swift."""

_START, _OPENING = "the beginning", "the system prompt"
_NEXT = {
    _START: (SYSTEM, USER),
    _OPENING: (USER,),
    USER: (ASSISTANT, TOOL_CALL, TOOL_RESPONSE),
    ASSISTANT: (USER, TOOL_CALL, TOOL_RESPONSE),
    TOOL_CALL: (TOOL_CALL, TOOL_RESPONSE, USER),
    TOOL_RESPONSE: (TOOL_RESPONSE, TOOL_CALL, ASSISTANT),
}
_FOLLOWS = frozenset((before, role) for before, roles in _NEXT.items() for role in roles)
_LEARNED = (ASSISTANT, TOOL_CALL)  # what the model learns to write

_TURN_COLUMNS = ("messages", "conversation", "conversations")
_SYSTEM_COLUMNS = ("system", "system_prompt")
_QUERY_COLUMNS = ("query", "prompt", "input", "instruction", "question", "problem")
_RESPONSE_COLUMNS = (
    *("response", "answer", "output", "targets", "target", "answer_key", "answers", "solution"),
    *("text", "completion", "content"),
)
_ASK_KEYS, _ANSWER_KEYS = ("user", "human"), ("assistant", "gpt", "bot")


class Turns(NamedTuple):
    """What a good row comes to."""

    format: str
    turns: int  # without the system prompt
    characters: int  # of all turns, the system prompt among them
    texts: list[str]  # the turns' own, where they are texts


Row = Mapping[str, Any]
Reader = Callable[[Row], Turns]


def renamed(row: dict[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The row with its columns named as ``columns`` says: theirs, in any case, to ms-swift's."""
    return {columns.get(name.lower(), name): value for name, value in row.items()}


def format_of(row: Row) -> str:
    """Which format a row has; raises ``Bad`` when it is none."""
    turns = next((row[name] for name in _TURN_COLUMNS if row.get(name) is not None), None)
    if turns is not None:
        first = next(iter(_listed(turns)), None)
        return MESSAGES if isinstance(first, dict) and ("role" in first or "content" in first) else SHAREGPT
    if "instruction" in row and ("input" in row or "output" in row):
        return ALPACA
    if _column(row, _QUERY_COLUMNS) or _column(row, _RESPONSE_COLUMNS):
        return QUERY_RESPONSE
    found = ", ".join(quoted(name) for name in list(row)[:4]) or "none"
    raise Bad(f"has no column of a known format, but {found}: name them by spec.columns")


def read(row: Row, format: str) -> Turns:
    """The turns of a row in that format; raises ``Bad``."""
    return _READERS[format](row)


# Lists of turns


def _of_messages(row: Row) -> Turns:
    turns = _turns(row)
    first = turns[0]
    if isinstance(first, dict) and "role" not in first and "from" in first:
        raise Bad("is of format sharegpt (from and value), not messages (role and content)")
    return _conversation(MESSAGES, turns, "role", "content", _system(row))


def _of_sharegpt(row: Row) -> Turns:
    turns = _turns(row)
    first = turns[0]
    if isinstance(first, dict) and "from" not in first and "value" not in first:
        pair = _pair_keys(first)
        if pair is None and ("role" in first or "content" in first):
            raise Bad("is of format messages (role and content), not sharegpt (from and value)")
        if pair is None:
            raise Bad("turn 1 has neither from and value nor a pair such as human and assistant")
        return _pairs(turns, _system(row))
    return _conversation(SHAREGPT, turns, "from", "value", _system(row))


def _turns(row: Row) -> list[Any]:
    if row.get("messages") is not None:
        name = "messages"
    else:
        names = [name for name in _TURN_COLUMNS if row.get(name) is not None]
        if len(names) != 1:
            raise Bad("has both conversation and conversations" if names else "has no column messages or conversations")
        name = names[0]
    turns = _listed(row[name])
    if not turns:
        raise Bad(f"{name} is empty")
    return turns


def _listed(turns: object) -> list[Any]:
    if isinstance(turns, str):  # a list that was written as a text, which ms-swift reads again
        try:
            turns = reading.decode(turns)
        except (ValueError, RecursionError):
            raise Bad(f"its turns are the text {quoted(turns)}, not a list") from None
    if not isinstance(turns, list):
        raise Bad(f"its turns are {_kind(turns)}, not a list")
    return turns


def _conversation(format: str, turns: list[Any], role_key: str, content_key: str, system: Optional[str]) -> Turns:
    characters = len(system) if system else 0
    texts = [system] if system else []
    before = _OPENING if system else _START
    count = 0
    for number, turn in enumerate(turns, 1):
        try:
            said, content = turn[role_key], turn.get(content_key)
            role = ROLES[said]
        except (KeyError, TypeError, AttributeError):
            raise _no_turn(number, turn, role_key) from None
        if type(content) is str and content and not content.isspace():
            characters += len(content)
            texts.append(content)
        else:
            role, size = _other_content(number, turn, role, content, content_key)
            characters += size
        if (before, role) not in _FOLLOWS:
            if len(turns) == 1 and role == ASSISTANT:
                return Turns(format, 1, characters, texts)  # plain text, to go on with pre-training
            if role != SYSTEM or number > 1:
                raise _out_of_order(number, role, before)
        if role == SYSTEM:
            before = _OPENING
        else:
            before = role
            count += 1
    _learned(before)
    return Turns(format, count, characters, texts)


def _learned(last: str) -> None:
    if last not in _LEARNED:
        end = f"with a {last} turn" if last not in (_START, _OPENING) else "before a first turn"
        raise Bad(f"ends {end}: there is no answer to learn")


def _no_turn(number: int, turn: object, role_key: str) -> Bad:
    if not isinstance(turn, dict):
        return Bad(f"turn {number} is {_kind(turn)}, not an object")
    if role_key not in turn:
        return Bad(f"turn {number} has no {role_key}")
    return Bad(f"turn {number} has the unknown role {quoted(turn[role_key])}")


def _out_of_order(number: int, role: str, before: str) -> Bad:
    if role == SYSTEM:
        return Bad(f"turn {number} is the system prompt, which must come first")
    if before in (_START, _OPENING):
        return Bad(f"begins with a turn of {role}, not of user")
    if before == role:
        return Bad(f"turns {number - 1} and {number} are both of {role}")
    return Bad(f"turn {number} of {role} follows a turn of {before}")


def _other_content(number: int, turn: Mapping[str, Any], role: str, content: object, key: str) -> tuple[str, int]:
    """Role and characters of a turn whose content is not a plain text with something in it."""
    calls = turn.get("tool_calls")
    if role == ASSISTANT and isinstance(calls, list) and calls and (content is None or content == ""):
        return TOOL_CALL, len(json.dumps(calls, ensure_ascii=False))
    if isinstance(content, str):
        if content == "" and role in (SYSTEM, TOOL_RESPONSE):  # no system prompt; a tool may have nothing to say
            return role, 0
        raise Bad(f"turn {number} ({role}) is empty")
    if content is None:
        raise Bad(f"turn {number} ({role}) has no {key}")
    if isinstance(content, dict) and content and role in (TOOL_CALL, TOOL_RESPONSE):
        return role, len(json.dumps(content, ensure_ascii=False))
    if isinstance(content, list):
        return _blocks(number, role, content)
    raise Bad(f"turn {number} ({role}): {key} is {_kind(content)}, not a text")


def _blocks(number: int, role: str, blocks: list[Any]) -> tuple[str, int]:
    """Content in parts, as OpenAI and Anthropic have it: texts, images, and calls of tools with their results."""
    if not blocks:
        raise Bad(f"turn {number} ({role}) is empty")
    kinds, size = set(), 0
    for block in blocks:
        kind = block.get("type") if isinstance(block, dict) else None
        if not isinstance(kind, str):
            raise Bad(f"turn {number} ({role}): a part of its content has no type")
        kinds.add(kind)
        text = block.get("text")
        if kind == "text" and not isinstance(text, str):
            raise Bad(f"turn {number} ({role}): a part of type text has no text")
        size += len(text) if isinstance(text, str) else 0
    if kinds == {"text"} and size == 0:
        raise Bad(f"turn {number} ({role}) is empty")
    if role == ASSISTANT and "tool_use" in kinds:
        return TOOL_CALL, size
    return (TOOL_RESPONSE if role == USER and "tool_result" in kinds else role), size


# Pairs


def _pair_keys(turn: Mapping[str, Any]) -> Optional[tuple[str, str]]:
    ask = next((key for key in _ASK_KEYS if key in turn), None)
    answer = next((key for key in _ANSWER_KEYS if key in turn), None)
    return (ask, answer) if ask and answer else None


def _pairs(turns: list[Any], system: Optional[str]) -> Turns:
    texts = [system] if system else []
    for number, turn in enumerate(turns, 1):
        keys = _pair_keys(turn) if isinstance(turn, dict) else None
        if keys is None:
            raise Bad(f"turn {number} is not a pair such as human and assistant")
        texts += [_text(turn[key], f"turn {number} ({key})") for key in keys]
    return Turns(SHAREGPT, 2 * len(turns), sum(map(len, texts)), texts)


# Columns


def _of_alpaca(row: Row) -> Turns:
    instruction, more = row.get("instruction"), row.get("input")
    parts = [_optional(instruction, "instruction"), _optional(more, "input")]
    query = "\n".join(part for part in parts if part)
    if query.isspace() or not query:
        raise Bad("instruction and input are empty")
    answer = row["output"] if "output" in row else _answer(row)
    return _exchange(ALPACA, row, query, answer, "output")


def _of_query_response(row: Row) -> Turns:
    name = _column(row, _QUERY_COLUMNS)
    query = _text(row[name], name) if name and row[name] is not None else None
    return _exchange(QUERY_RESPONSE, row, query, _answer(row), "response")


def _answer(row: Row) -> object:
    name = _column(row, _RESPONSE_COLUMNS)
    return row[name] if name else None


def _exchange(format: str, row: Row, query: Optional[str], answer: object, name: str) -> Turns:
    """History, question and answer. Without a question it is plain text, to go on with pre-training."""
    if isinstance(answer, list) and answer:  # several answers: ms-swift takes the first
        answer = answer[0]
    if answer is None:
        raise Bad(f"has no {name}: there is no answer to learn")
    system, history = _system(row), _history(row.get("history"))
    texts = [*([system] if system else []), *history, *([query] if query else []), _text(answer, name)]
    count = len(texts) - (1 if system else 0)
    if query is None and history:
        raise Bad("has a history, but no question")
    return Turns(format, count, sum(map(len, texts)), texts)


def _history(history: object) -> list[str]:
    if not history:
        return []
    if isinstance(history, str):
        history = _listed_pairs(history)
    if not isinstance(history, (list, tuple)) or not all(isinstance(p, (list, tuple)) and len(p) == 2 for p in history):
        raise Bad("history is not a list of pairs of question and answer")
    return [_text(text, "a text of history") for pair in history for text in pair]


# A list of lists of texts: all else that Python can read is no history, but may take gigabytes, or crash its parser.
_LITERAL = re.compile(r"""'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*\"""", re.DOTALL)
_MOST_LITERALS = 100_000


def _listed_pairs(text: str) -> object:
    """A history that is written as a text: "[['query', 'response']]", which ms-swift reads as Python."""
    if text.count("\\") > reading.MOST_PARTS:
        return None
    rest, literals = _LITERAL.subn("", text)
    if literals > _MOST_LITERALS or len(rest) > 10 * _MOST_LITERALS or rest.strip("[](), \t\r\n"):
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _column(row: Row, names: tuple[str, ...]) -> str:
    """The column that ms-swift takes: the first of ``names`` where it is there, else the only one; empty for none."""
    if names[0] in row:
        return names[0]
    found = [name for name in row if name.lower() in names]
    if len(found) > 1:
        raise Bad(f"has both {quoted(found[0])} and {quoted(found[1])}: name the right one by spec.columns")
    return found[0] if found else ""


def _system(row: Row) -> Optional[str]:
    name = next((name for name in _SYSTEM_COLUMNS if row.get(name) is not None), None)
    return _optional(row[name], name) if name else None


def _optional(value: object, name: str) -> str:
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        raise Bad(f"{name} is {_kind(value)}, not a text")
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise Bad(f"{quoted(name)} is {_kind(value)}, not a text")
    if not value or value.isspace():
        raise Bad(f"{quoted(name)} is empty")
    return value


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names: dict[type, str] = {str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")


_READERS: Mapping[str, Reader] = {
    MESSAGES: _of_messages,
    SHAREGPT: _of_sharegpt,
    ALPACA: _of_alpaca,
    QUERY_RESPONSE: _of_query_response,
}
OF_TURNS = frozenset({MESSAGES, SHAREGPT})
FORMATS = (AUTO, SHAREGPT, MESSAGES, ALPACA, QUERY_RESPONSE)
