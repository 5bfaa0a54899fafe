"""Benches: an output directory with a runner in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runner.exports import Exports, trained_exports
from tests.runner.harness import UNSHARE, Bench, interpreters
from tests.runner.trainer import make_assets

_VERSIONS = interpreters()
_ENDS = {next(iter(_VERSIONS)), next(version for version, path in _VERSIONS.items() if path == Bench.python)}


@pytest.fixture(params=sorted(_ENDS), ids=lambda version: f"py{version}")
def python(request: pytest.FixtureRequest) -> str:
    """The oldest interpreter that the machine has, and the one that runs the tests."""
    return _VERSIONS[request.param]


@pytest.fixture
def bench(tmp_path: Path, python: str) -> Iterator[Bench]:
    """The runner as an ordinary process."""
    made = Bench(tmp_path, python=python)
    yield made
    made.close()


@pytest.fixture
def pid1(tmp_path: Path, python: str) -> Iterator[Bench]:
    """The runner as PID 1, as in a container."""
    made = Bench(tmp_path, prefix=UNSHARE, python=python)
    yield made
    made.close()


@pytest.fixture(scope="session")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model and datasets for all trainings."""
    directory = tmp_path_factory.mktemp("assets")
    make_assets(directory)
    return directory


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory, assets: Path) -> Iterator[Exports]:
    """Two trainings, for all exports."""
    with trained_exports(tmp_path_factory.mktemp("exports") / "work", assets) as made:
        yield made
