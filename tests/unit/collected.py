"""A pytest plugin that prints the test files that pytest finds, without importing them: `-p tests.unit.collected`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

MARK = "collected: "


class Unread(pytest.File):
    """A test file that stays closed."""

    def collect(self) -> Iterable[pytest.Item]:
        """No tests: that pytest came here is all that is asked."""
        return []


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.File:
    """Take the place of the module that pytest would import."""
    print(f"{MARK}{module_path}")
    return Unread.from_parent(parent, path=module_path)
