"""Benches: an output directory with a runner in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runner.harness import UNSHARE, Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """The runner as an ordinary process."""
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.fixture
def pid1(tmp_path: Path) -> Iterator[Bench]:
    """The runner as PID 1, as in a container."""
    made = Bench(tmp_path, prefix=UNSHARE)
    yield made
    made.close()
