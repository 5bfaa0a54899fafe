"""What an export has completed, on its output: whoever comes after a killed pod neither does nor publishes it twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..record import Unreadable, read_json, write_atomic

NAME = "swiftop-export.json"


class State:
    """The file in the output directory, which belongs to one export alone (its record says whose it is)."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / NAME
        self.data: dict[str, Any] = {}

    def load(self) -> None:
        """Read it. Raises ``Unreadable``: taking a damaged file for none could publish something twice."""
        try:
            found = read_json(self._path)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise Unreadable(f"{self._path} cannot be read: {error}") from error
        if not _sound(found):
            raise Unreadable(f"{self._path} cannot be read: it is damaged")
        self.data = dict(found)

    @property
    def artifact(self) -> Mapping[str, Any]:
        """The result: digest, bytes, dtype, verified, templateEqual; empty until it is complete."""
        found: Mapping[str, Any] = self.data.get("artifact") or {}
        return found

    @property
    def full(self) -> Mapping[str, Any]:
        """What is known of the model that is quantized, as :attr:`artifact`; empty until it is complete."""
        found: Mapping[str, Any] = self.data.get("full") or {}
        return found

    @property
    def pushed(self) -> Mapping[str, Any]:
        """What was published, by ``hub:repo``."""
        found: Mapping[str, Any] = self.data.get("pushed") or {}
        return found

    @property
    def card(self) -> Mapping[str, Any]:
        """What the first execution knew of the result: by the next one, the run may be gone that it came from."""
        found: Mapping[str, Any] = self.data.get("card") or {}
        return found

    def begin(self, card: Mapping[str, Any]) -> None:
        """Keep what is known now, unless an earlier execution has."""
        if not self.card:
            self._write({"card": dict(card)})

    def keep(self, full: Mapping[str, Any]) -> None:
        """The model that is quantized lies in its folder."""
        self._write({"full": dict(full)})

    def complete(self, artifact: Mapping[str, Any]) -> None:
        """The result lies under its own name."""
        self._write({"artifact": dict(artifact)})

    def publish(self, target: str, found: Mapping[str, Any]) -> None:
        """The result is on a hub."""
        self._write({"pushed": {**self.pushed, target: dict(found)}})

    def _write(self, changes: Mapping[str, Any]) -> None:
        self.data.update(changes)
        write_atomic(self._path, json.dumps(self.data, indent=1).encode())


def _sound(found: object) -> bool:
    if not isinstance(found, dict):
        return False
    parts = [found.get(name) or {} for name in ("artifact", "pushed", "card")]
    if not all(isinstance(part, dict) for part in parts):
        return False
    return all(isinstance(target, dict) for target in parts[1].values())
