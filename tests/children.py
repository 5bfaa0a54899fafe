"""Children of a run without an engine: what the operator would make of it, for tests and benches that look at them."""

from __future__ import annotations

from typing import Any

from swiftop.api.v1alpha1.defaults import Defaults
from swiftop.api.v1alpha1.sftrun import SFTRun
from swiftop.kinds.sftrun.build import build
from swiftop.kinds.sftrun.prepare import prepare
from swiftop.model.kind import World
from swiftop.model.verdict import Create


def children_of(run: SFTRun, *, runner_config_map: str = "swiftop-runner-0") -> list[dict[str, Any]]:
    """Children of the first attempt, the Job last, where the platform has no defaults."""
    return build(prepare(run, World(defaults=Defaults(), runner_config_map=runner_config_map)), Create(1))
