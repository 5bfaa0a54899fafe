"""Reading ``swiftop-defaults``: what a platform team writes, checked as strictly as what a user writes.

The ConfigMap of the operator's namespace holds for the whole cluster, one of the same name in an object's namespace
overrides it key by key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from swiftop.api.parse import parse
from swiftop.api.pod_patch import pod_patch_problems
from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.workload import EnvVar
from swiftop.api.validate import affinity_problems
from swiftop.errors import Invalid, Problem
from swiftop.reasons import Reason
from swiftop.swift import releases
from swiftop.workload import plain_yaml

_LIMIT = 8 * 1024  # characters of one ConfigMap: whoever writes one in a namespace makes the operator read it
_KNOWN = 256  # outcomes that are remembered, each of a few kilobytes
_Data = tuple[tuple[str, str], ...]  # keys and texts of a ConfigMap
_Written = tuple[str, _Data]  # with its place
# A value at the beginning of a message, as `swiftop.api.parse` writes it.
_VALUE = re.compile(r"""^(unsupported value )?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|-?[0-9][-+.0-9e]*)""", re.DOTALL)
# A suggestion that repeats the value in another form, as `swiftop.api.forms` writes it.
_REPEATED = re.compile(r"""write [\[{]|put it in quotes: ["']|use (json|values): """)
_MAPS = ("env", "images")  # keys that hold a map of names to texts, merged name by name


def defaults_of(*config_maps: Mapping[str, Any] | None) -> Defaults:
    """Defaults of these ConfigMaps, later ones over earlier ones; raises ``Invalid`` with the place of a mistake."""
    outcome = _outcome(tuple(_written(config_map) for config_map in config_maps if config_map is not None))
    if isinstance(outcome, Defaults):
        return outcome
    raise Invalid(outcome)


def _written(config_map: Mapping[str, Any]) -> _Written:
    where = f"{config_map['metadata']['namespace']}/{config_map['metadata']['name']}"
    data = config_map.get("data") or {}
    if sum(len(key) + len(text or "") for key, text in data.items()) > _LIMIT:
        raise Invalid((_blame(where, Problem("data", f"is longer than {_LIMIT} characters", "shorten it")),))
    return where, tuple((key, text or "") for key, text in data.items())


@lru_cache(_KNOWN)
def _outcome(written: tuple[_Written, ...]) -> Defaults | tuple[Problem, ...]:
    """Defaults or what is wrong with them. Mistakes are remembered too: every run of the namespace meets them again."""
    try:
        return _merged(written)
    except Invalid as error:
        return error.problems
    except Exception as error:  # one that nobody foresaw must not end the work on every run
        where = " and ".join(place for place, _ in written)
        return (_blame(where, Problem("data", f"cannot be read: {type(error).__name__}")),)


def _merged(written: tuple[_Written, ...]) -> Defaults:
    values: dict[str, Any] = {}
    places: dict[str, str] = {}  # of each key, the ConfigMap that said it last
    for where, data in written:
        found = _values(data, where)
        places |= dict.fromkeys(found, where)
        values |= found | {key: values.get(key, {}) | found[key] for key in _MAPS if key in found}
    if "env" in values:
        values["env"] = [{"name": name, "value": value} for name, value in values["env"].items()]
    try:
        defaults = parse(Defaults, values)
        if wrong := tuple(_problems(defaults)):
            raise Invalid(wrong)
    except Invalid as error:
        raise Invalid(tuple(_blame(_place(problem, places), problem) for problem in error.problems)) from None
    return defaults


def _place(problem: Problem, places: Mapping[str, str]) -> str:
    """The ConfigMap whose key a path leads into; a key may have dots and brackets itself."""
    paths = {key.lstrip("."): key for key in places}
    leading = (path for path in paths if problem.path == path or problem.path.startswith((f"{path}.", f"{path}[")))
    return places[paths[max(leading, key=len)]]


def _values(data: _Data, where: str) -> dict[str, Any]:
    """Values by key. A key without content says nothing."""
    values = {}
    for key, text in data:
        try:
            value, written = plain_yaml.load(text)
        except plain_yaml.BadYAML as error:
            raise Invalid((_blame(where, Problem(key, f"is not valid YAML: {error}")),)) from None
        if key in _MAPS and (wrong := tuple(_no_texts(key, value))):
            raise Invalid(tuple(_blame(where, problem) for problem in wrong))
        if value is not None:
            values[key] = written if key in (*_MAPS, "swiftVersion") else value
    return values


def _no_texts(key: str, value: object) -> Iterator[Problem]:
    """What keeps a value from being a map of names to texts."""
    if not isinstance(value, Mapping | None):
        yield Problem(key, f"must be a map of names to values, not {type(value).__name__}")
        return
    for name, item in (value or {}).items():
        if item is None:
            yield Problem(f"{key}.{name}", "has no value", suggestion='write "" for an empty text, or remove it')
        elif isinstance(item, Mapping | list):
            yield Problem(f"{key}.{name}", "must be a text")


def _problems(defaults: Defaults) -> Iterator[Problem]:
    for item in defaults.env:
        yield from (Problem(f"env.{item.name}", rule.text(item)) for rule in EnvVar.RULES if not rule.holds(item))
    yield from affinity_problems(defaults.placement, "placement")
    yield from pod_patch_problems(defaults.pod_patch or {}, ("podPatch",))
    named = {"swiftVersion": defaults.swift_version, **{f"images.{version}": version for version in defaults.images}}
    for path, version in named.items():
        if version is not None and version not in releases.SUPPORTED:
            suggestion = f"use one of {', '.join(releases.SUPPORTED)}"
            yield Problem(path, "this version of ms-swift is not supported", suggestion)


def _blame(where: str, problem: Problem) -> Problem:
    """Said of the ConfigMap, on objects of people who may not read it: where and what, never what stands there."""
    message = _VALUE.sub(lambda found: "unsupported value" if found.group(1) else "the value", problem.message)
    kept = "" if _REPEATED.match(problem.suggestion) else problem.suggestion
    suggestion = kept or "the platform's administrator has to fix it"
    return Problem(f"ConfigMap {where}: {problem.path}", message, suggestion, Reason.INVALID_DEFAULTS)
