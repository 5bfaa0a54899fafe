"""Where everything that outlives a checkout is kept: the one place that reads ``SWIFTOP_CACHE``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def cache_root(environ: Mapping[str, str] = os.environ) -> Path:
    """The directory for what was downloaded or built once; an empty variable is no directory, least of all this one."""
    configured = environ.get("SWIFTOP_CACHE")
    if configured:
        return Path(configured).expanduser().absolute()
    return Path(environ.get("HOME", "/root")).absolute() / ".cache" / "swiftop"
