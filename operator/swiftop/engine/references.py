"""Who refers to whom, so that a change of one object is a reason to reconcile those that wait for it."""

from __future__ import annotations

from collections.abc import Iterable

from swiftop.model.kind import Key, Reference


class References:
    """Rebuilt by reconciling: a restart looks at every object once."""

    def __init__(self) -> None:
        self._of: dict[Key, tuple[Reference, ...]] = {}
        self._referring: dict[Key, set[Key]] = {}

    def set(self, key: Key, references: Iterable[Reference]) -> None:
        """``key`` refers to these objects, and to no others."""
        new = tuple(references)
        if self._of.get(key, ()) == new:
            return
        self.forget(key)
        if new:
            self._of[key] = new
        for reference in new:
            self._referring.setdefault(_key(reference), set()).add(key)

    def forget(self, key: Key) -> None:
        """``key`` refers to nothing any more."""
        for reference in self._of.pop(key, ()):
            known = self._referring[_key(reference)]
            known.discard(key)
            if not known:
                del self._referring[_key(reference)]

    def referring(self, key: Key) -> tuple[Key, ...]:
        """Objects that refer to this one."""
        return tuple(self._referring.get(key, ()))


def _key(reference: Reference) -> Key:
    return Key(reference.resource.kind, reference.namespace, reference.name)
