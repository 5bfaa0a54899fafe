"""An event loop whose clock jumps to the next timer as soon as nothing else can run: hours of waiting in no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Jumping(selectors.SelectSelector):
    """Instead of sleeping until a timer, moves the loop's clock there."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if ready := super().select(0):
            return ready
        assert timeout is not None, "deadlock: no timer is set and nothing can run"
        self.now += timeout
        return []


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test on virtual time, which starts at 0."""

    def loop() -> asyncio.AbstractEventLoop:
        selector = _Jumping()
        new = asyncio.SelectorEventLoop(selector)
        new.time = lambda: selector.now  # type: ignore[method-assign]
        return new

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(test)
