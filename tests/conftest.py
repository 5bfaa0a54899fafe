"""Fixtures that every layer of tests may use."""

from tests.cluster.fixture import cluster

__all__ = ["cluster"]
