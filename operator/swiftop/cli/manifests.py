"""Objects of manifests, taken and refused as ``kubectl apply`` takes and refuses them before the schema is looked at.

kubectl opens lists, drops members that are null, and asks for kind, version and name; the API server knows no field
that the schema does not have, and decodes metadata by types of its own.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftop import names
from swiftop.api.crd import schema_of
from swiftop.api.parse import UNKNOWN_FIELD
from swiftop.cli import kubectl_yaml
from swiftop.cli.lookup import model_of
from swiftop.errors import Invalid, Problem
from swiftop.kinds.registry import KINDS

Object = dict[str, Any]

STDIN = "-"
_ENDINGS = (".yaml", ".yml", ".json")
_TOP = ("apiVersion", "kind", "metadata", "spec", "status")
_METADATA: dict[str, type] = {
    **dict.fromkeys(("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion"), str),
    **dict.fromkeys(("creationTimestamp", "deletionTimestamp"), str),
    **dict.fromkeys(("generation", "deletionGracePeriodSeconds"), int),
    **dict.fromkeys(("labels", "annotations"), dict),
    **dict.fromkeys(("ownerReferences", "finalizers", "managedFields"), list),
}
_WORDS: dict[type, str] = {str: "a text", int: "a whole number", dict: "a map of texts", list: "a list"}
_DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_DNS_SUBDOMAIN = r"(?=.{1,253}/)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_WORD = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_QUALIFIED = rf"({_DNS_SUBDOMAIN}/)?{_WORD}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object of a file."""

    source: str
    obj: Object
    problems: tuple[Problem, ...]  # what needs no schema to be seen

    @property
    def can_be_parsed(self) -> bool:
        """Whether the rest of its mistakes can be seen."""
        return not {"kind", "apiVersion", "metadata"} & {problem.path for problem in self.problems}

    @property
    def title(self) -> str:
        """What the object is, for a person."""
        metadata = self.obj.get("metadata")
        name = metadata.get("name", "") if isinstance(metadata, Mapping) else ""
        return f"{self.obj.get('kind')} {name}".strip()


class Wrong(Invalid):
    """What is wrong with files, and in which."""

    def __init__(self, told: Iterable[tuple[str, Problem]]) -> None:
        self.told = tuple(told)
        super().__init__(tuple(problem for _, problem in self.told))


def files(given: Iterable[str], *, recursive: bool = False) -> Iterator[tuple[str, str]]:
    """Name and content of each file; of a directory those that kubectl reads. Raises ``Wrong``."""
    for name in given:
        if name == STDIN:
            yield STDIN, sys.stdin.read()
            continue
        path = Path(name)
        try:
            for found in _below(path, recursive) if path.is_dir() else (path,):
                yield str(found), found.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            said = error.strerror if isinstance(error, OSError) and error.strerror else "is not text in UTF-8"
            raise Wrong([(name, Problem("file", said))]) from None


def _below(directory: Path, recursive: bool) -> list[Path]:
    found = directory.rglob("*") if recursive else directory.iterdir()
    return sorted(path for path in found if path.suffix in _ENDINGS and path.is_file())


def manifests(source: str, text: str) -> list[Manifest]:
    """Objects of a text, lists opened; raises ``Wrong`` where there are none to be seen."""
    try:
        values = [obj for document in kubectl_yaml.documents(text) for obj in _opened(document)]
    except Invalid as error:
        raise Wrong((source, problem) for problem in error.problems) from None
    if not all(isinstance(value, dict) for value in values):
        raise Wrong([(source, Problem("document", "must be a map with apiVersion, kind, metadata and spec"))])
    return [Manifest(source, obj, tuple(_problems(obj))) for obj in map(_without_nulls, values)]


def _opened(value: Any) -> Iterator[Any]:
    """The objects of a list, whatever kind of list it is."""
    if isinstance(value, dict) and isinstance(items := value.get("items"), list):
        for item in items:
            yield from _opened(item)
    else:
        yield value


def _without_nulls(value: Any) -> Any:
    """As ``kubectl apply`` sends a new object: members that are null are absent; those of lists stay."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _problems(obj: Object) -> Iterator[Problem]:
    """What of our API would be left out in silence, or what kubectl would refuse whatever the schema says."""
    kind, version = obj.get("kind", ""), obj.get("apiVersion", "")
    if not isinstance(kind, str) or not isinstance(version, str):
        yield Problem("kind" if not isinstance(kind, str) else "apiVersion", "must be a text")
        return
    ours = kind in KINDS or version.startswith(f"{names.GROUP}/")
    near = [known for known in KINDS if known.lower() == kind.lower()]
    if not kind and (version or "spec" in obj or "metadata" in obj):
        yield Problem("kind", "required value is missing", f"use one of {', '.join(KINDS)}" if ours else "")
    elif kind not in KINDS and (near or ours):
        near = near or difflib.get_close_matches(kind, tuple(KINDS), n=1)
        yield Problem("kind", f"there is no kind {kind!r}", suggestion=f"use {' or '.join(near or KINDS)}")
    elif kind in KINDS and version != names.API_VERSION:
        said = f"there is no {kind} in version {version!r}" if version else "required value is missing"
        yield Problem("apiVersion", said, f"write apiVersion: {names.API_VERSION}")
    elif kind in KINDS:
        yield from _of_ours(obj)


def _of_ours(obj: Object) -> Iterator[Problem]:
    for key in obj:
        if key not in _TOP:
            near = difflib.get_close_matches(key, _TOP, n=1, cutoff=0.7)
            yield Problem(key, UNKNOWN_FIELD, f"did you mean {near[0]}?" if near else f"fields here: {', '.join(_TOP)}")
    metadata = obj.get("metadata", {})
    if not isinstance(metadata, dict):
        yield Problem("metadata", "must be a map of fields", "write metadata: {name: NAME}")
        return
    yield from _of_metadata(metadata)
    if status := obj.get("status"):
        yield from _unknown(status, schema_of(model_of(obj["kind"]))["properties"]["status"], "status")


def _of_metadata(metadata: Object) -> Iterator[Problem]:
    if metadata.get("generateName") and not metadata.get("name"):
        instead = "write a name, or let kubectl create -f make one up"
        yield Problem("metadata.name", "is missing, and kubectl apply takes no generateName", instead)
    for key, value in metadata.items():
        path, wanted = f"metadata.{key}", _METADATA.get(key)
        if wanted is None:
            near = difflib.get_close_matches(key, _METADATA, n=1)
            yield Problem(path, UNKNOWN_FIELD, f"did you mean {near[0]}?" if near else "use labels or annotations")
        elif not isinstance(value, wanted) or isinstance(value, bool):
            yield Problem(path, f"must be {_WORDS[wanted]}", _quoted(value) if wanted is str else "")
        elif isinstance(value, dict):
            yield from _texts(path, value)
    namespace = metadata.get("namespace")
    if isinstance(namespace, str) and not re.fullmatch(_DNS_LABEL, namespace):
        yield Problem("metadata.namespace", f"{namespace!r} must be made of small letters, digits and '-'")


def _texts(path: str, values: Object) -> Iterator[Problem]:
    """Keys and values of labels or annotations."""
    for key, value in values.items():
        here = f"{path}.{key}"
        if not isinstance(value, str):
            yield Problem(here, "must be a text", _quoted(value))
        elif not re.fullmatch(_QUALIFIED, key):
            yield Problem(
                here, "a key has at most 63 letters, digits, '-', '_' and '.', as in team or example.com/team"
            )
        elif path.endswith(".labels") and value and not re.fullmatch(_WORD, value):
            said = f"{value!r} must have at most 63 letters, digits, '-', '_' and '.', the first and last no sign"
            yield Problem(here, said, "use an annotation")


def _quoted(value: object) -> str:
    if isinstance(value, dict | list):
        return ""
    return f'put it in quotes: "{str(value).lower() if isinstance(value, bool) else value}"'


def _unknown(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """Fields that the schema does not have, which the API server looks for even where it drops the whole part."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(item, schema.get("items", {}), f"{path}[{index}]")
    if not isinstance(value, dict) or "properties" not in schema:
        return
    for key, item in value.items():
        if key in schema["properties"]:
            yield from _unknown(item, schema["properties"][key], f"{path}.{key}")
        else:
            yield Problem(f"{path}.{key}", UNKNOWN_FIELD, "remove the status: swiftop writes it")
