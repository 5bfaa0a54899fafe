"""Fixtures that every layer of tests may use, and how the tests are shared among processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.cluster.fixture import cluster

__all__ = ["cluster"]

ROOT = Path(__file__).parent
# What has one cluster stays in one process. The longest comes first: each process takes the next group when it is free.
GROUPS = (
    ("e2e", "cluster"), ("runner",), ("served",), ("unit", "engine"), ("images", "swift_versions", "acceleration"),
    ("apiserver",),
)  # fmt: skip
# Of the end-to-end tests those in which models are served: with a cluster of their own they do not wait for the others.
SERVED = ("test_demo.py", "test_deployment.py", "test_end_to_end.py", "test_serving_faults.py", "test_vllm.py")
_GROUP_OF = {folder: number for number, folders in enumerate(GROUPS) for folder in folders}

# The same examples in each run, however busy the machine is. `--hypothesis-profile=explore` looks for others.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("repeatable")


class Groups(LoadScopeScheduling):  # type: ignore[misc]
    """Keeps the tests of a group together, in one process."""

    def _split_scope(self, nodeid: str) -> str:
        return str(_group_of(ROOT.parent / nodeid.partition("::")[0]))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    """For ``pytest -n``."""
    return Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order of the groups."""
    items.sort(key=lambda item: _group_of(item.path))


def _group_of(path: Path) -> int:
    folder = path.relative_to(ROOT).parts[0]
    return _GROUP_OF["served" if folder == "e2e" and path.name in SERVED else folder]
