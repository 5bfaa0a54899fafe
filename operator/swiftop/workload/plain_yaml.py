"""YAML of a tenant, read so that it can neither keep the operator busy nor end it: no aliases, and not deep."""

from __future__ import annotations

from typing import Any, NamedTuple

import yaml

# libyaml's parser where there is one: Python's own takes twenty times as long, and all other work waits for it.
LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEPTH = 50
# Errors that tell of the form alone, and quote nothing.
_PLAIN = (yaml.scanner.ScannerError, yaml.parser.ParserError, yaml.composer.ComposerError)


def _as_kubectl(loader: Any, node: Any) -> float:
    """Whole numbers lose their point, as they do on the way of an object to the API server."""
    value: float = loader.construct_yaml_float(node)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


class _Loader(LOADER):  # type: ignore[misc]
    """As people write YAML for Kubernetes."""


_Loader.add_constructor("tag:yaml.org,2002:float", _as_kubectl)


class Loaded(NamedTuple):
    """One value, read in two ways."""

    value: Any
    written: Any  # texts, lists and maps only: YAML would make 4.1 of the version 4.10, and a word of Python's of true


class BadYAML(ValueError):
    """What is wrong with a text, and in which line: nothing of what stands there."""


def load(text: str) -> Loaded:
    """The value of a text; raises ``BadYAML``."""
    try:
        check(text)
        return _load(text)
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark
        what = error.problem if isinstance(error, _PLAIN) else "a value does not fit its tag"
        raise BadYAML(f"line {mark.line + 1}: {what}" if mark else str(what)) from None
    except RecursionError:
        raise BadYAML(f"more than {_DEPTH} levels deep") from None
    except Exception:  # of the constructors of numbers, dates and tags, which raise what they like
        raise BadYAML("a value does not have the form of its type") from None


def _load(text: str) -> Loaded:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Loaded(None, None)
        written = yaml.constructor.BaseConstructor().construct_document(node)  # first: the other resolves merge keys
        return Loaded(loader.construct_document(node), written)
    finally:
        loader.dispose()


def check(text: str, *, loader: type[Any] = LOADER, deepest: int = _DEPTH, aliases: bool = False) -> None:
    """Refuse, by the events alone, what must not become objects: libyaml's composer has no bound of its own."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        mark: Any = event.start_mark  # of either parser: they differ in type alone
        if isinstance(event, yaml.AliasEvent) and not aliases:  # a few hundred bytes of them stand for gigabytes
            raise yaml.composer.ComposerError(None, None, "an alias is not allowed here", mark)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > deepest:
            raise yaml.composer.ComposerError(None, None, f"more than {deepest} levels deep", mark)
