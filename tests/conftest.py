"""Fixtures that every layer of tests may use, and how the tests are shared among processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.fixture import cluster

__all__ = ["cluster"]

ROOT = Path(__file__).parent
# What has one cluster stays in one process. The longest comes first: each process takes the next group when it is free.
GROUPS = (("e2e", "cluster"), ("runner",), ("unit", "engine", "images", "swift_versions"), ("apiserver",))
_GROUP_OF = {folder: number for number, folders in enumerate(GROUPS) for folder in folders}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without pytest-xdist's ``-n`` this is but an order."""
    numbers = {item: _GROUP_OF[item.path.relative_to(ROOT).parts[0]] for item in items}
    items.sort(key=numbers.__getitem__)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(GROUPS[numbers[item]][0]))
