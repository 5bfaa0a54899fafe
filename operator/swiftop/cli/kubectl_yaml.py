"""YAML and JSON as kubectl reads them, which is not as PyYAML does.

kubectl has YAML 1.1 of Go: a bare ``y`` is true, ``010`` is 8, ``2e-4`` a number, but ``12:30:00`` and ``2025-08-20``
are texts. Then it writes JSON, in which ``2.0`` and ``1e3`` are whole numbers. A preview that reads a file in another
way would refuse what the API server takes, or the other way round.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import yaml

from swiftop.errors import Invalid, Problem
from swiftop.workload.plain_yaml import LOADER, check

_TAG = "tag:yaml.org,2002:"
_PLAIN = "plain"  # of a scalar without quotes and tag: its text alone decides
_WORDS = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
}
_NOT_IN_JSON = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_INTEGER = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INT64 = range(-(2**63), 2**63)
_MOST_NODES = 100_000  # with aliases counted as often as they are used: a few hundred bytes can stand for gigabytes
_DEEPEST = 100


def documents(text: str) -> list[Any]:
    """All documents that are not empty; raises ``Invalid`` with the line where the text is not valid."""
    text = text.removeprefix("\ufeff").removesuffix("\n") + "\n"
    if text.lstrip().startswith("{") and (found := _json(text)) is not None:
        return found
    try:
        check(text, loader=_Loader, deepest=_DEEPEST, aliases=True)
        composed = (document for document in yaml.compose_all(text, Loader=_Loader) if document is not None)
        return [value for node in composed if (value := _Values().of(node)) is not None]
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {min(mark.line + 1, len(text.splitlines()))}" if mark else "file"
        said = getattr(error, "problem", None) or str(error)
        raise Invalid((Problem(where, f"is not valid YAML: {said}", _advice(said)),)) from None


def _advice(said: str) -> str:
    return "indent with spaces" if r"'\t'" in said else ""


def _json(text: str) -> list[Any] | None:
    """Documents of JSON, one behind the other; None where it is YAML in braces."""
    decoder, found, position = json.JSONDecoder(parse_constant=_no_constant), [], 0
    end = len(text.rstrip())
    try:
        while position < end:
            position += len(text[position:]) - len(text[position:].lstrip())
            value, position = decoder.raw_decode(text, position)
            found.append(_as_go_writes(value))
    except (ValueError, OverflowError, RecursionError):
        return None
    return found


def _no_constant(word: str) -> None:
    raise ValueError(word)


def _as_go_writes(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_go_writes(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_go_writes(item) for item in value]
    return value if isinstance(value, bool) or not isinstance(value, int | float) else _number(value)


def _number(value: float) -> int | float:
    """A number after its way through Go's JSON: whole ones become integers, those beyond 64 bits floats."""
    if isinstance(value, int):
        return value if value in _INT64 else float(value)
    return int(value) if value.is_integer() and int(value) in _INT64 else value


def plain(text: str) -> Any:
    """What a scalar without quotes and tag is."""
    if text in _WORDS:
        return _WORDS[text]
    bare = text.replace("_", "")
    if bare and text[0] != "_":
        if (whole := _INTEGER.fullmatch(bare)) and len(bare) < 250:  # else it is beyond all numbers of Go's
            return _number(_integer(whole[1], whole[2]))
        if _FLOAT.fullmatch(bare) and abs(number := float(bare)) != float("inf"):
            return _number(number)
    return text


def _integer(sign: str, digits: str) -> int:
    base = {"x": 16, "b": 2, "o": 8}.get(digits[1:2].lower(), 8 if digits.startswith("0") else 10)
    return int(sign + (digits[2:] if digits[1:2].isalpha() else digits), base)


class _Loader(LOADER):  # type: ignore[misc] # libyaml's parser, which Go's is a port of; PyYAML's own knows no tabs
    """Composes nodes with the tags that are written, and of other scalars tells plain from quoted."""

    yaml_implicit_resolvers: ClassVar = {None: [(_PLAIN, re.compile(""))]}


class _Values:
    """From nodes to values, bounded in number and depth."""

    def __init__(self) -> None:
        self._left = _MOST_NODES
        self._open: list[yaml.Node] = []

    def of(self, node: yaml.Node) -> Any:
        """The value of a node."""
        self._left -= 1
        if node in self._open:
            raise _wrong("an anchor contains itself", node)
        if self._left < 0:
            raise _wrong(f"more than {_MOST_NODES} values, with each alias counted", node)
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node)
            if isinstance(node, yaml.SequenceNode):
                return [self.of(item) for item in node.value]
            return _scalar(node)
        finally:
            self._open.pop()

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        """A map; a merge key counts where it stands, and among several maps of one the first wins."""
        values: dict[str, Any] = {}
        written: set[str] = set()
        for key_node, value_node in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.tag == _PLAIN and key_node.value == "<<":
                for merged in self._merged(value_node):
                    values |= merged
                continue
            key = _key(key_node)
            if key in written:
                raise _wrong(f"{key} is given twice", node)  # the first would be lost in silence
            written.add(key)
            values[key] = self.of(value_node)
        return values

    def _merged(self, node: yaml.Node) -> Iterator[dict[str, Any]]:
        parts = reversed(node.value) if isinstance(node, yaml.SequenceNode) else (node,)
        for part in parts:
            if not isinstance(part, yaml.MappingNode):
                raise _wrong("a merge key (<<) needs a map, or a list of maps", part)
            yield self.of(part)


def _key(node: yaml.Node) -> str:
    value = _scalar(node) if isinstance(node, yaml.ScalarNode) else None
    if value is None:
        raise _wrong("a key must be a text", node)
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _text(node: yaml.ScalarNode) -> Any:
    return node.value


def _typed(kind: type[object]) -> Callable[[yaml.ScalarNode], Any]:
    def value(node: yaml.ScalarNode) -> Any:
        found = plain(node.value)
        if not isinstance(found, (int, float) if kind is float else kind) or isinstance(found, bool) is not (
            kind is bool
        ):
            raise _wrong(f"{node.value!r} does not fit its tag {node.tag.replace(_TAG, '!!')}", node)
        return found

    return value


def _binary(node: yaml.ScalarNode) -> Any:
    try:
        return base64.b64decode(node.value, validate=False).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise _wrong("!!binary is not base64 of a text", node) from None


def _null(node: yaml.ScalarNode) -> None:
    if plain(node.value) is not None:
        raise _wrong(f"{node.value!r} does not fit its tag !!null", node)


def _of_text(node: yaml.ScalarNode) -> Any:
    if _NOT_IN_JSON.fullmatch(node.value):
        raise _wrong(f"{node.value} is not a number that JSON can write", node)
    return plain(node.value)


# Of any other tag the value is a text.
_SCALARS: dict[str, Callable[[yaml.ScalarNode], Any]] = {
    _PLAIN: _of_text,
    f"{_TAG}bool": _typed(bool),
    f"{_TAG}int": _typed(int),
    f"{_TAG}float": _typed(float),
    f"{_TAG}null": _null,
    f"{_TAG}binary": _binary,
}


def _scalar(node: Any) -> Any:
    return _SCALARS.get(node.tag, _text)(node)


def _wrong(said: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, said, node.start_mark)
