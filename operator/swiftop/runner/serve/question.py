"""One question of the guard's own: asked as a client asks, and counted as none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .backend import Backend
from .board import OK, Board
from .relay import Whole


async def ask(backend: Backend, board: Board, path: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """The whole answer, of what the backend knows by the name that is asked; raises what the engine raised, or
    ``Problem``."""
    call = board.begin(asked["model"], probe=True)
    try:
        whole = Whole()
        await backend.ask(call, path, json.dumps(asked).encode(), whole)
        if call.error is not None:
            raise call.error
        if whole.status != 200:
            raise whole.problem
        call.beat()
        found: Mapping[str, Any] = json.loads(whole.body)
        return found
    finally:
        call.gone.set()
        board.end(call, OK)
