"""The assets are made once; a module shares one server, for each start costs a dozen seconds of CPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runner.harness import Bench
from tests.runner.serve import served


@pytest.fixture(scope="session")
def served_assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assets = tmp_path_factory.mktemp("served-assets")
    served.make_served_assets(assets)
    return assets


@pytest.fixture(scope="session")
def vllm_assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is wide enough for vLLM on the CPU."""
    assets = tmp_path_factory.mktemp("vllm-assets")
    served.make_served_assets(assets, head_dim=32)
    return assets


@pytest.fixture
def volume(tmp_path: Path, served_assets: Path) -> Iterator[Bench]:
    """For a test that starts a server of its own."""
    made = served.bench(tmp_path / "work", served_assets)
    yield made
    made.close()
