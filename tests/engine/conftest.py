"""What the tests of what serves start from."""

from __future__ import annotations

import pytest

from tests.engine.served import Served


@pytest.fixture
def harness() -> Served:
    """An operator and a cluster without a deployment."""
    return Served()
