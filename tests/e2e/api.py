"""Reads objects of a cluster without a program: a test that waits looks many times, and each kubectl takes a processor
for a fifth of a second."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from kubernetes.client import ApiClient
from kubernetes.config import new_client_from_config

Object = dict[str, Any]
_OK, _NOT_FOUND = 200, 404
_SECONDS = 60


class Unread(Exception):
    """The API server has not answered as it should."""


class _Resource(NamedTuple):
    """Where the objects of a kind are."""

    root: str  # /api/v1, or /apis/GROUP/VERSION
    plural: str
    kind: str
    namespaced: bool

    def path(self, namespace: str) -> str:
        """Of all in a namespace; in all of them, where it is empty."""
        middle = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.root}{middle}/{self.plural}"


class Api:
    """One cluster."""

    def __init__(self, kubeconfig: Path) -> None:
        self._client: ApiClient = new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]
        self._known: dict[str, _Resource] = {}

    def items(self, words: str, namespace: str, selector: str = "") -> list[Object]:
        """All objects of some kinds, as kubectl calls them; raises ``KeyError`` for a kind that the cluster lacks."""
        return [item for word in words.split(",") for item in self._items(self._resource(word), namespace, selector)]

    def get(self, word: str, namespace: str, name: str) -> Object | None:
        """One object, None when it does not exist; raises ``KeyError`` for a kind that the cluster lacks."""
        return self._read(f"{self._resource(word).path(namespace)}/{name}")

    def _items(self, resource: _Resource, namespace: str, selector: str) -> Iterator[Object]:
        found = self._read(resource.path(namespace), labelSelector=selector) or {}
        for item in found.get("items", ()):
            yield {"apiVersion": found["apiVersion"], "kind": resource.kind, **item}

    def _resource(self, word: str) -> _Resource:
        """By plural, singular, short name or kind, in any case; looked up anew when there is none, as of a new CRD."""
        if word.lower() not in self._known:
            self._known = {}
            for resource, words in self._discovered():
                for known in words:
                    self._known.setdefault(known.lower(), resource)
        return self._known[word.lower()]

    def _discovered(self) -> Iterator[tuple[_Resource, list[str]]]:
        for root in ("/api/v1", *self._versions()):
            for told in (self._read(root) or {}).get("resources", ()):
                plural = told["name"]
                if "list" in told["verbs"]:
                    words = [plural, told["singularName"], told["kind"], *told.get("shortNames", ())]
                    group = root.split("/")[2] if root.startswith("/apis/") else ""
                    yield _Resource(root, plural, told["kind"], told["namespaced"]), [*words, f"{plural}.{group}"]

    def _versions(self) -> Iterator[str]:
        """Of each group the preferred one first: a name is that of the first resource that has it."""
        for group in (self._read("/apis") or {})["groups"]:
            preferred = group["preferredVersion"]["groupVersion"]
            others = (version["groupVersion"] for version in group["versions"])
            yield from (f"/apis/{version}" for version in dict.fromkeys((preferred, *others)))

    def _read(self, path: str, **query: str) -> Object | None:
        asked = urlencode({name: value for name, value in query.items() if value})
        try:
            answer = self._client.call_api(
                "GET", f"{self._client.configuration.host}{path}?{asked}", _request_timeout=_SECONDS
            )
            content = answer.read()  # type: ignore[no-untyped-call]
        except Exception as error:  # of the client, or of what is below it
            raise Unread(f"GET {path}: {error}") from error
        if answer.status == _NOT_FOUND:
            return None
        if answer.status != _OK:
            raise Unread(f"GET {path}: {answer.status} {content[:500]!r}")
        found: Object = json.loads(content)
        return found


@cache
def api(kubeconfig: Path) -> Api:
    """One for each cluster."""
    return Api(kubeconfig)
