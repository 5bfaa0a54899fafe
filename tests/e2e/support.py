"""Kubectl and waiting: all that the end-to-end tests do to a cluster, as a person would do it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from images.cache import cache_root
from tests.e2e.api import Api, Unread, api
from tools.cluster import kubectl

Object = dict[str, Any]
T = TypeVar("T")
# The limits of these tests are what a quiet machine needs, with some room; several groups of tests share two cores.
PATIENCE = 2.5


class CommandFailed(AssertionError):
    """kubectl ended with an error; the text is what it said."""


@dataclass(frozen=True)
class Kubectl:
    """kubectl for one namespace of one cluster."""

    kubeconfig: Path
    namespace: str

    def __call__(self, *args: str, stdin: bytes | None = None) -> bytes:
        """Run kubectl; returns what it printed."""
        command = [kubectl_program(), "--kubeconfig", str(self.kubeconfig), "--namespace", self.namespace, *args]
        done = subprocess.run(command, input=stdin, capture_output=True, check=False)
        if done.returncode:
            raise CommandFailed(f"kubectl {' '.join(args)}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def text(self, *args: str) -> str:
        """Run kubectl; returns what it printed, as text."""
        return self(*args).decode(errors="replace")

    def within(self, namespace: str) -> Kubectl:
        """The same for another namespace."""
        return replace(self, namespace=namespace)

    def apply(self, *objects: Object) -> None:
        """Apply objects in one call, as ``kubectl apply -f`` does."""
        self("apply", "-f", "-", stdin=_list_of(objects))

    def create(self, *objects: Object) -> None:
        """Create objects; one that exists is an error."""
        self("create", "-f", "-", stdin=_list_of(objects))

    def get(self, kind: str, name: str) -> Object | None:
        """One object, None when it does not exist."""
        return self._read(lambda known: known.get(kind, self.namespace, name))

    def items(self, kinds: str, selector: str = "") -> list[Object]:
        """All objects of some kinds."""
        return self._read(lambda known: known.items(kinds, self.namespace, selector))

    def everywhere(self, kinds: str) -> list[Object]:
        """The same, in all namespaces."""
        return self._read(lambda known: known.items(kinds, "", ""))

    def _read(self, read: Callable[[Api], T]) -> T:
        try:
            return read(api(self.kubeconfig))
        except Unread as error:
            raise CommandFailed(str(error)) from error

    def delete(self, kind: str, name: str) -> None:
        """Delete an object and wait until it is gone."""
        self("delete", kind, name, "--ignore-not-found", "--wait=true", "--timeout=300s")


@cache
def kubectl_program() -> str:
    """The kubectl that fits the cluster: there may be none on PATH, or one too old."""
    return kubectl.find(cache_root())


def _list_of(objects: tuple[Object, ...]) -> bytes:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}).encode()


def eventually(
    ask: Callable[[], T | None],
    *,
    what: str,
    seconds: float,
    pause: float = 0.5,
    explain: Callable[[], str] = lambda: "",
) -> T:
    """The first answer that is neither None nor False; fails with ``explain`` when none came in time.

    ``seconds`` are those of a quiet machine.
    """
    limit = seconds * PATIENCE
    deadline = time.monotonic() + limit
    while True:
        if answer := ask():
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what}: not within {limit:.0f} s\n{explain()}")
        time.sleep(pause)
