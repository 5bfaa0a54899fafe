"""YAML of a tenant, read so that it can neither keep the operator busy nor end it: no aliases, and not deep."""

from __future__ import annotations

from typing import Any, NamedTuple

import yaml

# libyaml's parser where there is one: Python's own takes twenty times as long, and all other work waits for it.
_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEPTH = 50


class Loaded(NamedTuple):
    """One value, read in two ways."""

    value: Any
    written: Any  # texts, lists and maps only: YAML would make 4.1 of the version 4.10, and a word of Python's of true


def load(text: str) -> Loaded:
    """The value of a text; raises what the parsers raise (``ERRORS``)."""
    _check(text)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Loaded(None, None)
        written = yaml.constructor.BaseConstructor().construct_document(node)  # first: the other resolves merge keys
        return Loaded(loader.construct_document(node), written)
    finally:
        loader.dispose()


ERRORS = (yaml.YAMLError, ValueError, AttributeError, RecursionError)


def _check(text: str) -> None:
    """Refuse, by the events alone, what must not become objects: libyaml's composer has no bound of its own."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        mark: Any = event.start_mark  # of either parser: they differ in type alone
        if isinstance(event, yaml.AliasEvent):  # a few hundred bytes of them stand for gigabytes
            raise yaml.composer.ComposerError(None, None, "an alias is not allowed here", mark)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH:
            raise yaml.composer.ComposerError(None, None, f"more than {_DEPTH} levels deep", mark)
