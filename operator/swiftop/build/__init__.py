"""Pure builders: a run and its context in, Kubernetes objects as plain dicts out. Same input, same bytes."""

from __future__ import annotations

from swiftop.build.defaults import Defaults, defaults_of, image_missing, merged
from swiftop.build.runner import runner_config_map
from swiftop.build.sftrun import Context, Resolved, build, deadline, resolved_of

__all__ = [
    "Context",
    "Defaults",
    "Resolved",
    "build",
    "deadline",
    "defaults_of",
    "image_missing",
    "merged",
    "resolved_of",
    "runner_config_map",
]
